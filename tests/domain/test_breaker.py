"""What answers count for, when they eject, and how a backend comes back: one breaker, without its pool."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.breaker import CONSECUTIVE, FAILURES, SLOW, Breaker, State, Trip
from app.domain.errors import (
    BodyTimeout,
    ClientGone,
    ConnectFailed,
    InternalError,
    ProxyError,
    ResponseIncomplete,
    ResponseTimeout,
)
from settings.resilience import BreakerSettings
from tests.support.answers import answer
from tests.support.fleet import backend

HERE = backend()


def breaker(**settings: Any) -> Breaker:
    """One without jitter, whose window is 10 s."""
    return Breaker(BreakerSettings(**{"jitter": 0.0} | settings))


def feed(
    found: Breaker, now: float, *statuses: int, error: ProxyError | None = None, head: float = 0.01
) -> list[Trip | None]:
    """What it says of answers of these statuses at *now*."""
    return [found.observe(answer(HERE, now, status, error=error, head=head), now) for status in statuses]


def passes(found: Breaker, now: float, count: int) -> None:
    feed(found, now, *[200] * count)


# What counts


PASSES = [(status, None) for status in (100, 200, 301, 400, 404, 408, 429, 499, 500, 501, 505, 599, 999)]
FAILS = [
    (502, None), (503, None), (504, None), (0, ConnectFailed()), (0, ResponseTimeout()), (200, ResponseIncomplete()),
    (503, ClientGone()),
]  # fmt: skip
NEITHER = [(0, None), (0, ClientGone()), (200, ClientGone()), (0, BodyTimeout()), (0, InternalError())]


@pytest.mark.parametrize(("status", "error"), PASSES)
def test_every_status_is_one_or_the_other_kong_7566(status: int, error: ProxyError | None) -> None:
    """A status that is in neither list froze Kong's counter: what is not a failure is a pass, and ends the row."""
    found = breaker()
    feed(found, 0.0, 503, 503)
    feed(found, 0.0, status, error=error)

    assert (found.counts(), found.streak) == ((3, 2, 0), 0)


@pytest.mark.parametrize(("status", "error"), FAILS, ids=str)
def test_no_whole_response_is_a_failure_and_so_is_a_gateway_status(status: int, error: ProxyError | None) -> None:
    found = breaker()
    feed(found, 0.0, 200, 503)
    feed(found, 0.0, status, error=error)

    assert (found.counts(), found.streak) == ((3, 2, 0), 2)


@pytest.mark.parametrize(("status", "error"), NEITHER, ids=str)
def test_what_the_client_does_counts_for_nothing(status: int, error: ProxyError | None) -> None:
    """Neither as a pass, which would hide a row of failures, nor as a failure."""
    found = breaker()
    feed(found, 0.0, 200, 503)
    feed(found, 0.0, status, error=error)

    assert (found.counts(), found.streak) == ((2, 1, 0), 1)


def test_a_500_counts_if_asked() -> None:
    found = breaker(status="500-504", consecutive=2)

    assert feed(found, 0.0, 500, 500)[1] == Trip(CONSECUTIVE, "2 failures in a row")


@pytest.mark.parametrize(("head", "slows"), [(0.1, 0), (0.25, 0), (0.26, 1), (9.0, 1)])
def test_slow_is_a_head_that_takes_longer(head: float, slows: int) -> None:
    """It is a pass all the same; a failure is not slow as well."""
    found = breaker(slow=0.25)
    feed(found, 10.0, 200, head=head)

    assert found.counts() == (1, 0, slows)

    feed(found, 10.0, 503, head=head)

    assert found.counts() == (2, 1, slows)


def test_nothing_is_slow_unless_it_is_said() -> None:
    found = breaker(min_requests=1)

    assert feed(found, 1000.0, 200, head=600.0) == [None]
    assert found.counts() == (1, 0, 0)


# Reasons


def test_failures_in_a_row() -> None:
    """Five; one pass between, and they are counted anew. It is said again while nothing comes of it."""
    found = breaker()

    assert feed(found, 0.0, *[503] * 4, 200, *[503] * 4) == [None] * 9
    assert feed(found, 0.0, 503, 503) == [
        Trip(CONSECUTIVE, "5 failures in a row"),
        Trip(CONSECUTIVE, "6 failures in a row"),
    ]


def test_one_failure_where_that_is_enough() -> None:
    assert feed(breaker(consecutive=1), 0.0, 503) == [Trip(CONSECUTIVE, "a failure")]


