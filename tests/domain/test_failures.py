"""Who has failed too often of late."""

from __future__ import annotations

from app.domain.failures import Failures


def test_so_many_in_a_stretch_that_begins_with_the_first() -> None:
    ours = Failures(3, 60.0)
    assert not ours
    for now in (0.0, 10.0, 20.0):
        assert ours.wait("a", now) == 0.0
        ours.note("a", now)

    assert ours
    assert [ours.wait("a", now) for now in (20.0, 59.0, 60.0, 61.0)] == [40.0, 1.0, 0.0, 0.0]
    assert ours.wait("b", 20.0) == 0.0


def test_who_succeeds_gets_the_try_back() -> None:
    """But not those that failed before."""
    ours = Failures(2, 60.0)
    for _ in range(10):
        ours.note("a", 0.0)
        ours.forgive("a")
    ours.note("b", 0.0)
    ours.note("b", 0.0)
    ours.forgive("b")
    ours.forgive("c")

    assert ours._since == {"b": (0.0, 1)}


def test_what_is_remembered_is_bounded() -> None:
    """Those that failed first are forgotten; who fails again takes no other's place."""
    ours = Failures(2, 60.0, keep=3)
    for client in "abca":
        ours.note(client, 0.0)
    ours.note("d", 1.0)

    assert list(ours._since) == ["b", "c", "d"]
