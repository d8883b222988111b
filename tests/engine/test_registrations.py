"""What is said of backends at run time, over a board that several processes share."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network
from typing import Any

import pytest

from app.domain.backend import Backend
from app.domain.registration import Registration
from app.engine import registrations
from app.engine.crew import Crew
from app.engine.registrations import BACKENDS, Registrations, TooMany
from app.engine.state.board import BoardAway, Boards, Conflict
from app.engine.state.memory_board import MemoryBoard
from app.engine.topology import Topology
from settings.pools import BackendSettings
from settings.root import Settings

TEN = (ip_network("10.0.0.0/8"),)
NEW = BackendSettings(url="http://10.0.0.1:80", id="new")


def said(**pool: Any) -> Settings:
    settings = {"backends": "http://x,http://y|weight=2", "health": {"kind": "none"}, **pool}
    return Settings.model_validate({"pools": {"a": settings}})


class Process:
    """One that is on the board."""

    def __init__(self, board: MemoryBoard, settings: Settings | None = None) -> None:
        self.topology = Topology()
        self.topology.apply(settings or said())
        crew = Crew(Boards(board, board))
        self.registrations = Registrations(self.topology, board, crew, TEN, look=0.01)

    async def __aenter__(self) -> Process:
        await self.registrations.settle()
        self.job = asyncio.create_task(self.registrations.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.job.cancel()
        await asyncio.gather(self.job, return_exceptions=True)

    @property
    def backends(self) -> dict[str, Backend]:
        return {backend.id: backend for backend in self.topology.pools["a"].backends}

    async def write(self, backend: str, registration: Registration) -> int:
        _, revision = await self.registrations.look("a", backend)
        return await self.registrations.write("a", backend, registration, revision)

    async def sees(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while set(self.backends) != set(names):
                await asyncio.sleep(0.005)


@pytest.fixture
def board() -> MemoryBoard:
    return MemoryBoard()


async def test_what_is_registered_is_there_at_once_and_everywhere(board: MemoryBoard) -> None:
    """Within the networks that are allowed; whoever starts later has it before its first request."""
    async with Process(board) as one, Process(board) as two:
        await one.write("new", Registration(spec=NEW))

        assert set(one.backends) == {"x:80", "y:80", "new"}
        assert one.backends["new"].spec.networks == TEN
        await two.sees("x:80", "y:80", "new")
        late = Process(board)
        await late.registrations.settle()
        assert "new" in late.backends
        await two.write("new", Registration())
        assert set(two.backends) == {"x:80", "y:80"}
        await one.sees("x:80", "y:80")


async def test_what_is_said_of_any_backend_holds_everywhere(board: MemoryBoard) -> None:
    """Weight, drain and its end; also after a reload that has nothing to do with it."""
    async with Process(board) as one, Process(board) as two:
        x = two.backends["x:80"]
        await one.write("x:80", Registration(draining=True, let_go=time.time() + 60).weighed(7, x.spec))
        async with asyncio.timeout(10):
            while not (x.draining and x.weight == 7):
                await asyncio.sleep(0.005)
        assert 59 < x.let_go - time.monotonic() <= 60

        two.topology.apply(said(panic=0.1))
        assert (two.backends["x:80"].weight, two.backends["x:80"].draining) == (7, True)
        two.topology.apply(said(backends="http://x|weight=5,http://y"))
        assert (two.backends["x:80"].weight, two.backends["x:80"].draining) == (5, True)

        await one.write("x:80", Registration())
        async with asyncio.timeout(10):
            while x.draining:
                await asyncio.sleep(0.005)
        assert one.backends["x:80"].weight == 1


async def test_what_was_taken_out_stays_out_until_it_is_wanted_back(board: MemoryBoard) -> None:
    """By whoever registers it, or a source that says something else of it."""
    async with Process(board) as one, Process(board) as two:
        source = one.backends["y:80"].spec
        await one.write("y:80", Registration(removed=True, instead_of=source))
        assert set(one.backends) == {"x:80"}
        await two.sees("x:80")
        two.topology.apply(said(panic=0.1))
        assert set(two.backends) == {"x:80"}

        await two.write("y:80", Registration())
        await one.sees("x:80", "y:80")
        assert set(two.backends) == {"x:80", "y:80"}

        await one.write("y:80", Registration(removed=True, instead_of=source))
        one.topology.apply(said(backends="http://x,http://y|weight=9"))
        assert one.backends["y:80"].weight == 9


async def test_who_does_not_register_again_is_gone(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the note of it, soon after; one that does stays."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    async with Process(board) as one, Process(board) as two:
        for name in ("new", "other"):
            spec = NEW.model_copy(update={"id": name})
            await one.registrations.beat("a", name, 0.3)
            await one.write(name, Registration(spec=spec, ttl=0.3))
        await two.sees("x:80", "y:80", "new", "other")

        async with asyncio.timeout(10):
            while "new" in two.backends or "new" in one.backends:
                await one.registrations.beat("a", "other", 0.3)
                await asyncio.sleep(0.01)
        assert "other" in one.backends
        async with asyncio.timeout(10):
            while "a/new" in await board.read(BACKENDS):
                await one.registrations.beat("a", "other", 0.3)
                await asyncio.sleep(0.01)


async def test_after_a_start_who_has_a_ttl_is_believed_for_once(
    board: MemoryBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All may have been away: nobody could have registered again."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    await board.write(BACKENDS, "a/new", Registration(spec=NEW, ttl=0.2).encoded())

    async with Process(board) as process:
        assert "new" in process.backends
        await process.sees("x:80", "y:80")


async def test_two_that_write_at_the_same_time(board: MemoryBoard) -> None:
    """One of them is told."""
    async with Process(board) as one, Process(board) as two:
        _, revision = await one.registrations.look("a", "new")
        await two.write("new", Registration(spec=NEW))

        with pytest.raises(Conflict):
            await one.registrations.write("a", "new", Registration(draining=True), revision)


async def test_there_is_a_limit(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there may be changed all the same."""
    monkeypatch.setattr(registrations, "MOST", 1)
    async with Process(board) as process:
        await process.write("new", Registration(spec=NEW))
        with pytest.raises(TooMany):
            await process.write("x:80", Registration(draining=True))
        await process.write("new", Registration(spec=NEW, draining=True))
        assert process.backends["new"].draining


