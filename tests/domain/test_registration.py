"""What is said of a backend at run time, and for how long it holds."""

from __future__ import annotations

from app.domain.registration import Registration
from settings.pools import BackendSettings

SOURCE = BackendSettings(url="http://h:1", weight=3)
OTHER = BackendSettings(url="http://h:1", weight=5)


def test_nothing_is_said_at_first() -> None:
    assert Registration().empty
    assert not Registration(draining=True).empty
    assert Registration().weight_of(SOURCE) == 3
    assert not Registration().removes(SOURCE)


def test_a_weight_holds_until_its_source_says_something_else() -> None:
    """One that is the source's own says nothing."""
    said = Registration().weighed(7, SOURCE)

    assert (said.weight_of(SOURCE), said.weight_of(OTHER)) == (7, 5)
    assert said.weighed(3, SOURCE).weight is None
    assert said.weighed(7, SOURCE) == said


def test_so_does_a_removal() -> None:
    said = Registration(removed=True, instead_of=SOURCE)

    assert said.removes(SOURCE)
    assert not said.removes(OTHER)
