"""Registrations on the boards that several processes really share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from app.domain.registration import Registration
from app.engine.beats import BEATS
from app.engine.crew import Crew
from app.engine.registrations import Registrations
from app.engine.state.board import Board, Boards, Conflict
from app.engine.state.directory import Held
from app.engine.state.lmdb_board import LmdbBoard
from app.engine.topology import Topology
from settings.pools import BackendSettings
from settings.root import Settings

Opened = Callable[[], Awaitable[Board]]
IDS = "abcde"


@pytest.fixture(params=["lmdb", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, open_board: Any) -> Iterator[Opened]:
    """Opens a board for one more process, always of the same place; LMDB lets one process open that once."""
    if request.param == "redis":
        url, prefix = request.getfixturevalue("redis_server").url, uuid4().hex
        yield lambda: open_board(url, prefix=prefix)
        return

    board = LmdbBoard(Held(tmp_path), lasting=True)

    async def on_disk() -> Board:
        return board

    yield on_disk
    board.close()


class Process:
    """One of several."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.topology = Topology()
        self.topology.apply(Settings.model_validate({"pools": {"a": {"health": {"kind": "none"}}}}))
        crew = Crew(Boards(board, board))
        self.registrations = Registrations(self.topology, board, crew, (ip_network("10.0.0.0/8"),), look=0.01)

    @property
    def shown(self) -> dict[str, tuple[int, bool]]:
        return {one.id: (one.weight, one.draining) for one in self.topology.pools["a"].backends}

    async def do(self, what: str, name: str, weight: int = 1) -> None:
        """As the control plane does it: until nobody else writes in between."""
        while True:
            present, revision = await self.registrations.look("a", name)
            with suppress(Conflict):
                if what == "register":
                    spec = BackendSettings(url="http://10.0.0.1:80", id=name, weight=weight)
                    await self.registrations.register("a", Registration(spec=spec, ttl=30.0), revision)
                elif present.spec is not None and what == "withdraw":
                    await self.registrations.withdraw("a", name, revision)
                elif present.spec is not None:
                    said = Registration(spec=present.spec, ttl=present.ttl, draining=True)
                    await self.registrations.write("a", name, said, revision)
                return


@asynccontextmanager
async def running(opened: Opened, count: int) -> AsyncIterator[list[Process]]:
    found = [Process(await opened()) for _ in range(count)]
    async with AsyncExitStack() as stack:
        for process in found:
            await process.registrations.settle()
            job = asyncio.create_task(process.registrations.run())
            stack.push_async_callback(asyncio.gather, job, return_exceptions=True)
            stack.callback(job.cancel)
        yield found


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not wanted():
            await asyncio.sleep(0.01)


async def test_one_that_comes_renews_and_goes(opened: Opened) -> None:
    """Everybody sees it, and who starts later, too; a renewal writes no note; nothing of its beat is left."""
    async with running(opened, 2) as (one, two):
        await one.do("register", "a", 3)
        await until(lambda: two.shown == {"a": (3, False)})
        _, revision = await two.registrations.look("a", "a")
        await two.do("register", "a", 3)
        assert (await one.registrations.look("a", "a"))[1] == revision
        async with running(opened, 1) as (late,):
            assert late.shown == {"a": (3, False)}

        await two.do("withdraw", "a")

        assert two.shown == {}
        await until(lambda: one.shown == {})
        assert await one.board.read(BEATS) == {}


async def test_whatever_they_do_at_the_same_time_they_agree(opened: Opened) -> None:
    """On what the board says; and whoever has registered last of all is there."""
    async with running(opened, 3) as processes:

        async def busy(process: Process, rng: Random) -> None:
            for _ in range(40):
                await process.do(rng.choice(["register", "drain", "withdraw"]), rng.choice(IDS), rng.randint(1, 5))

        await asyncio.gather(*(busy(process, Random(seed)) for seed, process in enumerate(processes)))
        await asyncio.gather(*(process.do("register", name) for name in IDS for process in processes))

        await until(lambda: all(process.shown == dict.fromkeys(IDS, (1, False)) for process in processes))
        assert set(await processes[0].board.read(BEATS)) == {f"a/{name}" for name in IDS}
