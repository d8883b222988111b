"""Whom a pool can spare."""

from __future__ import annotations

import pytest

from app.domain.backend import Backend
from app.domain.breaker import CONSECUTIVE, FAILURES, OUTLIER, SLOW, Trip
from app.domain.ejection import most, outliers, spares, stand, surplus
from settings.resilience import BreakerSettings, HealthSettings
from tests.support.answers import answer
from tests.support.fleet import backend, fleet

PROBED = HealthSettings(path="/health", fall=1)


def found_as(states: str) -> tuple[Backend, ...]:
    """A backend a letter: u UP, d DOWN, c CHECKING, e ejected, D DOWN and ejected, s ejected for being slow,
    h half-open, x draining, 0 weight 0; of those that are ejected, the later returns the later."""
    made = []
    for i, state in enumerate(states):
        one = backend(chr(97 + i), weight=0 if state == "0" else 1, health=PROBED)
        if state != "c":
            one.health.observe("refused" if state in "dD" else "", 0.0)
        one.draining = state == "x"
        if state in "eshD":
            one.breaker.eject(SLOW if state == "s" else CONSECUTIVE, float(i), 0.0)
        if state == "h":
            one.breaker.admit(100.0)
        made.append(one)
    return tuple(made)


def ids(backends: tuple[Backend, ...] | list[Backend]) -> str:
    return "".join(one.id for one in backends)


@pytest.mark.parametrize(
    ("taking", "share", "allowed"),
    [
        (0, 0.5, 0), (1, 0.0, 0), (1, 0.5, 0), (1, 1.0, 1), (2, 0.0, 1), (2, 0.5, 1), (3, 0.5, 1), (4, 0.5, 2),
        (5, 0.5, 2), (10, 0.1, 1), (10, 0.7, 7), (100, 0.29, 29), (3, 1.0, 3),
    ],
)  # fmt: skip
def test_the_cap_is_floored_and_one_of_several_may_always_go(taking: int, share: float, allowed: int) -> None:
    """A small pool is not emptied (istio issue 20135), nor is a share of it nobody at all (envoy issue 34796)."""
    assert most(taking, share) == allowed


@pytest.mark.parametrize(
    ("states", "yes"),
    [
        ("u", False), ("uu", True), ("ue", False), ("uh", False), ("uuu", True), ("uue", False), ("uuue", True),
        ("uuee", False), ("ux", False), ("u0", False), ("uxe", False), ("ud", True), ("uc", True), ("hu", True),
        ("eu", True), ("xu", True), ("0u", True), ("xe", True),
    ],
)  # fmt: skip
def test_counted_after_the_ejection_envoy_26877(states: str, yes: bool) -> None:
    """Of half of those that take part, with the one in question, the first here, among those that are out.

    One that is out already may be ejected again, and one that does not take part is missed by nobody.
    """
    backends = found_as(states)

    assert spares(stand(backends), backends[0], FAILURES, 0.5) == yes


@pytest.mark.parametrize("reason", [SLOW, OUTLIER])
@pytest.mark.parametrize(
    ("states", "yes"),
    [("u", False), ("ud", False), ("uc", False), ("uu", True), ("uh", True), ("ue", False), ("du", True)],
)
def test_slow_is_better_than_nobody(states: str, yes: bool, reason: str) -> None:
    """Whatever the cap: who is the only one available stays, if all he is is slow. A failure is another matter."""
    backends = found_as(states)

    assert spares(stand(backends), backends[0], reason, 1.0) == yes
    assert spares(stand(backends), backends[0], CONSECUTIVE, 1.0)


@pytest.mark.parametrize(
    ("states", "share", "off"),
    [
        ("", 0.5, ""), ("uu", 0.5, ""), ("ue", 0.5, ""), ("e", 0.5, "a"), ("h", 0.5, "a"), ("e", 1.0, ""),
        ("ex", 0.5, "a"), ("e0", 0.5, "a"), ("uuee", 0.5, ""), ("uuee", 0.25, "c"), ("uueh", 0.25, "d"),
        ("eeee", 0.5, "ab"), ("s", 1.0, "a"), ("sd", 0.5, "a"), ("sde", 1.0, "a"), ("ssdc", 0.5, "ab"),
        ("su", 0.5, ""), ("Ds", 0.5, "ab"), ("sh", 1.0, ""), ("sed", 0.5, "a"), ("ed", 0.5, ""), ("xx", 0.5, ""),
    ],
)  # fmt: skip
def test_who_is_let_off(states: str, share: float, off: str) -> None:
    """Half-open ones, then the next to return, where the pool shrank; the slow ones, where nobody else is left."""
    assert ids(surplus(found_as(states), share)) == off


