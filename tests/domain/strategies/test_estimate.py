"""What is learnt from an attempt, and what is forgotten."""

from __future__ import annotations

from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.errors import ClientGone, ConnectFailed, ProxyError
from app.domain.strategies.estimate import Decay
from app.domain.strategies.least_time import LeastTime
from app.domain.strategies.peak_ewma import PeakEwma
from tests.support.fleet import backend, fleet

Made = LeastTime | PeakEwma
every_kind = pytest.mark.parametrize("made", [LeastTime, PeakEwma])


class Seeing(Random):
    """Chance that never picks blindly."""

    def random(self) -> float:
        return super().random() * 0.9 + 0.1


def built(made: type[Made], *backends: Backend) -> Made:
    strategy = made(Decay(), rng=Seeing(7))
    strategy.rebuild(backends)
    return strategy


def tell(
    strategy: Made, of: Backend, seconds: float, now: float,
    *, status: int = 200, error: ProxyError | None = None, head: bool = True, retry_after: float = 0.0,
) -> float:  # fmt: skip
    """Observe an attempt that ended *now*, and return the estimate."""
    attempt = Attempt(of, now - seconds)
    attempt.status, attempt.error, attempt.ended = status if head else 0, error, now
    attempt.first_byte = now if head else 0.0
    strategy.observe(attempt, now, retry_after)
    return strategy._estimates[of].seconds


@every_kind
def test_the_first_answer_is_the_estimate(made: type[Made]) -> None:
    only = backend()

    assert tell(built(made, only), only, 0.02, 100.0) == pytest.approx(0.02)


def test_peak_ewma_goes_up_at_once_and_comes_down_slowly() -> None:
    """By the formula of its docstring."""
    only = backend()
    strategy = built(PeakEwma, only)
    tell(strategy, only, 0.1, 100.0)

    assert tell(strategy, only, 1.0, 101.0) == pytest.approx(1.0)
    assert tell(strategy, only, 0.1, 103.0) == pytest.approx(1.0 * exp(-0.2) + 0.1 * (1 - exp(-0.2)))


def test_least_time_takes_a_twentieth_of_each_and_more_after_a_pause() -> None:
    """By the formula of its docstring."""
    only = backend()
    strategy = built(LeastTime, only)
    tell(strategy, only, 0.1, 100.0)

    assert tell(strategy, only, 1.1, 100.001) == pytest.approx(0.15)
    assert tell(strategy, only, 0.05, 107.001) == pytest.approx(0.05 + 0.1 * exp(-0.7))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"status": 503}, 5.0),
        ({"status": 429, "retry_after": 30.0}, 30.0),
        ({"status": 503, "retry_after": 1e9}, 300.0),
        ({"status": 503, "retry_after": 1.0}, 5.0),
        ({"head": False, "error": ConnectFailed("refused")}, 5.0),
        ({"error": ConnectFailed("cut")}, 5.0),
        ({"status": 500}, 0.02),
        ({"status": 404, "retry_after": 30.0}, 0.02),
        ({"error": ClientGone("gone")}, 0.02),
    ],
)
def test_a_failure_counts_as_slow(said: dict[str, object], seconds: float) -> None:
    """5 s, or Retry-After up to 300 s; a response of which only the client is to blame counts as what it took."""
    only = backend()

    assert tell(built(PeakEwma, only), only, 0.02, 100.0, **said) == pytest.approx(seconds)  # type: ignore[arg-type]


@every_kind
def test_what_the_client_broke_off_took_at_least_as_long(made: type[Made]) -> None:
    """It can only make the estimate worse; where nothing is known it says nothing."""
    only = backend()
    strategy = built(made, only)

    assert tell(strategy, only, 0.02, 100.0, head=False) == 60.0

    tell(strategy, only, 0.1, 101.0)

    assert tell(strategy, only, 0.02, 102.0, head=False) == pytest.approx(0.1)
    assert tell(strategy, only, 3.0, 103.0, head=False) > 0.1


