"""A limit on the requests in flight that finds itself, at a backend that is made of numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from statistics import fmean

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.gradient import REMEMBERED, START, Gradient, Phase
from settings.resilience import AdaptiveSettings

Times = Callable[[Random, float], float]
"""How long one request takes, by the time when it begins."""


def steady(seconds: float) -> Times:
    """Within a tenth."""
    return lambda rng, now: seconds * rng.uniform(0.9, 1.1)


def spread(seconds: float) -> Times:
    """Exponential."""
    return lambda rng, now: rng.expovariate(1 / seconds)


class Simulation:
    """Requests at *rate* a second for *places* at a time; who finds the limit reached is refused.

    Attributes:
        limits: what it was at each response, with the time.

        latencies: of the last half.
    """

    def __init__(self, rate: float, places: int, times: Times, until: float = 100.0) -> None:
        rng = Random(7)
        self.gradient = Gradient(AdaptiveSettings())
        self.limits: list[tuple[float, int]] = []
        self.latencies: list[float] = []
        self.refused = self.served = 0
        events: list[tuple[float, float]] = []  # when a request ends, and when it came
        waiting = deque[float]()
        next_one = rng.expovariate(rate)
        while True:
            if not events or next_one < events[0][0]:
                now = next_one
                next_one += rng.expovariate(rate)
                if now >= until:
                    return
                if len(events) + len(waiting) >= self.gradient.limit:
                    self.refused += now > until / 2
                elif len(events) < places:
                    heappush(events, (now + times(rng, now), now))
                else:
                    waiting.append(now)
                continue
            now, came = heappop(events)
            self.gradient.observe(now - came, len(events) + len(waiting) + 1, now)
            self.limits.append((now, self.gradient.limit))
            if waiting:
                heappush(events, (now + times(rng, now), waiting.popleft()))
            if now > until / 2:
                self.served += 1
                self.latencies.append(now - came)

    def limit(self, since: float, until: float = 1e9) -> float:
        """The mean limit at responses in that time."""
        return fmean(limit for when, limit in self.limits if since < when < until)


@pytest.mark.parametrize(
    ("places", "times", "seconds"),
    [(2, steady, 0.01), (10, steady, 0.01), (10, spread, 0.01), (100, steady, 0.1), (100, spread, 0.1)],
)
def test_under_overload_what_waits_waits_here(places: int, times: Callable[..., Times], seconds: float) -> None:
    """
    Twice of what it can do: the backend is kept busy, and its latency near what it is without a queue.

    At rest gradient = 1 - 1 / sqrt(limit), so the mean is 1.25 / (1 - 1 / sqrt(limit)) times the least: 1.6 for a limit
    of 20, 1.36 for 140; few places have a limit of 6, and 2.1. The least itself may be measured a fifth too high.
    """
    capacity = places / seconds
    found = Simulation(2 * capacity, places, times(seconds), until=60_000 / capacity if capacity > 600 else 100.0)

    assert found.served >= 0.95 * capacity * (50 if capacity <= 600 else 30_000 / capacity)
    assert fmean(found.latencies) < seconds * (2.5 if places < 10 else 1.9)


def test_a_load_that_stays_does_not_move_it() -> None:
    """Ten minutes of overload: without dips the least of late would be what waits makes it, and the limit follow."""
    found = Simulation(400, 2, steady(0.01), until=600.0)

    assert found.limit(500.0) == pytest.approx(found.limit(100.0, 200.0), rel=0.2)
    assert found.limit(500.0) < 8


def test_without_overload_nobody_is_refused() -> None:
    """Half of what it can do: the limit stays away from what is needed."""
    found = Simulation(500, 10, spread(0.01), until=65.0)

    assert found.refused < 0.001 * found.served
    assert found.limit(40.0) > 15


def test_slower_for_good_is_the_new_measure() -> None:
    """A release that takes twice as long: the limit sinks, and within a minute it is known that nothing waits."""
    found = Simulation(300, 10, lambda rng, now: rng.uniform(0.9, 1.1) * (0.01 if now < 50 else 0.02), until=115.0)
    before, at_first, at_last = found.limit(40.0, 50.0), found.limit(52.0, 60.0), found.limit(85.0)

    assert at_first < 0.75 * before
    assert at_last > 1.3 * at_first


def test_it_sinks_when_responses_get_slower_and_grows_back() -> None:
    """Ten times slower for 5 s."""
    found = Simulation(500, 10, lambda rng, now: 0.1 if 40 <= now < 45 else rng.uniform(0.009, 0.011), until=60.0)

    assert found.limit(42.0, 45.0) < 0.6 * found.limit(35.0, 40.0)
    assert found.limit(50.0) > 0.8 * found.limit(35.0, 40.0)


def fed(count: int, *, start: float = 0.0, in_flight: int = 1000) -> Gradient:
    """One that saw *count* latencies of 10 ms, one every 3 ms."""
    gradient = Gradient(AdaptiveSettings())
    for i in range(count):
        gradient.observe(0.01, in_flight, start + i * 0.003)
    return gradient


@pytest.mark.parametrize("start", [0.0, 1e7])
def test_the_formula(start: float) -> None:
    """The first dip takes 50 latencies, what is on its way, 7, and 100; then the limit is set by 50 each."""
    gradient = fed(50, start=start)
    assert (gradient.limit, gradient.phase) == (10, Phase.DRAINING)

    gradient = fed(156, start=start)
    assert (gradient.limit, gradient.phase) == (10, Phase.MEASURING)

    gradient = fed(157, start=start)
    assert (gradient.limit, gradient.phase) == (20, Phase.FOLLOWING)

    gradient = fed(207, start=start)
    assert gradient.limit == int(1.25 * 20 + 20**0.5) == 29


def test_where_half_of_it_is_not_used_it_does_not_grow() -> None:
    """Else it would mean nothing when it is needed."""
    assert fed(4000, in_flight=9).limit == START
    assert fed(4000, in_flight=14).limit == 29


def test_where_half_of_it_is_not_used_it_may_sink() -> None:
    """Slow is slow, however few there are."""
    gradient = fed(4000, in_flight=9)
    for i in range(200):
        gradient.observe(0.1, 9, 12.0 + i * 0.003)

    assert gradient.limit < START


def test_what_is_quicker_than_the_least_is_the_least_from_then_on() -> None:
    """10 ms when it was measured; after a second of 5 ms, 10 are slow."""
    slow, quicker = fed(157), fed(157)
    for i in range(3000):
        slow.observe(0.01, 1000, 1.0 + i * 0.003)
        quicker.observe(0.005 if i < 1500 else 0.01, 1000, 1.0 + i * 0.003)

    assert slow.limit == 1000
    assert quicker.limit < 10


def test_a_dip_comes_again() -> None:
    """Every 30 s, with half of the limit, and then it is as it was."""
    gradient, seen = Gradient(AdaptiveSettings(max_limit=100)), []
    for i in range(int(REMEMBERED * 100) + 3000):
        gradient.observe(0.01, 1000, i * 0.01)
        seen.append((gradient.phase, gradient.limit))

    dips = [i for i in range(1, len(seen)) if seen[i][0] is Phase.DRAINING is not seen[i - 1][0]]
    assert len(dips) == 2
    assert seen[dips[1] - 1][1] == 100
    assert {limit for phase, limit in seen[dips[1] :] if phase is not Phase.FOLLOWING} == {50}
    assert seen[-1] == (Phase.FOLLOWING, 100)


def test_where_half_the_limit_takes_half_the_time_it_dips_deeper() -> None:
    """Latency by Little's law for 3 places, at what the limit lets in: 20, 10, 5 and 3 at last."""
    gradient, seen = Gradient(AdaptiveSettings(min_limit=1)), []
    for i in range(2000):
        gradient.observe(0.01 * max(1.0, gradient.limit / 3), gradient.limit, i * 0.005)
        seen.append(gradient.limit)

    assert [limit for i, limit in enumerate(seen[:700]) if limit != seen[i - 1] or not i][:5] == [20, 10, 5, 2, 20]
    assert seen[-1] < 10


@example(1, 10, [0.0] * 20, 100)
@given(
    least=st.integers(1, 50),
    more=st.integers(0, 100),
    latencies=st.lists(st.floats(0, 100), max_size=20),
    in_flight=st.integers(1, 200),
)
def test_it_stays_within_its_bounds(least: int, more: int, latencies: list[float], in_flight: int) -> None:
    """Also in a dip, and whatever is observed, 0 seconds too."""
    gradient, now = Gradient(AdaptiveSettings(min_limit=least, max_limit=least + more)), 0.0
    assert least <= gradient.limit <= least + more
    for seconds in latencies:
        for _ in range(60):
            now += 0.3
            gradient.observe(seconds, in_flight, now)
            assert least <= gradient.limit <= least + more
