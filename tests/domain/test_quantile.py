"""Quantiles of latencies in a sliding window."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.quantile import ERROR, LONGEST, SHORTEST, Counts, Quantile
from tests.support.clock import Clock

CLOSE = ERROR + 1e-9
"""What stands on the edge of a bucket is as far off as it can be."""


@given(st.lists(st.floats(SHORTEST, LONGEST), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_its_error(values: list[float], q: float) -> None:
    """Of the value that stands there when they are sorted (DDSketch, proposition 3)."""
    counts = Counts()
    for value in values:
        counts.add(value)

    exact = sorted(values)[int(q * (len(values) - 1))]
    assert counts.quantile(q) == pytest.approx(exact, rel=CLOSE)


def test_what_is_out_of_range_is_counted_at_its_end() -> None:
    """Zero, a nanosecond, a day."""
    counts = Counts()
    for value in (0.0, 1e-9, 86400.0):
        counts.add(value)

    assert counts.total == 3
    assert counts.quantile(0.5) == pytest.approx(SHORTEST, rel=0.1)
    assert counts.quantile(1.0) == pytest.approx(LONGEST, rel=0.1)


def test_what_is_at_the_end_of_its_range_is_within_its_error() -> None:
    """Who is there alone, in the first bucket and in the last."""
    for seconds in (SHORTEST, LONGEST):
        counts = Counts()
        counts.add(seconds)

        assert counts.quantile(0.5) == pytest.approx(seconds, rel=CLOSE)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (SHORTEST, 0), (LONGEST, -1), (LONGEST * 1.1, -1), (1e6, -1)]
)
def test_beyond_its_range_all_is_one_bucket(seconds: float, bucket: int) -> None:
    counts = Counts()
    counts.add(seconds)

    assert counts.buckets[bucket] == 1


def test_what_is_dropped_is_as_if_it_had_never_come() -> None:
    counts, gone, left = Counts(), Counts(), Counts()
    for seconds in (0.01, 0.01, 2.0):
        counts.add(seconds)
        gone.add(seconds)
    for seconds in (0.01, 30.0):
        counts.add(seconds)
        left.add(seconds)

    counts.drop(gone)

    assert (counts.total, counts.buckets) == (2, left.buckets)


def test_a_slice_is_forgotten_when_a_window_has_passed_since_it_began() -> None:
    """One of each of 40 slices of a second: 30 are known, and of them the one that is being filled. Half a minute,
    when not said."""
    quantile = Quantile(0.5)
    for second in range(1000, 1040):
        quantile.observe(1.0 if second < 1010 else 0.01, float(second))

    assert quantile._counts.total == 30
    assert quantile._counts.quantile(1.0) == pytest.approx(0.01, rel=CLOSE), "the slow ones came before"


@pytest.mark.parametrize(("pause", "known"), [(29.0, 20), (30.0, 0), (31.0, 0)])
def test_at_the_end_of_a_window_all_of_its_first_slice_is_gone(pause: float, known: int) -> None:
    """At its very end, not a moment later."""
    quantile = Quantile(0.5)
    for _ in range(20):
        quantile.observe(0.01, 1000.0)

    assert (quantile.value(1000.0 + pause) < inf) == bool(known)
    assert quantile._counts.total == known


def test_too_few_say_nothing() -> None:
    """Of 19 there is no p95; of 20 there is, by the end of the slice."""
    clock, p95 = Clock(), Quantile(0.95)
    for _ in range(19):
        p95.observe(0.1, clock())
    assert p95.value(clock.advance(1.0)) == inf

    p95.observe(0.1, clock())
    assert p95.value(clock.advance(1.0)) == pytest.approx(0.1, rel=CLOSE)


@pytest.mark.parametrize("start", [0.0, 5.0, 1e7])
def test_it_follows_what_is_observed(start: float) -> None:
    """1000 latencies in 10 s, a hundred of them a second long: the p95 is that, the p50 is not."""
    clock, rng = Clock(start), Random(7)
    halves, tail = Quantile(0.5), Quantile(0.95)
    for i in range(1000):
        now = clock.advance(0.01)
        for quantile in (halves, tail):
            quantile.observe(1.0 if i % 10 == 0 else rng.uniform(0.009, 0.011), now)

    assert halves.value(clock.advance(1.0)) == pytest.approx(0.01, rel=0.1)
    assert tail.value(clock()) == pytest.approx(1.0, rel=CLOSE)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    """Slow for a minute, then quick: after a window only that is known."""
    clock, p95 = Clock(), Quantile(0.95, window=3.0)
    seen = []
    for seconds, count in ((1.0, 600), (0.01, 60)):
        for _ in range(count):
            p95.observe(seconds, clock.advance(0.1))
            seen.append(p95.value(clock()))

    assert seen[599] == seen[615] == pytest.approx(1.0, rel=CLOSE)
    assert seen[-1] == seen[-29] == pytest.approx(0.01, rel=CLOSE)


@pytest.mark.parametrize("pause", [3.2, 1e6])
def test_after_a_pause_nothing_is_known(pause: float) -> None:
    """Of a window and more; what comes then counts from the beginning."""
    clock, p95 = Clock(), Quantile(0.95, window=3.0)
    for _ in range(100):
        p95.observe(1.0, clock())

    assert p95.value(clock.advance(pause)) == inf
    for _ in range(20):
        p95.observe(0.01, clock())
    assert p95.value(clock.advance(0.2)) == pytest.approx(0.01, rel=CLOSE)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2)), max_size=120))
def test_counts_are_those_of_the_window(steps: list[tuple[float, float]]) -> None:
    """Never less than a window without its oldest slice, never more than the window, and none goes below zero."""
    clock, quantile, came = Clock(), Quantile(0.5, window=3.0), list[float]()
    for pause, seconds in steps:
        quantile.observe(seconds, clock.advance(pause))
        came.append(clock())

    counts = quantile._counts
    assert counts.total == sum(counts.buckets)
    assert min(counts.buckets) >= 0
    assert sum(when > clock() - 2.89 for when in came) <= counts.total
    assert counts.total <= sum(when > clock() - 3.01 for when in came)
