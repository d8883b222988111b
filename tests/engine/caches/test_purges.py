"""Purges over a board that several workers share: all forget, whoever does not hear validates, who is slow is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.cache.stored import PURGED, Stored
from app.engine.caches import purges
from app.engine.caches.memory import MemoryStore
from app.engine.caches.purges import PURGES, PurgeLog, Purges
from app.engine.caches.store import Purge
from app.engine.crew import Crew
from app.engine.state.board import BoardAway, Boards
from app.engine.state.memory_board import MemoryBoard

KEY = b"api https://example.org/a"


class SharedBoard(MemoryBoard):
    """As if other processes were on it; it can be away."""

    lone = False
    away = False

    async def revision(self, table: Any) -> int:
        if self.away:
            raise BoardAway("for a test")
        return await super().revision(table)


class Worker:
    """One of several, with a store of its own; its clock stands still."""

    def __init__(self, board: MemoryBoard) -> None:
        self.board = board
        self.now = 1000.0
        self.store = MemoryStore(MemoryStore.Options())
        self.log = PurgeLog()
        self.crew = Crew(Boards(board, board))
        self.purges = Purges({"default": self.store}, self.log, board, self.crew, clock=lambda: self.now)
        self.jobs: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.jobs = [asyncio.create_task(job()) for job in (self.crew.run, self.purges.run)]
        while self.purges._seen < 0:
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)

    async def put(self, key: bytes = KEY, **given: Any) -> None:
        writer = await self.store.write(key, Stored(1, 200, (), 1000.0, lifetime=60.0, **given), 0)
        assert writer is not None
        assert await writer.commit()
        writer.close()


@pytest.fixture
async def both(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Worker, Worker]]:
    monkeypatch.setattr(purges, "LISTEN", 0.005)
    monkeypatch.setattr(purges, "ASK", 0.005)
    board = SharedBoard()
    one, two = Worker(board), Worker(board)
    await one.start()
    await two.start()
    while len(await one.crew.present(board)) < 2:
        await asyncio.sleep(0.001)
    yield one, two
    await one.stop()
    await two.stop()


async def stale(worker: Worker) -> None:
    """What it has is stale, soon."""
    async with asyncio.timeout(10):
        while not worker.store.peek(KEY)[0].stored.flags & PURGED:
            await asyncio.sleep(0.001)


async def test_everybody_forgets_and_says_how_many(both: tuple[Worker, Worker]) -> None:
    one, two = both
    await one.put()
    await two.put()
    await two.put(b"api https://example.org/b", tags=(b"t",))

    done = await one.purges.purge([Purge("key", KEY), Purge("tag", b"t")])

    assert {each.worker.id: each.responses for each in done} == {one.crew.id: 1, two.crew.id: 2}
    assert one.store.peek(KEY) == two.store.peek(KEY) == ()
    assert (one.log.count, two.log.count) == (2, 2)
    assert [each.responses for each in await two.purges.purge([Purge("key", KEY)])] == [0, 0]
    assert [worker.store.usage.purged for worker in both] == [1, 2]


async def test_a_soft_one_is_soft_everywhere(both: tuple[Worker, Worker]) -> None:
    one, two = both
    await two.put()

    await one.purges.purge([Purge("prefix", b"api ", soft=True)])

    (kept,) = two.store.peek(KEY)
    assert kept.stored.flags & PURGED


async def test_many_at_once_are_all_heard(both: tuple[Worker, Worker]) -> None:
    one, two = both
    keys = [b"api /%d" % number for number in range(200)]
    for key in keys:
        await one.put(key)
        await two.put(key)

    found = await asyncio.gather(
        *((one, two)[number % 2].purges.purge([Purge("key", key)]) for number, key in enumerate(keys))
    )

    assert all(sum(each.responses or 0 for each in done) == 2 for done in found)
    assert one.store.usage.responses == two.store.usage.responses == 0


async def test_who_does_not_say_is_named_after_some_time(both: tuple[Worker, Worker]) -> None:
    one, two = both
    two.jobs[1].cancel()  # it is here, and does not listen
    asking = asyncio.create_task(one.purges.purge([Purge("key", KEY)]))
    while not await one.board.read(PURGES):
        await asyncio.sleep(0.001)
    assert not asking.done()
    one.now += purges.PATIENCE + 1

    assert {each.worker.id: each.responses for each in await asking} == {one.crew.id: 0, two.crew.id: None}


async def test_who_did_not_hear_for_long_validates_what_it_has(both: tuple[Worker, Worker]) -> None:
    """For what was purged meanwhile, nobody will tell it; and what it was fetching then is not stored."""
    one, two = both
    await two.put()
    two.jobs[1].cancel()
    await one.purges._board.write(PURGES, "lost", b"[]", seconds=0.0)
    mark = two.log.count
    two.now += purges.KEPT / 2 + 1

    two.jobs[1] = asyncio.create_task(two.purges.run())
    await stale(two)
    assert two.log.since(mark, b"web /", None)


async def test_a_board_that_has_begun_again_may_have_lost_some(both: tuple[Worker, Worker]) -> None:
    one, two = both
    await one.purges.purge([Purge("key", b"api /")])
    await two.put()
    one.board._revisions.clear()  # type: ignore[attr-defined]
    for table in ("purges", "purged"):
        one.board._tables.pop(table)  # type: ignore[attr-defined]

    await stale(two)
    await two.put()
    await one.purges.purge([Purge("key", KEY)])
    assert two.store.peek(KEY) == ()


async def test_a_note_that_cannot_be_read_may_mean_anything(both: tuple[Worker, Worker]) -> None:
    one, two = both
    await two.put()
    await one.board.write(PURGES, "of another version", b"[[1]]", seconds=9.0)

    await stale(two)


async def test_an_outage_of_the_board_is_told_and_over_once_it_is_over(both: tuple[Worker, Worker]) -> None:
    one, two = both
    await two.put()
    one.board.away = True  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:

        async def away(*_: Any, **__: Any) -> int:
            raise BoardAway("for a test")

        patch.setattr(one.board, "write", away)
        with pytest.raises(BoardAway):
            await one.purges.purge([Purge("key", KEY)])
    one.board.away = False  # type: ignore[attr-defined]
    assert [each.responses for each in await one.purges.purge([Purge("key", KEY)])] == [0, 1]


async def test_a_process_that_is_alone_needs_nobody() -> None:
    worker = Worker(MemoryBoard())
    await worker.put()
    await worker.purges.run()

    assert [each.responses for each in await worker.purges.purge([Purge("key", KEY)])] == [1]
    assert worker.purges.reaches_all


def test_the_log_knows_what_came_since() -> None:
    log = PurgeLog()
    assert not log.since(0, KEY, None)
    log.add(Purge("key", KEY))
    log.add(Purge("tag", b"t", "api"))
    stored = Stored(1, 200, (), 0.0, tags=(b"t",))
    assert log.since(0, KEY, stored)
    assert log.since(1, KEY, stored)
    assert log.since(1, KEY, None)  # nobody knows its tags yet
    assert not log.since(1, KEY, Stored(1, 200, (), 0.0))
    assert not log.since(1, b"web /", None)
    assert not log.since(2, KEY, stored)
    for number in range(purges.REMEMBERED):
        log.add(Purge("key", b"%d" % number))
    assert log.since(1, b"web /", stored)  # more than it remembers
    assert not log.since(2, b"web /", stored)
