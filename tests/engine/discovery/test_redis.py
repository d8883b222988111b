"""Backends that write themselves into a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.engine.discovery import SOURCES
from app.engine.discovery.source import SourceFailed
from settings.models import Choice
from tests.support.api import eventually, first, urls
from tests.support.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


def watched(server: RedisServer, **options: Any) -> Any:
    return SOURCES.build(Choice(kind="redis", url=server.url, interval="20ms", **options), pool="web")


def register(server: RedisServer, name: str, said: str, seconds: int = 100, key: str = "l7lb:backends:web") -> None:
    server.ask("SADD", key, name)
    server.ask("SET", f"{key}:{name}", said, "EX", str(seconds))


async def test_what_is_registered_is_a_backend(server: RedisServer) -> None:
    """A line, or JSON; its id is that of the set unless it says another."""
    register(server, "a", "http://10.0.0.1:8000|weight=2")
    register(server, "b", '{"url": "http://10.0.0.2:8000", "max_in_flight": 7}')
    register(server, "c", "http://10.0.0.3|id=other")

    (found,) = await first(watched(server))

    by_id = {backend.id: backend for backend in found}
    assert set(by_id) == {"a", "b", "other"}
    assert (by_id["a"].weight, by_id["b"].max_in_flight) == (2, 7)


async def test_nobody_is_an_answer(server: RedisServer) -> None:
    assert await first(watched(server)) == [frozenset()]


async def test_who_comes_and_goes(server: RedisServer) -> None:
    """By itself when its time is over; then its id is taken out of the set, too."""
    found: list[Any] = []

    async def follow() -> None:
        async for members in watched(server):
            found.append(urls(members))  # noqa: PERF401  # it is looked at meanwhile

    task = asyncio.create_task(follow())
    await eventually(lambda: found[-1:] == [[]])
    register(server, "a", "http://a:1")
    register(server, "b", "http://b:1")
    await eventually(lambda: found[-1:] == [["http://a:1", "http://b:1"]])
    server.ask("PEXPIRE", "l7lb:backends:web:a", "1")
    await eventually(lambda: found[-1:] == [["http://b:1"]])
    await eventually(
        lambda: server.ask("SMEMBERS", "l7lb:backends:web") == {"b"} or server.ask("SCARD", "l7lb:backends:web") == 1
    )
    server.ask("DEL", "l7lb:backends:web:b")
    await eventually(lambda: found[-1:] == [[]])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_that_is_wrong_does_not_keep_the_others_out(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    for name, said in {"a": "http://a:1", "b": "nonsense", "c": "{", "d": "http://d:1|weight=x", "e": "\x00"}.items():
        register(server, name, said)

    (found,) = await first(watched(server))

    assert urls(found) == ["http://a:1"]
    assert all(f"{name} is left out" in caplog.text for name in "bcde")


async def test_networks_and_keys_are_the_operators(server: RedisServer) -> None:
    """Whatever is written there."""
    register(server, "a", '{"url": "http://a:1", "networks": ["0.0.0.0/0"]}', key="mine:web:x")

    (found,) = await first(watched(server, key="mine:{pool}:x", networks="10.0.0.0/8"))

    (backend,) = found
    assert [*map(str, backend.networks)] == ["10.0.0.0/8"]


async def test_a_server_that_goes_away(server: RedisServer) -> None:
    """Is a failure; what it said last is for others to keep."""
    register(server, "a", "http://a:1")
    source = aiter(watched(server))
    assert urls(await anext(source)) == ["http://a:1"]
    server.kill()

    async def on() -> None:
        while True:
            await anext(source)

    with pytest.raises(SourceFailed):
        await asyncio.wait_for(on(), 10)
    with pytest.raises(SourceFailed):
        await first(watched(server))


async def test_a_key_of_another_type(server: RedisServer) -> None:
    server.ask("SET", "l7lb:backends:web", "x")

    with pytest.raises(SourceFailed, match="WRONGTYPE"):
        await first(watched(server))


@pytest.mark.parametrize("url", ["http://h", "redis://", "memory"])
def test_what_is_no_redis(url: str) -> None:
    with pytest.raises(ValidationError):
        SOURCES.options(Choice(kind="redis", url=url))
