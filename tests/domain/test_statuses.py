"""Statuses as settings list them."""

from app.domain.statuses import statuses_of


def test_single_ones_and_ranges() -> None:
    """A range has both its ends."""
    assert statuses_of(("404", "502-504")) == {404, 502, 503, 504}
    assert statuses_of(("200-200",)) == {200}
    assert statuses_of(()) == frozenset()
