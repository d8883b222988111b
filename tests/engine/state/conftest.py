"""Every kind of state at work, so that one test can be put to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from app.engine.state import open_state
from app.engine.state.board import Board
from app.engine.state.redis_board import RedisBoard
from settings.root import Settings
from settings.state import StateSettings
from tests.support.redis_server import RedisServer
from tests.support.shared_state import Shared

KINDS = ("memory", "lmdb", "redis", "redis leased")


Opened = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all who do it no harm; each has its own prefix."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may hold, kill and start again."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def connect() -> AsyncIterator[Opened]:
    """Makes a state in Redis that runs as long as the test."""
    jobs: list[asyncio.Task[None]] = []

    async def connected(url: str, **options: Any) -> Any:
        state: Any = open_state(Settings(state=StateSettings(place=url, **options)), Random(1))
        jobs.append(asyncio.create_task(state.run()))
        await state.settle(5.0)
        return state

    yield connected
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


@pytest.fixture(params=KINDS)
async def shared(request: pytest.FixtureRequest, tmp_path: Path, connect: Opened) -> AsyncIterator[Shared]:
    """A state of every kind."""
    kind = request.param
    if kind.startswith("redis"):
        server: RedisServer = request.getfixturevalue("redis_server")
        lease = 10 if kind == "redis leased" else 1
        state = await connect(server.url, prefix=uuid4().hex, lease=lease, timeout=2.0)
        assert not state.away
        yield Shared(state, real=True)
        return
    place = f"lmdb:{tmp_path}" if kind == "lmdb" else kind
    state = open_state(Settings(state=StateSettings(place=place)), Random(1))
    yield Shared(state, real=False)
    if kind == "lmdb":
        state.close()


@pytest.fixture
async def open_board() -> AsyncIterator[Callable[..., Awaitable[Board]]]:
    """Opens a board in Redis that runs as long as the test."""
    jobs: list[asyncio.Task[None]] = []

    async def opened(url: str, **options: Any) -> Board:
        board = RedisBoard(StateSettings(place=url, **options), Random(1))
        jobs.append(asyncio.create_task(board.run()))
        await board.settle(5.0)
        return board

    yield opened
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
