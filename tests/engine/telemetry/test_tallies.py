"""What several workers have counted, however they come and go: each of it once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

import pytest

from app.domain.metrics import Counter, Reading
from app.domain.tally import Told, rules_of, tally_of
from app.engine.crew import WORKERS, Crew
from app.engine.state.board import LARGEST, Board, Boards, Note, Table
from app.engine.state.memory_board import MemoryBoard
from app.engine.telemetry import tallies as module
from app.engine.telemetry.tallies import PAST, TALLIES, Tallies
from tests.support.boards import Busy, Shared


class Worker:
    """A process of its own, but for the process: one counter, one gauge."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.counter = Counter("x_total", "X.", ("by",))
        self.busy = 0
        self.forgotten: set[str] = set()
        self.crew = Crew(Boards(board, board))
        metrics = (self.counter, Reading("busy", "B.", (), lambda: [((), self.busy)]))
        self.tallies = Tallies(board, self.crew, lambda: tally_of(metrics), forget=self.forget, rules=rules_of(metrics))

    async def begin(self) -> Worker:
        """Be here."""
        await self.board.write(WORKERS, self.crew.id, b'["m", 1, 2]')
        return self

    async def die(self) -> None:
        """Be gone, as the others see it: its note is over."""
        await self.board.write(WORKERS, self.crew.id, None)

    def forget(self, told: Told) -> bool:
        gone = [labels for labels in told.get("x_total", {}) if labels[0] in self.forgotten]
        for labels in gone:
            del told["x_total"][labels]
        return bool(gone)

    async def scrape(self) -> tuple[float, float]:
        """What all have counted, and how many are busy."""
        whole = await self.tallies.together()
        return (
            sum(number for (number,) in whole.counted.get("x_total", {}).values()),
            sum(number for (number,) in whole.gauges["busy"].values()),
        )

    def work(self, count: int = 1, by: str = "a") -> None:
        self.counter.add((by,), count)


async def crew_of(board: Board, count: int) -> list[Worker]:
    return [await Worker(board).begin() for _ in range(count)]


