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


def test_it_is_written_and_read_again() -> None:
    """All of it; what cannot be read is nothing."""
    for said in (
        Registration(),
        Registration(spec=SOURCE, ttl=2.5, draining=True, let_go=1.5),
        Registration(weight=3, removed=True, instead_of=OTHER),
    ):
        assert Registration.decoded(said.encoded()) == said
    for note in (
        b"",
        b"[]",
        b"{",
        b"1",
        b"[" * 100_000,
        b'{"ttl": "x"}',
        b'{"ttl": -1}',
        b'{"ttl": NaN}',
        b'{"let_go": Infinity}',
        b'{"weight": -1}',
        b'{"weight": 70000}',
        b'{"draining": null}',
        b'{"spec": {"url": "x"}, "instead_of": null}',
        b'{"spec": 1, "instead_of": 1}',
    ):
        assert Registration.decoded(note) is None
    assert Registration.decoded(Registration().encoded()[:-1] + b', "newer": 1}') is None