@every_kind
def test_who_left_is_forgotten(made: type[Made]) -> None:
    """An answer that comes later changes nothing; who comes back is new."""
    backends = fleet(1, 1)
    strategy = built(made, *backends)
    tell(strategy, backends[0], 0.1, 100.0)
    strategy.rebuild(backends[1:])
    late = Attempt(backends[0], 100.0)
    strategy.observe(late, 101.0)
    strategy.rebuild(backends)

    assert strategy._estimates[backends[0]].seconds == 60.0


@every_kind
def test_who_stays_is_known(made: type[Made]) -> None:
    backends = fleet(1, 1)
    strategy = built(made, *backends)
    tell(strategy, backends[0], 0.1, 100.0)
    strategy.rebuild(backends[:1])

    assert strategy._estimates[backends[0]].seconds == pytest.approx(0.1)


@every_kind
def test_a_failure_that_took_long_counts_as_long(made: type[Made]) -> None:
    """Longer than 5 s, and than what it asks for."""
    only = backend()

    assert tell(built(made, only), only, 9.0, 100.0, status=503, retry_after=7.0) == pytest.approx(9.0)


@every_kind
def test_what_is_told_late_makes_an_estimate_no_better_than_all_that_was_seen(made: type[Made]) -> None:
    """By a clock that two read one after the other."""
    only = backend()
    strategy = built(made, only)
    tell(strategy, only, 0.1, 100.0)

    assert 0.1 - 1e-9 <= tell(strategy, only, 0.2, 99.5) <= 0.2 + 1e-9
    assert 0.1 - 1e-9 <= tell(strategy, only, 0.1, 99.0) <= 0.2 + 1e-9


def test_what_is_in_flight_counts_for_the_weight() -> None:
    """Weights 4 and 1, two and one in flight: loads of 2.25 and 3.5 times what one answer takes."""
    heavy, light = backends = fleet(4, 1)
    strategy = built(LeastTime, *backends)
    for one in backends:
        tell(strategy, one, 0.01, 100.0)
    heavy.in_flight, light.in_flight = 2, 1

    assert [strategy.pick(backends, b"", 100.0) for _ in range(20)] == [heavy] * 20

    heavy.in_flight = 8

    assert [strategy.pick(backends, b"", 100.0) for _ in range(20)] == [light] * 20


@every_kind
def test_an_estimate_fades_with_the_time_in_which_nothing_is_heard(made: type[Made]) -> None:
    """From the first moment on: a twentieth of the 10 s is 5 %; and not before."""
    only = backend()
    strategy = built(made, only)
    tell(strategy, only, 1.0, 100.0)

    assert strategy._seconds(only, 100.0) == pytest.approx(1.0)
    assert strategy._seconds(only, 99.0) == pytest.approx(1.0)
    assert strategy._seconds(only, 100.5) == pytest.approx(exp(-0.05))


@every_kind
def test_a_second_attempt_does_not_look_at_who_was_tried(made: type[Made]) -> None:
    """However long that had no turn."""
    backends = fleet(1, 1, 1)
    strategy = made(Decay(), rng=Random(7))
    strategy.rebuild(backends)
    others = backends[1:]

    assert {strategy.pick(others, b"", 100.0) for _ in range(2000)} == set(others)


@every_kind
def test_a_backend_out_of_favour_is_tried_once_and_waited_for(made: type[Made]) -> None:
    """1 s decays to what counts as 0.01 s in 10 s * ln(1 / 0.0125) = 44 s; one trial, and it is as bad as before."""
    good, bad = backends = fleet(1, 1)
    strategy = built(made, *backends)
    tell(strategy, bad, 1.0, 100.0)
    picks = []
    for tick in range(600):
        now = 100.0 + tick / 10
        tell(strategy, good, 0.01, now)
        picks.append(strategy.pick(backends, b"", now))

    assert bad not in picks[:430]
    assert picks[430:].count(bad) == 1


@every_kind
def test_loads_alike_go_by_weight(made: type[Made]) -> None:
    """Latencies a tenth apart, weights 3 and 1: 300 and 100 of 400, give or take the turns that are made up for."""
    backends = fleet(3, 1)
    strategy = built(made, *backends)
    picks = []
    for tick in range(400):
        now = 100.0 + tick / 10
        tell(strategy, backends[0], 0.011, now)
        tell(strategy, backends[1], 0.010, now)
        picks.append(strategy.pick(backends, b"", now))

    assert picks.count(backends[1]) == pytest.approx(100, abs=10)


