"""What several processes have counted comes to the same, in whatever order it is put together."""

from __future__ import annotations

import json
import zlib
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.metrics import Counter, Histogram, Reading, exposition
from app.domain.tally import Tally, Told, count, less, packed, rules_of, tally_of, unpacked
from tests.support.exposition import parse

A, B = ("a",), ("b",)
numbers = st.dictionaries(st.sampled_from([A, B, ("c",)]), st.tuples(st.integers(0, 1 << 40)), max_size=3)
counts = st.dictionaries(st.sampled_from(["x_total", "y_total"]), numbers, max_size=2)


def metrics(requests: int, in_flight: float, up: float, lag: float) -> tuple[Counter, Histogram, Reading, ...]:
    """One worker's."""
    counter, histogram = Counter("c_total", "C.", ("l",)), Histogram("h_seconds", "H.", ("l",), (1.0, 2.0))
    counter.add(A, requests)
    histogram.observe(A, [0.5] * requests)
    return (
        counter,
        histogram,
        Reading("in_flight", "I.", (), lambda: [((), in_flight)]),
        Reading("up", "U.", (), lambda: [((), up)], across="min"),
        Reading("lag_seconds", "L.", (), lambda: [((), lag)], across="max"),
        Reading("dropped_total", "D.", (), lambda: [((), 1)], "counter"),
    )


def test_counters_and_histograms_add_up_and_a_gauge_is_what_it_says() -> None:
    """The text of all is read as that of one."""
    of = [metrics(3, 4, 1, 0.1), metrics(5, 2, 0, 0.3), metrics(1, 0, 1, 0.2)]
    for order in permutations(of):
        whole = Tally({}, {})
        for one in order:
            whole.put(tally_of(one), rules_of(one))
        found = parse(exposition(of[0], {**whole.counted, **whole.gauges}))

        assert found["c_total"].samples == {("c_total", (("l", "a"),)): 9}
        assert found["h_seconds"].samples["h_seconds_count", (("l", "a"),)] == 9
        assert found["h_seconds"].samples["h_seconds_sum", (("l", "a"),)] == 4.5
        gauges = [found[name].samples[name, ()] for name in ("in_flight", "up", "lag_seconds", "dropped_total")]
        assert gauges == [6, 0, 0.3, 3]


def test_what_one_tells_is_not_changed_by_the_sum() -> None:
    """Else the next sum would be another."""
    mine, other = (Tally({"x_total": {A: (1,)}}, {"g": {A: (1,)}}) for _ in range(2))
    whole = Tally({}, {})
    for tally in (mine, other, mine):
        whole.put(tally, {"g": "sum"})

    assert whole == Tally({"x_total": {A: (3,)}}, {"g": {A: (3,)}})
    assert mine == Tally({"x_total": {A: (1,)}}, {"g": {A: (1,)}})


def test_what_is_not_known_here_is_counted_and_not_shown() -> None:
    """Another version may have other gauges, other counters, and other buckets."""
    whole = Tally({"h": {A: (1, 1, 0.5)}}, {})
    whole.put(Tally({"new_total": {A: (2,)}, "h": {A: (1, 1, 1, 0.5), B: (1, 0, 0.1)}}, {"new": {A: (2,)}}), {})

    assert whole == Tally({"new_total": {A: (2,)}, "h": {A: (1, 1, 0.5), B: (1, 0, 0.1)}}, {})


@given(counts, counts)
def test_what_was_counted_before_can_be_taken_off(before: Told, since: Told) -> None:
    """What is left is what was counted since."""
    both: Told = {}
    count(both, before)
    count(both, since)
    left = less(both, before)

    for name, series in both.items():
        for labels in series:
            assert left[name][labels] == since.get(name, {}).get(labels, (0,))


def test_what_began_anew_is_as_it_is() -> None:
    """A backend that came back is counted from 0, and one that did not is not counted at all."""
    assert less({"x": {A: (3,)}}, {"x": {A: (5,), B: (2,)}, "y": {A: (1,)}}) == {"x": {A: (3,)}, "y": {}}


@given(counts, counts)
def test_a_note_brings_what_was_told(counted: Told, gauges: Told) -> None:
    """But for metrics without a label set."""
    found = unpacked(packed(Tally(counted, gauges)))

    assert found.counted == {name: series for name, series in counted.items() if series}
    assert found.gauges == {name: series for name, series in gauges.items() if series}


@pytest.mark.parametrize("value", [b"", b"x", *(zlib.compress(json.dumps(v).encode()) for v in ({}, [1, 2], [{}], 3))])
def test_a_note_that_cannot_be_read_tells_nothing(value: bytes) -> None:
    """It is of another version."""
    assert unpacked(value) == Tally({}, {})
