"""What one worker ejects, the others look at twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from app.domain.backend import Backend
from app.domain.breaker import CONSECUTIVE
from app.engine import hints as module
from app.engine.crew import Crew
from app.engine.hints import EJECTIONS, Hints, key_of
from app.engine.state.board import Board, Boards
from app.engine.state.memory_board import MemoryBoard
from app.engine.topology import Topology
from settings.pools import BackendSettings
from settings.resilience import HealthSettings
from settings.root import Settings
from tests.support.answers import answer
from tests.support.boards import Shared


class Worker:
    """A process of its own, but for the process: three backends."""

    def __init__(self, boards: Boards, scope: str = "machine", **breaker: Any) -> None:
        self.topology = Topology()
        urls = [f"http://10.0.0.{n}|id=b{n}" for n in range(3)]
        said = {"scope": scope, "jitter": 0, **breaker}
        pool = {"backends": urls, "health": {"kind": "none"}, "breaker": said, "panic": 0.1}
        self.topology.apply(Settings.model_validate({"pools": {"p": pool}}))
        self.hints = Hints(self.topology, boards, Crew(boards))
        self.pool = self.topology.pools["p"]

    @property
    def states(self) -> str:
        """A letter each: closed, half-open, open."""
        return "".join(backend.breaker.state.value[0] for backend in self.pool.backends)

    def fail(self, number: int = 0, times: int = 5) -> Backend:
        """Have a backend fail so often."""
        now = monotonic()
        backend = self.pool.backends[number]
        for _ in range(times):
            self.pool.observe(answer(backend, now, 503, head=0.0), now)
        return backend


@asynccontextmanager
async def at_work(*workers: Worker) -> AsyncIterator[list[asyncio.Task[None]]]:
    """They run meanwhile."""
    jobs = [asyncio.create_task(worker.hints.run()) for worker in workers]
    try:
        yield jobs
    finally:
        for job in jobs:
            assert not job.done() or job.exception() is None
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.005)


async def looked(board: Board) -> None:
    """Wait until everybody has had several looks."""
    assert isinstance(board, Shared)
    looks = board.asked
    await eventually(lambda: board.asked >= looks + 12)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often."""
    monkeypatch.setattr(module, "LOOK", 0.01)


def machine() -> Boards:
    board = Shared()
    return Boards(board, board)


async def test_the_others_hear_and_find_out_for_themselves() -> None:
    """Where a request fails, it is ejected there as well; where none does, it is back."""
    boards = machine()
    first, second, third = (Worker(boards, half_open=1) for _ in range(3))
    async with at_work(first, second, third):
        first.fail()
        await eventually(lambda: second.states == third.states == "hcc")
        second.fail(times=1)
        third.pool.observe(answer(third.pool.backends[0], monotonic(), 200, head=0.0), monotonic())

        assert (first.states, second.states, third.states) == ("occ", "occ", "ccc")
        assert second.pool.backends[0].breaker.ejections == {CONSECUTIVE: 1}
        assert third.pool.backends[0].breaker.ejections == {}


async def test_one_whose_own_network_is_broken_takes_nobody_away() -> None:
    """It ejects whom it can; the others try each, and go on."""
    boards = machine()
    broken, sound = Worker(boards, half_open=1, max_ejected=1.0), Worker(boards, half_open=1, max_ejected=1.0)
    async with at_work(broken, sound):
        for number in range(2):
            broken.fail(number)
        await eventually(lambda: sound.states == "hhc")
        now = monotonic()
        for backend in sound.pool.backends:
            sound.pool.observe(answer(backend, now, 200, head=0.0), now)
        assert sound.states == "ccc"
        await looked(boards.machine)
        assert sound.states == "ccc"  # a hint is heard once
        assert broken.states == "ooc"


async def test_who_starts_hears_of_what_goes_on() -> None:
    """Until it is over."""
    boards = machine()
    first = Worker(boards, ejection="300ms", max_ejection="300ms")
    async with at_work(first):
        first.fail()
        await eventually(lambda: _notes(boards.machine))
        second = Worker(boards)
        async with at_work(second):
            await eventually(lambda: second.states == "hcc")
        late = Worker(boards)
        while await boards.machine.read(EJECTIONS):
            await asyncio.sleep(0.01)
        async with at_work(late):
            await looked(boards.machine)
            assert late.states == "ccc"


async def test_each_ejection_is_told_once() -> None:
    """And the next one of the same backend, too."""
    boards = machine()
    worker = Worker(boards, ejection="10s")
    async with at_work(worker):
        backend = worker.fail()
        await eventually(lambda: _notes(boards.machine))
        await looked(boards.machine)
        assert await boards.machine.revision(EJECTIONS) == 1
        backend.breaker.close(monotonic())
        worker.pool.refresh()
        await looked(boards.machine)
        worker.fail()
        while await boards.machine.revision(EJECTIONS) < 2:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("scope", "here", "there"), [("process", "c", "c"), ("machine", "h", "c"), ("cluster", "h", "h")]
)
async def test_the_scope_says_who_hears(scope: str, here: str, there: str) -> None:
    """Nobody, as long as nothing is said."""
    own, other, cluster = Shared(), Shared(), Shared()
    first, second = (Worker(Boards(own, cluster), scope) for _ in range(2))
    third = Worker(Boards(other, cluster), scope)
    async with at_work(first, second, third):
        first.fail()
        if scope != "process":
            await eventually(lambda: second.states[0] == here and third.states[0] == there)
            await looked(own if scope == "machine" else cluster)
        assert (second.states[0], third.states[0]) == (here, there)
    told = [board for board in (own, other, cluster) if await board.revision(EJECTIONS)]
    assert told == {"process": [], "machine": [own], "cluster": [cluster]}[scope]


async def test_without_the_board_nobody_hears() -> None:
    """And all the same what is ejected is told when it is back."""
    board = Shared()
    first, second = (Worker(Boards(board, board)) for _ in range(2))
    async with at_work(first, second):
        board.away = True
        first.fail()
        await looked(board)
        assert second.states == "ccc"
        board.away = False
        await eventually(lambda: second.states == "hcc")


async def test_a_lone_process_tells_nobody() -> None:
    """There is nobody."""
    board = MemoryBoard()
    worker = Worker(Boards(board, board))
    worker.fail()
    await worker.hints.run()
    assert await board.revision(EJECTIONS) == 0


@pytest.mark.parametrize("value", [b"", b"x", b"5", b"[1]", b'["x", "a reason that is none"]', b'{"a": 1}', b"\xff"])
async def test_a_note_that_cannot_be_read_is_no_hint(value: bytes) -> None:
    """It is of another version."""
    boards = machine()
    worker = Worker(boards)
    await boards.machine.write(EJECTIONS, key_of(worker.pool.backends[0]), value)
    async with at_work(worker):
        await looked(boards.machine)
        assert worker.states == "ccc"


async def test_another_of_the_same_name_is_not_meant() -> None:
    """It is elsewhere."""
    boards = machine()
    worker = Worker(boards)
    hint = b'["somebody", "consecutive_failures"]'
    here, there = (
        worker.pool.backends[1],
        Backend("p", BackendSettings(url="http://10.9.9.9", id="b0"), HealthSettings()),
    )
    for backend in (here, there):
        await boards.machine.write(EJECTIONS, key_of(backend), hint)
    async with at_work(worker):
        await eventually(lambda: worker.states == "chc")


def _notes(board: Board) -> object:
    assert isinstance(board, MemoryBoard)
    return board._tables.get(EJECTIONS.name)