async def test_a_note_that_cannot_be_read_harms_nobody(board: MemoryBoard, caplog: pytest.LogCaptureFixture) -> None:
    """It may be of another version, or anybody's."""
    await board.write(BACKENDS, "a/odd", b"{")
    await board.write(BACKENDS, "a/odder", b'{"spec": {"url": "file:///"}}')
    await board.write(BACKENDS, "nowhere", b"[]")
    await board.write(BACKENDS, "gone/new", Registration(spec=NEW).encoded())
    await board.write(BACKENDS, "a/new", Registration(spec=NEW).encoded())

    async with Process(board) as process:
        assert set(process.backends) == {"x:80", "y:80", "new"}
    assert "a/odder cannot be read" in caplog.text


async def test_a_board_that_is_away_changes_nothing(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last stays; who writes is told."""

    async def away(*_: object, **__: object) -> Any:
        raise BoardAway("gone")

    async with Process(board) as process:
        await process.write("new", Registration(spec=NEW))
        for method in ("read", "write", "revision"):
            monkeypatch.setattr(board, method, away)

        with pytest.raises(BoardAway):
            await process.registrations.write("a", "x:80", Registration(draining=True), 0)

        await asyncio.sleep(0.05)
        assert set(process.backends) == {"x:80", "y:80", "new"}
        assert not process.backends["x:80"].draining
        late = Process(board)
        await late.registrations.settle()
        assert set(late.backends) == {"x:80", "y:80"}