@given(
    st.sampled_from([LeastTime, PeakEwma]),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30),
)
def test_an_estimate_is_never_better_nor_worse_than_all_that_was_seen(
    made: type[Made], told: list[tuple[float, float]]
) -> None:
    """Whatever comes, whenever: between the best and the worst that was observed."""
    only = backend()
    strategy = built(made, only)
    now = 100.0
    for pause, seconds in told:
        now += pause
        estimate = tell(strategy, only, seconds, now)
    seen = [seconds for _, seconds in told]

    assert min(seen) - 1e-9 <= estimate <= max(seen) + 1e-9


@every_kind
def test_each_is_tried_however_bad(made: type[Made]) -> None:
    """After 150 picks of others, in 16 * 2 picks on average: 12 800 / 182 = 70 times.

    The wait for the draw is geometric of mean 32: sigma of 70 of them is 32 * sqrt(70) = 268 picks, which is 1.5
    trials; the bound is 5 of it.
    """
    backends = fleet(1, 1)
    strategy = made(Decay(), rng=Random(7))
    strategy.rebuild(backends)
    counted = 0
    for tick in range(12_800):
        now = 100.0 + tick / 1000
        tell(strategy, backends[0], 0.01, now)
        tell(strategy, backends[1], 30.0, now)
        counted += strategy.pick(backends, b"", now) is backends[1]

    assert 62 < counted < 78


@every_kind
def test_a_trial_waits_for_the_one_before(made: type[Made]) -> None:
    """A backend that hangs holds one request, not one of every 182: in the 12.8 s it has not decayed far enough."""
    good, hanging = backends = fleet(1, 1)
    strategy = made(Decay(), rng=Random(7))
    strategy.rebuild(backends)
    tell(strategy, hanging, 1.0, 100.0)
    for tick in range(12_800):
        now = 100.0 + tick / 1000
        tell(strategy, good, 0.01, now)
        strategy.pick(backends, b"", now).in_flight += 1
        good.in_flight = 0

    assert hanging.in_flight == 1


@every_kind
def test_the_answer_to_a_trial_counts_alone(made: type[Made]) -> None:
    """Whatever was known before, and however lately: one good answer, and the backend is as good as any."""
    good, bad = backends = fleet(1, 1)
    strategy = made(Decay(), rng=Random(7))
    strategy.rebuild(backends)
    tell(strategy, bad, 5.0, 100.0)
    tell(strategy, good, 0.01, 100.0)
    while strategy.pick(backends, b"", 100.0) is good:
        pass

    assert tell(strategy, bad, 0.01, 100.01) == pytest.approx(0.01)


@every_kind
def test_where_requests_are_rare_idleness_counts_by_picks(made: type[Made]) -> None:
    """One a minute: by the clock it would be tried all the time. 100 picks make up a decay: ln(1 / 0.0125) * 100 = 438.

    Nobody is drawn by chance here.
    """
    good, bad = backends = fleet(1, 1)
    strategy = built(made, *backends)
    strategy._turns.take([good])
    assert strategy.pick(backends, b"", 0.0) is bad
    tell(strategy, bad, 1.0, 1.0)
    picks = []
    for tick in range(1, 600):
        tell(strategy, good, 0.01, 60.0 * tick)
        picks.append(strategy.pick(backends, b"", 60.0 * tick + 1.0))

    assert picks.index(bad) == pytest.approx(438, abs=15)


@every_kind
def test_of_loads_alike_the_quicker_is_taken(made: type[Made]) -> None:
    """0.1 s with nothing to do and 0.01 s with nine to go come to the same: a queue is a guess, latency is not."""
    quick, slow = backends = fleet(1, 1)
    strategy = built(made, *backends)
    tell(strategy, quick, 0.01, 100.0)
    tell(strategy, slow, 0.1, 100.0)
    quick.in_flight = 9

    assert [strategy.pick(backends, b"", 100.0) for _ in range(9)] == [quick] * 9

    quick.in_flight = 14

    assert strategy.pick(backends, b"", 100.0) is slow
