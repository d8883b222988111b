"""What becomes of the backends of a pool, step by step: told in words, done to their breakers."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random

import pytest

from app.domain.backend import Backend
from app.domain.breaker import CONSECUTIVE, OUTLIER, SLOW, State
from app.domain.ejection import Ejections
from settings.resilience import BreakerSettings, HealthSettings
from tests.support.answers import answer
from tests.support.fleet import fleet

EAGER = BreakerSettings(consecutive=1, failure_ratio=0.0, jitter=0.0, half_open=1)


class Always(Random):
    """Chance that is always the same."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def random(self) -> float:
        return self.chance


def of(many: int, settings: BreakerSettings = EAGER, chance: float = 0.0) -> tuple[Ejections, tuple[Backend, ...]]:
    """So many backends, called a, b, c ..., and what ejects them."""
    backends = fleet(*[1] * many)
    ejections = Ejections(settings, backends, Always(chance))
    ejections.settle()
    return ejections, backends


def fail(ejections: Ejections, backend: Backend, now: float) -> list[tuple[str, str]]:
    """It answers 503; what is told of that, and whose it is."""
    return named(ejections.judge(answer(backend, now, 503), now))


def named(news: Sequence[tuple[str, Backend]]) -> list[tuple[str, str]]:
    return [(words, backend.id) for words, backend in news]


def states(backends: Sequence[Backend]) -> list[State]:
    return [backend.breaker.state for backend in backends]


def test_who_fails_is_ejected_and_comes_back_by_way_of_trials() -> None:
    ejections, (bad, good) = of(2)
    assert ejections.due == inf

    assert fail(ejections, bad, 10.0) == [("ejected for 30s: a failure", "a")]
    assert (bad.breaker.reason, bad.breaker.since, bad.breaker.until) == (CONSECUTIVE, 10.0, 40.0)
    assert (good.breaker.state, good.breaker.reason) == (State.CLOSED, "")
    assert ejections.settle() == []
    assert (ejections.standing.out, ejections.standing.well, ejections.due) == (1, (good,), 40.0)

    assert ejections.turn(39.9) == []
    assert named(ejections.turn(40.0)) == [("back: half-open", "a")]
    assert ejections.due == 70.0, "when there is room for another trial, should this one never end"

    assert named(ejections.judge(answer(bad, 41.0), 41.0)) == [("back: closed", "a")]
    ejections.settle()
    assert (bad.breaker.state, ejections.standing.out, ejections.due) == (State.CLOSED, 0, inf)


def test_a_pass_of_a_closed_one_is_no_news() -> None:
    ejections, backends = of(2)

    assert ejections.judge(answer(backends[0], 1.0), 1.0) == []


def test_who_fails_the_trial_is_ejected_for_longer() -> None:
    ejections, (bad, _) = of(2)
    fail(ejections, bad, 0.0)
    ejections.settle()
    ejections.turn(30.0)
    ejections.settle()

    assert fail(ejections, bad, 31.0) == [("ejected for 60s: failed again", "a")]


@pytest.mark.parametrize(("chance", "words"), [(0.0, "30s"), (0.29, "30.9s"), (1.0, "33s")])
def test_the_jitter_is_by_chance_and_told_to_a_tenth(chance: float, words: str) -> None:
    """A tenth of 30 s at most; 30.87 s here, by 0.29."""
    ejections, (bad, _) = of(2, BreakerSettings(consecutive=1, jitter=0.1), chance)

    assert fail(ejections, bad, 5.0) == [(f"ejected for {words}: a failure", "a")]
    assert bad.breaker.until == pytest.approx(35.0 + 3.0 * chance)


def test_who_cannot_be_spared_stays() -> None:
    """Half of two may go; the other has to go on, however badly."""
    ejections, (first, second) = of(2)
    fail(ejections, first, 0.0)
    ejections.settle()

    assert fail(ejections, second, 1.0) == []
    assert second.breaker.state is State.CLOSED