@pytest.mark.parametrize(
    ("states", "panic", "short"),
    [
        ("", 0.5, False), ("u", 0.5, False), ("ud", 0.5, False), ("udd", 0.5, True), ("uudd", 0.5, False),
        ("uddd", 0.25, False), ("ee", 0.5, True), ("eu", 0.5, False), ("hd", 0.5, True), ("hu", 0.5, False),
        ("hhu", 0.5, True), ("dd", 0.5, False), ("cc", 0.5, False), ("uccc", 0.5, False), ("uddc", 0.5, True),
        ("uxxx", 0.5, False), ("u000", 0.5, False), ("ee", 0.0, False), ("ed", 0.5, True), ("uuuuuuuddd", 0.7, False),
        ("uuuuuudddd", 0.7, True),
    ],
)  # fmt: skip
def test_panic_is_where_fewer_than_the_share_are_sound(states: str, panic: float, short: bool) -> None:
    """Of those that take part and are known; with one UP, ejected or not: among the DOWN there is nobody to try."""
    assert stand(found_as(states)).short(panic) == short


def counted(rates: list[tuple[int, int]]) -> tuple[Backend, ...]:
    """A backend for each (passes, failures), at 100 s."""
    backends = fleet(*[1] * len(rates))
    for one, (passes, failures) in zip(backends, rates, strict=True):
        one.breaker.configure(BreakerSettings(consecutive=0, failure_ratio=0.0))
        for status, count in ((200, passes), (503, failures)):
            for _ in range(count):
                one.breaker.observe(answer(one, 100.0, status), 100.0)
    return backends


FAR = BreakerSettings(outliers=1.9)


def found_out(
    rates: list[tuple[int, int]], settings: BreakerSettings = FAR, now: float = 100.0
) -> list[tuple[str, str]]:
    return [(one.id, trip.words) for one, trip in outliers(counted(rates), settings, now)]


def test_an_outlier_succeeds_far_less_than_the_others() -> None:
    """1, 1, 1, 1 and 0.7: mean 0.94, deviation 0.12; the bound is 0.712 with 1.9 deviations, and 0.7 with 2."""
    rates = [(20, 0)] * 4 + [(14, 6)]

    assert found_out(rates) == [("e", "70% succeed, 94% in the pool")]
    assert found_out(rates, BreakerSettings(outliers=2.0)) == []


def test_the_worst_comes_first() -> None:
    """For the pool may spare only one."""
    rates = [(20, 0)] * 9 + [(8, 12), (6, 14), (20, 0)]

    assert [name for name, _ in found_out(rates)] == ["k", "j"]


def test_of_two_that_are_as_bad_either_may_be_first() -> None:
    rates = [(20, 0)] * 10 + [(6, 14)] * 2

    assert [name for name, _ in found_out(rates)] == ["k", "l"]


@pytest.mark.parametrize(
    "rates",
    [
        [(20, 0)] * 3 + [(0, 20)],
        [(20, 0)] * 3 + [(19, 0), (0, 20)],
        [(20, 0)] * 4 + [(10, 9)],
        [(12, 8)] * 6,
        [],
    ],
    ids=["four", "four with enough", "too few requests", "all alike", "nobody"],
)
def test_where_nothing_can_be_said_nobody_is_one(rates: list[tuple[int, int]]) -> None:
    assert found_out(rates) == []


def test_only_the_window_counts() -> None:
    """What was 10 s ago says nothing about who gets no requests now."""
    rates = [(20, 0)] * 4 + [(14, 6)]

    assert len(found_out(rates, now=108.9)) == 1
    assert found_out(rates, now=110.0) == []


def test_who_is_out_or_takes_no_part_is_not_compared() -> None:
    backends = counted([(20, 0)] * 6 + [(14, 6)] * 2)
    backends[6].breaker.eject(FAILURES, 100.0, 0.0)
    backends[7].draining = True

    assert outliers(backends, FAR, 100.0) == []

    backends[7].draining = False

    assert [(one.id, trip) for one, trip in outliers(backends, FAR, 100.0)] == [
        ("h", Trip(OUTLIER, "70% succeed, 96% in the pool"))
    ]