def test_a_share_of_failures() -> None:
    """Half of twenty: not of nineteen, and not less than half."""
    found = breaker(consecutive=0)

    assert feed(found, 0.0, *[503, 200] * 9, 503) == [None] * 19
    assert feed(found, 0.0, 503) == [Trip(FAILURES, "11 of 20 failed")]

    found = breaker(consecutive=0)
    passes(found, 0.0, 11)

    assert feed(found, 0.0, *[503] * 10) == [None] * 10
    assert feed(found, 0.0, 503) == [Trip(FAILURES, "11 of 22 failed")]


def test_a_share_of_slow_ones() -> None:
    found = breaker(slow=1.0, slow_ratio=0.8, min_requests=10)
    passes(found, 5.0, 2)

    assert feed(found, 5.0, *[200] * 7, head=2.0) == [None] * 7
    assert feed(found, 5.0, 200, head=2.0) == [Trip(SLOW, "8 of 10 slow")]


@pytest.mark.parametrize(
    "off", [{"enabled": False}, {"consecutive": 0, "failure_ratio": 0.0}, {"consecutive": 0, "min_requests": 10**6}]
)
def test_what_is_off_ejects_nobody(off: dict[str, Any]) -> None:
    assert set(feed(breaker(**off), 0.0, *[503] * 500)) == {None}


def test_a_slow_ratio_of_0_needs_a_slow_one() -> None:
    found = breaker(slow=1.0, slow_ratio=0.0, min_requests=1, failure_ratio=0.0)

    assert feed(found, 5.0, 200, 503) == [None, None]
    assert feed(found, 5.0, 200, head=2.0) == [Trip(SLOW, "1 of 3 slow")]


def test_what_has_left_the_window_is_forgotten() -> None:
    """Ten failures are too few; ten more count together with them 9 s later, and no more 10 s later."""
    for later, expected in ((8.9, Trip(FAILURES, "20 of 20 failed")), (10.0, None), (1000.0, None)):
        found = breaker(consecutive=0)
        feed(found, 100.0, *[503] * 10)

        assert feed(found, 100.0 + later, *[503] * 10)[-1] == expected


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([200, 503, 0])), max_size=60),
    st.sampled_from([1.0, 8.0, 300.0]),
)
def test_the_window_reaches_back_its_length_but_a_bucket(steps: list[tuple[int, int]], window: float) -> None:
    """Of every answer: counted while it is less than 90 % of the window old, and not when it is 100 %."""
    found = breaker(window=window, consecutive=0, failure_ratio=0.0)
    told: list[tuple[float, int]] = []
    now = 1000.0
    for sixteenths, status in steps:
        now += window * sixteenths / 16
        feed(found, now, status)
        told.append((now, status))
        requests, failures, _ = found.counts()
        for counted, chosen in ((requests, (200, 503)), (failures, (503,))):
            ages = [now - at for at, status in told if status in chosen]
            recent, all_of_it = window * 0.9 - 1e-6, window + 1e-6
            assert sum(age < recent for age in ages) <= counted <= sum(age < all_of_it for age in ages)


def test_slow_ones_count_in_all_of_the_window() -> None:
    """Two a second; none of a second in which nothing came."""
    found = breaker(slow=1.0, min_requests=100)
    for now in (100.0, 101.0, 104.0, 108.0):
        feed(found, now, 200, 200, head=2.0)
        feed(found, now, 200)

    assert found.counts() == (12, 0, 8)


def test_few_slow_ones_of_many_eject_nobody() -> None:
    found = breaker(slow=1.0, slow_ratio=0.8, min_requests=1)
    passes(found, 5.0, 9)

    assert feed(found, 5.0, 200, head=2.0) == [None]


def test_a_bucket_is_a_tenth_of_the_window() -> None:
    """From the first answer on, however long nothing came; none is kept beyond the window."""
    found = breaker(consecutive=0)
    ends = []
    for now in (100.0, 100.9, 101.0, 102.5, 107.0):
        feed(found, now, 503)
        ends.append(found.ends)

    assert ends == [101.0, 101.0, 102.0, 103.0, 108.0]
    assert found.counts() == (5, 5, 0)
    feed(found, 110.0, 503)
    assert found.counts() == (4, 4, 0), "without the two that came at 100"


# Ejections


def test_the_nth_ejection_lasts_n_times_as_long() -> None:
    """Up to the longest; by which reason it was is counted."""
    found = breaker(ejection=30.0, max_ejection=100.0)
    lasted = []
    now = 0.0
    for reason in (CONSECUTIVE, CONSECUTIVE, SLOW, FAILURES, FAILURES):
        found.eject(reason, now, 0.0)
        lasted.append(found.until - now)
        now = found.until
        found.admit(now)

    assert lasted == [30.0, 60.0, 90.0, 100.0, 100.0]
    assert found.ejections == {CONSECUTIVE: 2, SLOW: 1, FAILURES: 2}
    assert found.reason == FAILURES