def test_who_is_slow_again_is_back_where_the_other_went_down_meanwhile() -> None:
    """Better one that is slow than nobody."""
    slow = BreakerSettings(consecutive=0, failure_ratio=0.0, slow=0.1, min_requests=1, jitter=0.0)
    backends = fleet(1, 1, health=HealthSettings(path="/health", fall=1))
    for backend in backends:
        backend.health.observe("", 0.0)
    ejections = Ejections(slow, backends, Always(0.0))
    assert named(ejections.judge(answer(backends[0], 1.0, head=0.5), 1.0)) == [("ejected for 30s: 1 of 1 slow", "a")]
    ejections.settle()
    ejections.turn(31.0)
    backends[1].health.observe("refused", 31.5)
    assert ejections.settle() == []

    assert named(ejections.judge(answer(backends[0], 32.0, head=0.5), 32.0)) == [("back: closed", "a")]
    assert (backends[0].breaker.state, backends[0].breaker.since) == (State.CLOSED, 32.0)


def test_who_is_slow_stays_where_nobody_else_is_there() -> None:
    """Another reason would do to eject it, as the settings let all of them go."""
    slow = BreakerSettings(consecutive=0, failure_ratio=0.0, slow=0.1, min_requests=1, max_ejected=1.0)
    ejections, (only,) = of(1, slow)

    assert ejections.judge(answer(only, 1.0, head=0.5), 1.0) == []
    assert only.breaker.state is State.CLOSED


def test_a_pool_that_shrank_gets_them_back() -> None:
    """The time in which it was closed counts from the ejection on, not from the time when others left."""
    ejections, (bad, other) = of(2)
    fail(ejections, bad, 7.0)
    ejections.settle()
    other.draining = True

    assert named(ejections.settle()) == [("back: closed, for the pool cannot spare it", "a")]
    assert (bad.breaker.state, bad.breaker.since) == (State.CLOSED, 7.0)
    assert (ejections.standing.taking, ejections.standing.out, ejections.due) == (1, 0, inf)


def test_of_too_many_that_are_out_those_are_let_off_who_are_due_first() -> None:
    ejections, backends = of(4)
    fail(ejections, backends[1], 1.0)
    ejections.settle()
    fail(ejections, backends[0], 2.0)
    ejections.settle()
    assert ejections.due == 31.0, "the first that comes back"
    backends[2].draining = True

    assert named(ejections.settle()) == [("back: closed, for the pool cannot spare it", "b")]
    assert ejections.due == 32.0


def test_others_may_take_their_places() -> None:
    """They go by the settings of the pool, as those did who were there before."""
    ejections, _ = of(2)
    others = fleet(1, 1, 1)
    ejections.follow(others)
    ejections.settle()

    assert ejections.standing.taking == 3
    assert {backend.breaker.settings for backend in others} == {EAGER}
    assert fail(ejections, others[2], 1.0) == [("ejected for 30s: a failure", "c")]


# What others say


def test_a_hint_makes_a_suspect() -> None:
    ejections, (bad, good) = of(2)

    assert named(ejections.suspect(bad, SLOW, 3.0, 0.0)) == [("suspect: half-open, for another worker ejected it", "a")]
    assert (bad.breaker.state, bad.breaker.reason, bad.breaker.since) == (State.HALF_OPEN, SLOW, 3.0)
    assert good.breaker.state is State.CLOSED


@pytest.mark.parametrize("state", [State.OPEN, State.HALF_OPEN])
def test_what_is_known_here_is_better_than_a_hint(state: State) -> None:
    ejections, (bad, _) = of(2)
    fail(ejections, bad, 0.0)
    if state is State.HALF_OPEN:
        ejections.turn(30.0)
    ejections.settle()
    until = bad.breaker.until

    assert ejections.suspect(bad, SLOW, 31.0, 0.0) == []
    assert (bad.breaker.state, bad.breaker.reason, bad.breaker.until) == (state, CONSECUTIVE, until)


def test_no_hint_where_breakers_are_off() -> None:
    ejections, (bad, _) = of(2, BreakerSettings(enabled=False))

    assert ejections.suspect(bad, CONSECUTIVE, 0.0, 0.0) == []
    assert bad.breaker.state is State.CLOSED


@pytest.mark.parametrize(("panic", "taken"), [(0.0, True), (0.75, True), (0.76, False), (1.0, False)])
def test_a_hint_is_not_worth_a_panic(panic: float, taken: bool) -> None:
    """Three of four would be left."""
    ejections, backends = of(4)

    assert bool(ejections.suspect(backends[0], CONSECUTIVE, 0.0, panic)) == taken
    assert states(backends) == [State.HALF_OPEN if taken else State.CLOSED, *[State.CLOSED] * 3]


