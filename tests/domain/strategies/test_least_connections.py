"""The fewest in flight for the weight, exactly."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fleet import fleet, pool
from tests.support.traffic import flow, shares, steadily


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=8))
def test_nobody_is_less_loaded_than_the_picked(state: list[tuple[int, int]]) -> None:
    """For every load and all weights, by fractions: exact where floats would not be."""
    backends = fleet(*(weight for _, weight in state))
    for backend, (in_flight, _) in zip(backends, state, strict=True):
        backend.in_flight = in_flight

    picked = pool(backends, "least_connections").pick(b"", (), 0.0)

    assert all(picked.in_flight * other.weight <= other.in_flight * picked.weight for other in backends)


def test_one_request_is_more_than_none() -> None:
    backends = fleet(1, 1)
    backends[0].in_flight = 1
    chosen = pool(backends, "least_connections")

    assert {chosen.pick(b"", (), 0.0).id for _ in range(10)} == {"b"}


def test_requests_that_stay_fill_up_by_weight() -> None:
    """60 long requests on weights 3, 2, 1: 30, 20, 10, whatever the order of ties."""
    backends = fleet(3, 2, 1)
    chosen = pool(backends, "least_connections")
    for _ in range(60):
        chosen.pick(b"", (), 0.0).in_flight += 1

    assert [backend.in_flight for backend in backends] == [30, 20, 10]


def test_a_backend_back_from_load_has_no_arrears_of_ties() -> None:
    """One that was busy during a thousand ties does not get the next thousand: its turns count from now."""
    backends = fleet(1, 1, 1)
    backends[0].in_flight = 5
    chosen = pool(backends, "least_connections")
    for _ in range(1000):
        chosen.pick(b"", (), 0.0)
    backends[0].in_flight = 0

    counts = Counter(chosen.pick(b"", (), 0.0).id for _ in range(30))

    assert {9, 10, 11} >= set(counts.values())


def test_what_is_evened_out_is_in_flight_not_counts() -> None:
    """Who is twice as fast gets twice as many (haproxy issue 1099), where there is enough in flight to go by.

    Of 400 a second, 267 last 50 ms and 133 last 100 ms: 13.3 in flight at each, so that the ratio of counts is within
    1 / 13.3 of 2.
    """
    served = shares(flow(pool(fleet(1, 1), "least_connections"), steadily({"a": 0.05, "b": 0.1}), rate=400, seconds=20))

    assert served["a"] / served["b"] == pytest.approx(2, abs=0.16)