@pytest.mark.parametrize(("well", "lasts"), [(0, 90), (29, 90), (30, 60), (59, 60), (60, 30), (9999, 30)])
def test_the_row_ends_step_by_step(well: float, lasts: float) -> None:
    """After two ejections, one less for each 30 s that the breaker was closed."""
    found = breaker()
    found.eject(CONSECUTIVE, 0.0, 0.0)
    found.admit(30.0)
    found.eject(CONSECUTIVE, 30.0, 0.0)
    found.admit(90.0)
    found.close(100.0)
    found.eject(CONSECUTIVE, 100.0 + well, 0.0)

    assert found.until == 100.0 + well + lasts


@given(st.integers(0, 100), st.floats(0, 1), st.integers(1, 15))
def test_chance_makes_it_longer_by_the_jitter_at_most(percent: int, chance: float, row: int) -> None:
    """So that those who went together do not return together."""
    found = breaker(jitter=percent / 100)
    now = 0.0
    for _ in range(row):
        found.eject(CONSECUTIVE, now, chance)
        without, lasts, now = min(300.0, 30.0 * found.row), found.until - now, found.until
        found.admit(now)

    assert found.row == row
    assert without <= lasts + 1e-6
    assert lasts == pytest.approx(without * (1 + percent / 100 * chance))


def test_late_answers_do_not_count() -> None:
    """Those while it is ejected, and those to requests from before: they tell of a time that has been judged."""
    found = breaker()
    found.eject(CONSECUTIVE, 100.0, 0.0)

    assert feed(found, 101.0, 503, 200) == [None, None]

    found.admit(130.0)

    assert feed(found, 140.0, 503, 200, head=11.0) == [None, None]
    assert found.state is State.HALF_OPEN

    found.close(150.0)

    assert feed(found, 151.0, *[503] * 9, head=2.0) == [None] * 9
    assert found.counts() == (0, 0, 0)


# Half-open


def half_open(**settings: Any) -> Breaker:
    """One that was ejected at 0 s, for 30 s."""
    found = breaker(**settings)
    found.eject(settings.get("reason", CONSECUTIVE), 0.0, 0.0)
    assert found.admit(30.0)
    return found


def test_the_whole_cycle() -> None:
    """Closed, ejected, half-open, ejected for longer, half-open, closed; it admits who may find out."""
    found = breaker()
    states = [found.state]
    found.eject(CONSECUTIVE, 0.0, 0.0)
    states.append(found.state)

    assert not found.admits

    assert found.admit(30.0)
    states.append(found.state)

    assert found.admits
    assert feed(found, 31.0, 200, 503) == [None, Trip(CONSECUTIVE, "failed again")]

    found.eject(CONSECUTIVE, 31.0, 0.0)
    states.append(found.state)

    assert (found.since, found.until) == (31.0, 31.0 + 60.0)

    found.admit(91.0)
    states.append(found.state)
    passes(found, 92.0, 3)
    states.append(found.state)

    assert [state.value for state in states] == ["closed", "open", "half-open", "open", "half-open", "closed"]
    assert (found.admits, found.since, found.counts(), found.streak) == (True, 92.0, (0, 0, 0), 0)


def test_an_answer_counts_when_its_request_was_sent_at_that_very_moment() -> None:
    found = half_open(half_open=1)

    assert found.observe(answer(HERE, 30.5, head=0.5), 30.5) is None
    assert found.state is State.CLOSED


def test_half_open_lets_three_through_at_a_time() -> None:
    """An answer of any kind makes room again; only passes count."""
    found = half_open()
    found.trials = 3

    assert not found.admits

    feed(found, 31.0, 0, error=ClientGone())

    assert (found.admits, found.trials, found.state) == (True, 2, State.HALF_OPEN)

    passes(found, 31.0, 2)

    assert (found.trials, found.state) == (0, State.HALF_OPEN)

    feed(found, 31.0, 0)  # one that was picked in a panic, and not counted

    assert found.trials == 0

    passes(found, 31.0, 1)

    assert found.state is State.CLOSED


def test_a_request_that_never_ends_keeps_nobody_out() -> None:
    """After the time of a first ejection as many are let through again; what passed before counts on."""
    found = half_open(half_open=2)
    found.trials = 2
    passes(found, 31.0, 1)
    found.trials = 2

    assert found.until == 60.0
    assert not found.admit(60.0)
    assert (found.admits, found.until, found.trials) == (True, 90.0, 0)

    passes(found, 61.0, 1)

    assert found.state is State.CLOSED