def test_a_hint_of_one_that_is_down_leaves_as_many_as_before() -> None:
    """It is not among the sound ones as it is."""
    ejections, backends = of(4)
    backends[0].draining = True
    ejections.settle()
    assert not backends[0].available

    assert ejections.suspect(backends[0], CONSECUTIVE, 0.0, 1.0) != []


def test_no_hint_beyond_what_the_pool_can_spare() -> None:
    ejections, (first, second) = of(2)
    fail(ejections, first, 0.0)
    ejections.settle()

    assert ejections.suspect(second, CONSECUTIVE, 1.0, 0.0) == []
    assert second.breaker.state is State.CLOSED


def test_a_hint_of_slowness_leaves_the_last_one_alone() -> None:
    ejections, (only,) = of(1, BreakerSettings(max_ejected=1.0))

    assert ejections.suspect(only, SLOW, 0.0, 0.0) == []
    assert ejections.suspect(only, CONSECUTIVE, 0.0, 0.0) != []


# Outliers

FAR = BreakerSettings(consecutive=0, failure_ratio=0.0, outliers=1.9, window=10.0, jitter=0.1)


def count(backend: Backend, passes: int, failures: int) -> None:
    """So many answers, at 0 s."""
    for status, many in ((200, passes), (503, failures)):
        for _ in range(many):
            backend.breaker.observe(answer(backend, 0.0, status), 0.0)


def test_outliers_are_looked_for_each_time_a_bucket_is_full() -> None:
    ejections, backends = of(5, FAR, 0.5)
    assert ejections.due == -inf, "at once"
    for backend in backends:
        count(backend, 20, 0)

    assert ejections.turn(0.5) == []
    assert ejections.due == 1.5

    count(backends[4], 0, 10)

    assert ejections.turn(1.4) == []
    assert named(ejections.turn(1.5)) == [("ejected for 31.5s: 67% succeed, 93% in the pool", "e")]
    assert (backends[4].breaker.reason, backends[4].breaker.since) == (OUTLIER, 1.5)
    assert ejections.standing.out == 1
    assert ejections.due == 2.5


def test_of_many_outliers_the_pool_spares_as_many_as_it_can() -> None:
    """One of twelve here, the worst."""
    ejections, backends = of(12, FAR.model_copy(update={"max_ejected": 0.1}))
    for backend in backends[:10]:
        count(backend, 20, 0)
    count(backends[10], 8, 12)
    count(backends[11], 6, 14)

    assert [name for _, name in named(ejections.turn(1.0))] == ["l"]


def test_an_outlier_stays_where_nobody_else_is_left() -> None:
    """The others have answered well, and went down."""
    backends = fleet(*[1] * 5, health=HealthSettings(path="/health", fall=1))
    for backend in backends:
        backend.health.observe("", 0.0)
        count(backend, 20, 0)
    count(backends[4], 0, 10)
    for backend in backends[:4]:
        backend.health.observe("refused", 0.5)
    ejections = Ejections(FAR.model_copy(update={"max_ejected": 1.0}), backends, Always(0.0))
    ejections.settle()

    assert ejections.turn(1.0) == []


@pytest.mark.parametrize("change", [{"outliers": 0.0}, {"enabled": False}])
def test_nobody_is_looked_for_where_that_is_off(change: dict[str, object]) -> None:
    ejections, backends = of(5, FAR.model_copy(update=change))
    for backend in backends:
        count(backend, 20, 0)
    count(backends[4], 0, 20)

    assert ejections.due == inf
    assert ejections.turn(1.5) == []
    assert states(backends) == [State.CLOSED] * 5


def test_a_trial_that_never_ends_leaves_room_for_another() -> None:
    """That it is half-open for longer is no news."""
    ejections, (bad, _) = of(2)
    fail(ejections, bad, 0.0)
    ejections.settle()
    ejections.turn(30.0)
    bad.breaker.trials = 1
    assert not bad.breaker.admits

    assert ejections.turn(59.9) == []
    assert not bad.breaker.admits
    assert ejections.turn(60.0) == []
    assert bad.breaker.admits
    assert ejections.due == 90.0
