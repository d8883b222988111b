"""Who is here: workers find each other on the boards, and are missed when they have gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.engine import crew as module
from app.engine.crew import LASTING, WORKERS, Crew
from app.engine.state.board import BoardAway, Boards
from app.engine.state.memory_board import MemoryBoard
from tests.support.clock import Clock


class Shared(MemoryBoard):
    """In memory, for several that stand for processes."""

    lone = False


class Away(Shared):
    """Cannot be reached."""

    async def write(self, *_: object, **__: object) -> int:
        raise BoardAway("gone")


@asynccontextmanager
async def at_work(crew: Crew) -> AsyncIterator[asyncio.Task[None]]:
    """*crew* runs meanwhile."""
    job = asyncio.create_task(crew.run())
    try:
        yield job
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.005)


async def test_workers_find_each_other_until_they_leave() -> None:
    """On the board of their machine, and those of another machine on that of the cluster only."""
    here, there, cluster = Shared(), Shared(), Shared()
    first, second = (Crew(Boards(here, cluster), "one") for _ in range(2))
    other = Crew(Boards(there, cluster), "two")

    async with at_work(first), at_work(second), at_work(other):

        async def all_here() -> bool:
            return len(await first.present(cluster)) == 3 and len(await first.present(here)) == 2

        await eventually(all_here)
        assert await other.present(cluster) == [first.me, second.me, other.me]
        assert await second.present(here) == [first.me, second.me]
        assert {mate.machine for mate in await first.present(cluster)} == {"one", "two"}
        assert len({mate.id for mate in await first.present(cluster)}) == 3

    assert await first.present(cluster) == [first.me]
    assert await cluster.read(WORKERS) == {}


async def test_one_that_is_killed_is_missed_in_time() -> None:
    """Its note goes by itself: nobody took it away."""
    clock = Clock()
    board = Shared(clock)
    crew, killed = (Crew(Boards(board, board)) for _ in range(2))
    async with at_work(killed):
        await eventually(lambda: _written(board, 1))
        notes = await board.read(WORKERS)
    await board.write(WORKERS, killed.id, notes[killed.id].value, seconds=LASTING)  # as if it had not said good-bye

    clock.advance(LASTING - 0.1)
    assert await crew.present(board) == [crew.me, killed.me]
    clock.advance(0.2)
    assert await crew.present(board) == [crew.me]


async def test_a_note_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that who goes on stays."""
    monkeypatch.setattr(module, "RENEWAL", 0.01)
    board = Shared()
    crew = Crew(Boards(board, board))
    async with at_work(crew):
        await eventually(lambda: _written(board, 5))
        assert [*await board.read(WORKERS)] == [crew.id]


async def test_a_board_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other goes on, and the job does not crash."""
    monkeypatch.setattr(module, "RENEWAL", 0.01)
    here = Shared()
    crew = Crew(Boards(here, Away()))
    async with at_work(crew) as job:
        await eventually(lambda: _written(here, 3))
        assert not job.done()
    assert await here.read(WORKERS) == {}


async def test_a_lone_process_writes_nothing() -> None:
    """It is here nevertheless."""
    board = MemoryBoard()
    crew = Crew(Boards(board, board))
    await crew.run()
    assert await board.revision(WORKERS) == 0
    assert await crew.present(board) == [crew.me]


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'["a", "b", "c"]', b"\xff", b"[1, 2]", b"5"])
async def test_a_note_that_cannot_be_read_is_nobody(value: bytes) -> None:
    """Another version may have written it."""
    board = Shared()
    crew = Crew(Boards(board, board))
    await board.write(WORKERS, "x", value)
    assert await crew.present(board) == [crew.me]


async def _written(board: MemoryBoard, times: int) -> bool:
    return await board.revision(WORKERS) >= times