@pytest.mark.parametrize(
    ("reason", "expected"), [(CONSECUTIVE, None), (FAILURES, None), (SLOW, Trip(SLOW, "slow again"))]
)
def test_slow_again_is_for_who_was_ejected_for_it(reason: str, expected: Trip | None) -> None:
    """Of others one slow response says nothing."""
    found = breaker(slow=1.0)
    found.eject(reason, 0.0, 0.0)
    found.admit(30.0)

    assert feed(found, 40.0, 200, head=2.0) == [expected]


# Other settings


def test_a_reload_keeps_an_ejection() -> None:
    """And what it is like from then on goes by the new settings; the same settings leave the counts alone."""
    found = breaker()
    passes(found, 0.0, 3)
    found.configure(BreakerSettings(jitter=0.0))

    assert found.counts() == (3, 0, 0)

    found.configure(BreakerSettings(window=1.0, consecutive=2, jitter=0.0))

    assert feed(found, 0.0, 503, 503) == [None, Trip(CONSECUTIVE, "2 failures in a row")]
    assert found.counts() == (2, 2, 0)

    found.eject(CONSECUTIVE, 0.0, 0.0)
    found.configure(BreakerSettings(half_open=1))

    assert found.state is State.OPEN

    found.admit(30.0)
    passes(found, 31.0, 1)

    assert found.state is State.CLOSED


def test_switched_off_it_is_closed() -> None:
    found = half_open()
    found.configure(BreakerSettings(enabled=False))

    assert (found.state, found.admits) == (State.CLOSED, True)
    assert found.ends == inf, "nobody has to look at an answer"
    assert set(feed(found, 40.0, *[503] * 99)) == {None}
    assert found.counts() == (0, 0, 0)


# The word of another process


def test_what_another_ejected_is_found_out_with_few_requests() -> None:
    """As many as after an ejection of our own; those that were under way count for nothing."""
    found = breaker(half_open=2)
    found.suspect(CONSECUTIVE, 10.0)
    assert (found.state, found.reason, found.row, found.ejections) == (State.HALF_OPEN, CONSECUTIVE, 0, {})
    assert (found.since, found.until) == (10.0, 40.0)
    assert found.observe(answer(HERE, 9.0, 503), 11.0) is None

    passes(found, 12.0, 1)
    assert found.state is State.HALF_OPEN
    passes(found, 12.0, 1)
    assert found.state is State.CLOSED


def test_where_the_same_holds_one_request_is_enough() -> None:
    """It is then ejected as for the first time here."""
    found = breaker(slow=1.0)
    found.suspect(SLOW, 10.0)
    assert feed(found, 13.0, 200, head=2.0) == [Trip(SLOW, "slow again")]
    found.eject(SLOW, 13.0, 0.0)
    assert (found.state, found.until, found.row) == (State.OPEN, 43.0, 1)


def test_suspicion_does_not_undo_good_conduct() -> None:
    """What was forgiven while it was closed stays so."""
    found = breaker()
    for _ in range(3):
        found.eject(CONSECUTIVE, 0.0, 0.0)
    found.close(0.0)
    found.suspect(CONSECUTIVE, 65.0)
    assert found.row == 1


def test_slow_ones_add_up_over_the_window() -> None:
    """Also over seconds in which nobody came."""
    found = breaker(slow=1.0)
    feed(found, 0.0, 200, head=2.0)
    feed(found, 3.0, 200, 200, head=2.0)
    feed(found, 6.0, 200)

    assert found.counts() == (4, 0, 3)


def test_fewer_slow_ones_than_the_share_eject_nobody() -> None:
    """One of eight is not half."""
    found = breaker(slow=1.0, slow_ratio=0.5, min_requests=4)
    passes(found, 0.0, 7)

    assert feed(found, 0.0, 200, head=2.0) == [None]


def test_what_is_shown_of_a_breaker() -> None:
    """Since when it is as it is, and until when."""
    found = breaker(ejection=10.0)
    assert (found.reason, found.counts()) == ("", (0, 0, 0))

    found.eject(CONSECUTIVE, 5.0, 0.0)
    assert (found.since, found.until) == (5.0, 15.0)
    found.admit(15.0)
    found.trials = 2
    found.admit(25.0)
    assert (found.since, found.until, found.trials) == (15.0, 35.0, 0)

    found.suspect(SLOW, 40.0)
    assert (found.since, found.until) == (40.0, 50.0)
    assert breaker(enabled=False).ends == inf