@contextmanager
def interrupted(board: Shared, which: Callable[[str], bool], other: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Have *other* done before the first write to a key that is meant."""
    write = board.write
    left = [other]

    async def after_that(table: Table, key: str, *args: Any, **more: Any) -> int:
        if which(key) and left:
            await left.pop()()
        return await write(table, key, *args, **more)

    board.write = after_that  # type: ignore[method-assign]
    yield
    del board.write
    assert not left


async def test_any_of_them_tells_of_all() -> None:
    """Those that have told; its own is told at once."""
    one, two, three = await crew_of(Shared(), 3)
    one.work(5)
    two.work(7)
    one.busy, two.busy, three.busy = 1, 2, 4
    assert await three.scrape() == (0, 4)

    await one.tallies.tell()
    await two.tallies.tell()

    assert [await each.scrape() for each in (one, two, three)] == [(12, 7)] * 3
    one.work()
    assert await one.scrape() == (13, 7)
    assert await two.scrape() == (13, 7)  # what was shown is told: no counter is less the next time


async def test_the_dead_stay_counted_and_are_not_here() -> None:
    """In one note, however many there were."""
    board = Shared()
    (watcher,) = await crew_of(board, 1)
    for _ in range(20):
        (dies,) = await crew_of(board, 1)
        dies.work(3)
        dies.busy = 1
        await dies.tallies.tell()
        assert (await watcher.scrape())[1] == 1
        await dies.die()
        await watcher.scrape()
        assert set(await board.read(TALLIES)) == {PAST, f"{watcher.crew.id}.0"}

    assert await watcher.scrape() == (60, 0)


async def test_who_starts_folds_those_who_died_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing piles up where nobody scrapes."""
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    board = Shared()
    for died in await crew_of(board, 5):
        died.work(2)
        await died.tallies.tell()
        await died.die()
    (fresh,) = await crew_of(board, 1)
    job = asyncio.create_task(fresh.tallies.run())
    async with asyncio.timeout(10):
        while set(await board.read(TALLIES)) != {PAST, f"{fresh.crew.id}.0"}:
            await asyncio.sleep(0)
    job.cancel()

    assert await fresh.scrape() == (10, 0)


async def test_of_many_who_notice_a_death_one_counts_it() -> None:
    """At the same time, on a board where each step comes between those of others."""
    for seed in range(30):
        board = Busy(Random(seed))
        *alive, dead, other = await crew_of(board, 6)
        for one in (dead, other):
            one.work(100)
            await one.tallies.tell()
            await one.die()
        seen = await asyncio.gather(*(each.scrape() for each in alive for _ in range(3)))
        assert {number for number, _ in seen} == {200}
        assert (await alive[0].scrape())[0] == 200


async def test_of_two_who_fold_different_deaths_none_is_lost() -> None:
    """The one is between its look at the past and its word on it when the other has a word."""
    board = Shared()
    one, two, first, second = await crew_of(board, 4)
    for dead in (first, second):
        dead.work(100)
        await dead.tallies.tell()
    await first.die()

    async def other() -> None:
        await second.die()
        assert await two.scrape() == (200, 0)

    with interrupted(board, lambda key: key == PAST, other):
        await one.scrape()

    assert await one.scrape() == await two.scrape() == (200, 0)
    assert set(await board.read(TALLIES)) == {PAST, f"{one.crew.id}.0", f"{two.crew.id}.0"}


async def test_who_is_taken_for_dead_while_it_is_scraped_counts_once() -> None:
    """It has told, and not yet looked."""
    board = Shared()
    held, other = await crew_of(board, 2)
    held.work(10)

    async def taken() -> None:
        await held.die()
        assert await other.scrape() == (10, 0)
        await held.begin()

    read = board.read

    async def after_that(table: Table) -> dict[str, Note]:
        del board.read
        await taken()
        return await read(table)

    board.read = after_that  # type: ignore[method-assign]
    assert await held.scrape() == (10, 0)
    held.work(1)
    assert await held.scrape() == await other.scrape() == (11, 0)


async def test_who_was_taken_for_dead_goes_on() -> None:
    """With what it has counted since: a process that was held up."""
    board = Shared()
    held, other = await crew_of(board, 2)
    held.work(10)
    await held.tallies.tell()
    for turn in range(3):
        await held.die()
        assert await other.scrape() == (10 + 5 * turn, 0)
        await held.begin()
        held.work(5)
        assert await held.scrape() == await other.scrape() == (15 + 5 * turn, 0)


async def test_a_fold_that_nobody_finished_is_finished() -> None:
    """The one who did it dies at any of its steps."""
    for steps in range(1, 6):
        board = Shared()
        first, second, dead = await crew_of(board, 3)
        dead.work(10)
        await dead.tallies.tell()
        await dead.die()
        await first.tallies.tell()
        left = steps

        class Killed(Exception):
            """In the middle."""

        async def write(*args: object, **more: object) -> int:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return await Shared.write(board, *args, **more)  # type: ignore[arg-type]  # noqa: B023

        first.board.write = write  # type: ignore[method-assign]
        with suppress(Killed):
            await first.scrape()
        del first.board.write
        await first.die()

        for _ in range(2):
            assert await second.scrape() == (10, 0)
        assert set(await board.read(TALLIES)) == {PAST, f"{second.crew.id}.0"}


@pytest.mark.parametrize("folded", [False, True])
async def test_a_write_that_nobody_heard_of_counts_once(folded: bool) -> None:
    """Also where others have folded it meanwhile."""
    board = Shared()
    one, other = await crew_of(board, 2)
    one.work(3)
    await one.tallies.tell()
    one.work(4)
    board.lossy = 1
    await one.tallies.tell()
    one.work(5)
    if folded:
        await one.die()
        assert await other.scrape() == (7, 0)
        await one.begin()

    assert await one.scrape() == (12, 0)
    assert await other.scrape() == (12, 0)


async def test_without_the_board_a_worker_tells_of_what_it_saw() -> None:
    """And of all again when the board is back."""
    board = Shared()
    one, two = await crew_of(board, 2)
    two.work(7)
    await two.tallies.tell()
    assert await one.scrape() == (7, 0)

    board.away = True
    one.work(2)
    two.work(3)
    assert await one.scrape() == (9, 0)
    assert await two.scrape() == (10, 0)
    board.away = False
    assert await two.scrape() == (10, 0)
    assert await one.scrape() == (12, 0)


async def test_what_is_forgotten_leaves_the_past_too() -> None:
    """A backend that left, of a worker that died."""
    board = Shared()
    one, dead = await crew_of(board, 2)
    dead.work(5, by="gone")
    dead.work(2)
    await dead.tallies.tell()
    await dead.die()
    assert await one.scrape() == (7, 0)

    one.forgotten.add("gone")
    await one.scrape()
    one.forgotten.clear()

    assert await one.scrape() == (2, 0)


async def test_a_tally_that_is_too_long_is_told_by_its_worker_only(caplog: pytest.LogCaptureFixture) -> None:
    """Once said, and no scrape fails for it."""
    one, other = await crew_of(Shared(), 2)
    rng = Random(1)
    for _ in range(5):
        one.work(1, by=rng.randbytes(LARGEST).hex())

    assert await one.scrape() == (5, 0)
    assert await one.scrape() == (5, 0)
    assert await other.scrape() == (0, 0)
    assert len(caplog.records) == 1


async def test_a_lone_process_writes_nothing() -> None:
    """It tells of itself."""
    board = MemoryBoard()
    worker = Worker(board)
    worker.work(3)
    await worker.tallies.run()
    await worker.tallies.tell()
    assert await worker.scrape() == (3, 0)
    assert await board.revision(TALLIES) == 0


async def test_it_tells_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being asked."""
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    one, other = await crew_of(Shared(), 2)
    job = asyncio.create_task(one.tallies.run())
    for total in range(1, 4):
        one.work()
        async with asyncio.timeout(10):
            while (await other.scrape())[0] != total:
                await asyncio.sleep(0.005)
    job.cancel()


@pytest.mark.parametrize("seed", range(40))
async def test_nothing_is_lost_nor_counted_twice(seed: int) -> None:
    """Workers count, tell, are scraped, held up, killed and replaced, all at the same time, on a board with outages.

    No scrape is less than the one before it, as long as the board is there, or more than was counted. In the end it is
    what all have told, and of those who live what they have counted.
    """
    rng = Random(seed)
    board = Busy(rng)
    workers = await crew_of(board, 3)
    dead: list[float] = []
    counted = shown = 0.0

    async def live(worker: Worker) -> None:
        nonlocal counted, shown
        while True:
            await asyncio.sleep(0)
            step = rng.random()
            if step < 0.4:
                worker.work(rng.randrange(10))
            elif step < 0.7:
                await worker.tallies.tell()
            elif step < 0.9:
                before = shown
                found, _ = await worker.scrape()
                assert found >= before
                shown = max(shown, found)
                assert found <= sum(dead) + sum(map(_own, workers))
            else:
                await worker.die()  # held up
                for _ in range(rng.randrange(30)):
                    await asyncio.sleep(0)
                await worker.begin()

    jobs = {worker: asyncio.create_task(live(worker)) for worker in workers}
    for _ in range(8):
        for _ in range(rng.randrange(200)):
            await asyncio.sleep(0)
        worker = rng.choice(workers)
        await stop(jobs.pop(worker))
        await worker.tallies.tell()  # else what it has not told is lost
        workers.remove(worker)
        dead.append(_own(worker))
        await worker.die()
        (fresh,) = await crew_of(board, 1)
        workers.append(fresh)
        jobs[fresh] = asyncio.create_task(live(fresh))
    for worker, job in jobs.items():
        await stop(job)
        await worker.begin()
    for worker in workers:
        await worker.tallies.tell()

    total, _ = await workers[0].scrape()
    assert total == sum(dead) + sum(map(_own, workers))


def _own(worker: Worker) -> float:
    return sum(worker.counter.values.values())


async def stop(job: asyncio.Task[None]) -> None:
    """Cancel it. Raises what it failed with."""
    job.cancel()
    with suppress(asyncio.CancelledError):
        await job
