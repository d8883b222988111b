"""Records reach every observer once, in batches, soon, and by a timer only while there are any."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import pytest

from app.domain.exchange import Exchange
from app.engine.telemetry.journal import BATCH, Journal
from tests.support.clock import Clock


class Seen:
    """An observer that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[Exchange], float]] = []

    def __call__(self, batch: Sequence[Exchange], wall: float) -> None:
        self.batches.append((list(batch), wall))

    @property
    def records(self) -> list[Exchange]:
        return [exchange for batch, _ in self.batches for exchange in batch]


def exchange() -> Exchange:
    return Exchange(1.0, "192.0.2.1", "https", "GET", "example.org", "/")


async def seen(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_full_batch_goes_on_at_once() -> None:
    """Without the loop having turned."""
    observer = Seen()
    journal = Journal([observer])

    for _ in range(BATCH + 1):
        journal.append(exchange())

    assert [len(batch) for batch, _ in observer.batches] == [BATCH]
    journal.close()
    assert [len(batch) for batch, _ in observer.batches] == [BATCH, 1]


async def test_a_single_record_goes_on_by_itself() -> None:
    """By a timer, which is not set again while nothing waits."""
    observer = Seen()
    journal = Journal([observer])
    only = exchange()

    journal.append(only)
    await asyncio.wait_for(seen(lambda: bool(observer.batches)), 5)

    assert [only] == observer.records
    assert journal._tick is None
    journal.append(only)
    await asyncio.wait_for(seen(lambda: len(observer.records) == 2), 5)


async def test_closing_leaves_no_timer() -> None:
    """What waits is handed on, and nothing is called later."""
    observer = Seen()
    journal = Journal([observer])
    journal.close()
    journal.append(exchange())
    timer = journal._tick

    journal.close()

    assert len(observer.records) == 1
    assert timer is not None
    assert timer.cancelled()


async def test_the_offset_is_measured_for_each_batch() -> None:
    """So that the log follows a wall clock that was set."""
    observer, wall, monotonic = Seen(), Clock(1_700_000_100.0), Clock(100.0)
    journal = Journal([observer], wall=wall, monotonic=monotonic)
    journal.append(exchange())
    journal.flush()
    wall.advance(-3600.0)
    journal.append(exchange())
    journal.close()

    assert [offset for _, offset in observer.batches] == [1_700_000_000.0, 1_699_996_400.0]


async def test_what_the_edge_refused_is_told_twice() -> None:
    """To those who count refusals, and to everybody; it ends now, unless it says when."""
    everybody, refusals, monotonic = Seen(), Seen(), Clock(100.0)
    journal = Journal([everybody], [refusals], monotonic=monotonic)
    ended, open_ended, other = exchange(), exchange(), exchange()
    ended.ended = 50.0

    journal.append(other)
    journal.refuse(ended)
    journal.refuse(open_ended)
    journal.close()

    assert [other, ended, open_ended] == everybody.records
    assert [ended, open_ended] == refusals.records
    assert (ended.ended, open_ended.ended) == (50.0, 100.0)


async def test_an_observer_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Nor the traffic: the failure is logged."""

    def broken(batch: Sequence[Exchange], wall: float) -> None:
        raise ZeroDivisionError

    observer = Seen()
    journal = Journal([broken, observer])

    with caplog.at_level(logging.ERROR, "l7lb"):
        journal.append(exchange())
        journal.close()

    assert len(observer.records) == 1
    assert "missed 1 exchanges" in caplog.text


def test_without_a_loop_a_record_waits() -> None:
    """An exchange that is dropped while the process ends raises nothing."""
    observer = Seen()
    journal = Journal([observer])

    journal.append(exchange())
    journal.close()

    assert len(observer.records) == 1
