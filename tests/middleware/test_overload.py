"""While the event loop is behind, new requests are refused."""

from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.exchange import Exchange
from app.engine.asgi import Message, Receive, Scope, Send
from app.middleware.overload import CALM, EVERY, LATE, Lag, Overload, Shed
from tests.support.clock import Clock

MOST = 0.1
GOOD, FAIR, BAD = 0.04, 0.08, 0.3
"""Seconds: below half of it, between, and over it."""


def after(*looks: float) -> Lag:
    """What is known when the loop was so late."""
    lag = Lag(MOST)
    for late in looks:
        lag.look(late)
    return lag


@pytest.mark.parametrize(
    ("looks", "shedding"),
    [
        ([], False),
        ([BAD], False),
        ([BAD, GOOD] * 20, False),
        ([MOST] * 20, False),
        ([BAD] * LATE, True),
        ([BAD] * LATE + [GOOD] * (CALM - 1), True),
        ([BAD] * LATE + [FAIR] * 100, True),
        ([BAD] * LATE + [GOOD] * (CALM - 1) + [FAIR] + [GOOD] * (CALM - 1), True),
        ([BAD] * LATE + [GOOD] * CALM, False),
        ([BAD] * LATE + [GOOD] * CALM + [BAD] * (LATE - 1), False),
        ([BAD] * LATE + [GOOD] * CALM + [BAD] * LATE, True),
    ],
)
def test_it_takes_several_looks_to_begin_and_to_end(looks: list[float], shedding: bool) -> None:
    """One stop of the collector refuses nobody; and it does not go on and off by turns."""
    assert after(*looks).shedding is shedding


@given(st.lists(st.floats(0, 1), max_size=60))
def test_it_changes_only_after_a_whole_row(looks: list[float]) -> None:
    """The table on top of the module, said the other way round."""
    lag = Lag(MOST)
    before: list[bool] = []
    for number, late in enumerate(looks):
        before.append(lag.shedding)
        lag.look(late)
        if lag.shedding and not before[-1]:
            assert all(one > MOST for one in looks[number + 1 - LATE : number + 1])
            assert before[-LATE:] == [False] * LATE
        if before[-1] and not lag.shedding:
            assert all(one < MOST / 2 for one in looks[number + 1 - CALM : number + 1])
            assert before[-CALM:] == [True] * CALM


async def test_requests_are_refused_while_it_lasts() -> None:
    """With when to come back; those are counted."""
    lag, served = after(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1

    async def nothing(*_: Message) -> Message:
        raise AssertionError

    async def ask() -> None:
        exchange = Exchange(0.0, "192.0.2.1", "http", "GET", "example.org", "/")
        await Overload(app, sign=lag)({"headers": [], "lb.exchange": exchange}, nothing, nothing)  # type: ignore[arg-type]

    await ask()
    for _ in range(LATE):
        lag.look(BAD)
    for _ in range(3):
        with pytest.raises(Shed) as refused:
            await ask()
    for _ in range(CALM):
        lag.look(GOOD)
    await ask()

    assert (served, lag.refused) == (2, 3)
    assert (refused.value.status, refused.value.retry_after) == (503, 1.0)


def test_the_log_says_when_it_begins_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Once each."""
    with caplog.at_level(logging.INFO, "l7lb"):
        after(*[BAD] * LATE * 3, *[GOOD] * CALM * 3)

    assert [(r.levelname, r.getMessage().partition(":")[0]) for r in caplog.records] == [
        ("WARNING", "the event loop is 300 ms late"),
        ("INFO", "the event loop is in time again"),
    ]


async def test_the_job_looks_how_late_it_wakes() -> None:
    """What a sleep took longer than it was to; a clock that is coarse never makes it less than nothing."""
    clock, seen = Clock(), []
    late = iter([0.0, 0.25, -0.001])

    async def sleep(seconds: float) -> None:
        seen.append(lag.seconds)
        extra = next(late, None)
        if extra is None:
            raise asyncio.CancelledError
        clock.advance(seconds + extra)

    lag = Lag(MOST, clock=clock, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await lag.run()

    assert seen == pytest.approx([0.0, 0.0, 0.25, 0.0])
    assert clock.now == pytest.approx(1000.0 + 3 * EVERY + 0.249)


async def test_a_loop_that_is_really_late_is_found_out() -> None:
    """By the real clock: callbacks hold the loop up until it sheds."""
    lag = Lag(0.001)
    loop = asyncio.get_running_loop()
    job = asyncio.create_task(lag.run())
    try:
        async with asyncio.timeout(10):
            while not lag.shedding:
                await asyncio.sleep(EVERY * 0.9)
                end = loop.time() + EVERY * 1.5
                while loop.time() < end:
                    pass
    finally:
        job.cancel()
        await asyncio.wait({job})
