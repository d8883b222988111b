"""Retries are a share of the requests, with a few a second in any case, and no more."""

from math import isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.budget import MEMORY, Budget
from tests.support.clock import Clock

steps = st.lists(
    st.tuples(st.floats(0, 20), st.integers(0, 50), st.integers(1, 8)),  # seconds on, requests come, retries ask
    max_size=60,
)


@given(ratio=st.floats(0, 1), least=st.integers(0, 10), start=st.floats(0, 1e6), steps=steps)
def test_no_stretch_has_more_retries_than_its_deposits_and_what_was_saved(
    ratio: float, least: int, start: float, steps: list[tuple[float, int, int]]
) -> None:
    """
    From any moment to any later one.

    Saved of the reserve are 4 s at most; of the share it is what went in before at most, which is an upper bound, and
    for all that begins at the start an exact one.
    """
    budget, now, requests, taken = Budget(ratio, least, start), start, 0, 0
    marks = [(now, 0, 0, 0.0)]
    for seconds, come, asks in steps:
        now += seconds
        requests += come
        taken += sum(budget.withdraw(requests, now) for _ in range(asks))
        marks.append((now, requests, taken, max(0.0, marks[-1][3] + come * ratio)))

    for i, (since, before, spent, deposited) in enumerate(marks):
        for until, after, all_spent, _ in marks[i:]:
            saved = deposited + least * MEMORY
            assert all_spent - spent <= ratio * (after - before) + least * (until - since) + saved + 1e-6


@pytest.mark.parametrize(("rate", "ratio"), [(20, 0.2), (200, 0.2), (2000, 0.05), (300, 0.5)])
def test_a_dead_pool_is_soon_asked_little_more_than_once_a_request(rate: int, ratio: float) -> None:
    """
    After a minute of health every attempt fails: 1.2 attempts a request, once what was saved is gone.

    Of the share S' = -S / 4 + ratio * rate - rate from S = 4 * ratio * rate on, which is 0 after
    4 * ln(1 / (1 - ratio)) seconds: 0.9 at 20 %. From then on it is *ratio* retries a request, and one more that is on
    its way. At 20 requests a second the reserve of 12 and 3 a second lasts no longer.
    """
    twice = 4 * log(1 / (1 - ratio))
    budget, clock, requests = Budget(ratio, 3, 0.0), Clock(60.0), 60 * rate
    allowed = []
    for _ in range(8 * rate):
        requests += 1
        allowed.append(budget.withdraw(requests, clock.advance(1 / rate)))

    first, after = allowed[: round(twice * rate)], allowed[round(twice * rate) :]
    assert sum(first) == pytest.approx(len(first), abs=0.02 * rate + 1)
    assert sum(after) == pytest.approx(ratio * len(after), rel=0.02, abs=0.02 * rate + 1)


def test_a_quiet_pool_has_its_retries_a_second() -> None:
    """One request a second, ten of whose retries ask: three a second are allowed, whatever the share."""
    budget, clock = Budget(0.2, 3, 0.0), Clock(0.0)

    allowed = [sum(budget.withdraw(second, clock.advance(0.1)) for _ in range(10)) for second in range(1, 21)]

    assert sum(allowed[5:]) == 3 * 15


def test_the_rate_is_the_larger_of_the_two_not_their_sum() -> None:
    """100 requests a second at 20 % beside 20 a second: 20, not 40."""
    budget, clock = Budget(0.2, 20, 0.0), Clock(0.0)

    allowed = sum(budget.withdraw(requests, clock.advance(0.01)) for requests in range(1, 2001))

    assert allowed == pytest.approx(20 * 20 + 20 * MEMORY, rel=0.06)


def test_a_budget_begins_with_its_reserve() -> None:
    """So that the first failure after a start is not the client's."""
    budget = Budget(0.2, 3, 1000.0)

    assert [budget.withdraw(1, 1000.0) for _ in range(13)] == [True] * 12 + [False]


def test_what_is_saved_is_forgotten() -> None:
    """1000 requests in a second are worth 200 at once, and after half a minute of quiet nothing but the reserve."""
    at_once, later = Budget(0.2, 0, 0.0), Budget(0.2, 3, 0.0)

    assert sum(at_once.withdraw(1000, 1.0) for _ in range(1000)) == 176  # 200 that came evenly over the second
    assert later.withdraw(1000, 1.0)
    assert sum(later.withdraw(1000, 31.0) for _ in range(1000)) == 12


def test_a_refusal_costs_nothing() -> None:
    """Who asks in vain does not put off the next."""
    once, often = Budget(0.0, 1, 0.0), Budget(0.0, 1, 0.0)
    for budget in (once, often):
        while budget.withdraw(0, 0.0):
            pass
    assert not any(often.withdraw(0, step / 64) for step in range(64))

    assert once.withdraw(0, 1.0) == often.withdraw(0, 1.0) is True


@pytest.mark.parametrize("ratio", [0.0, 0.2])
def test_nothing_is_nothing(ratio: float) -> None:
    """Without a reserve there is no retry before there were requests; without a share none at all."""
    budget = Budget(ratio, 0, 0.0)

    assert not budget.withdraw(0, 10.0)
    assert budget.withdraw(100, 10.0) == (ratio > 0)


def test_a_clock_that_stands_still_counts_requests_only() -> None:
    """Several failures are found in the same turn of the loop."""
    budget = Budget(0.5, 0, 5.0)

    assert [budget.withdraw(n, 5.0) for n in range(1, 7)] == [False, True] * 3
    assert isclose(budget._share, 0.0)
