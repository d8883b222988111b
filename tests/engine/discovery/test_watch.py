"""The job that follows the sources; time is not waited for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, EntryPoints
from itertools import pairwise
from random import Random
from typing import Any, ClassVar

import pytest

from app.domain.registry import Registry
from app.engine.discovery import SOURCES
from app.engine.discovery.members import MOST
from app.engine.discovery.source import Members, Source, SourceFailed, reason
from app.engine.discovery.watch import Watcher
from app.engine.topology import PATIENCE, Topology
from settings.models import Frozen
from settings.pools import BackendSettings
from settings.root import Settings
from tests.support.virtual import virtual

Step = Members | Exception | float | None


class Scripted(Source):
    """Does as its script says: an answer, an error, a wait, at None its end. The script goes on when begun again."""

    class Options(Frozen):
        """Which script."""

        name: str

    scripts: ClassVar[dict[str, list[Any]]] = {}
    begun: ClassVar[list[tuple[str, float]]] = []
    closed: ClassVar[list[str]] = []

    def __init__(self, options: Scripted.Options, *, pool: str, **services: object) -> None:
        self._name = options.name
        self._pool = pool

    async def __aiter__(self) -> AsyncIterator[Members]:
        self.begun.append((self._pool, asyncio.get_running_loop().time()))
        script = self.scripts[self._name]
        try:
            while script:
                step = script.pop(0)
                if step is None:
                    return
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
            await asyncio.get_running_loop().create_future()
        finally:
            self.closed.append(self._name)


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    monkeypatch.setattr("app.engine.discovery.watch.SOURCES", Registry("l7lb.sources", {"scripted": Scripted}))
    Scripted.scripts = {}
    Scripted.begun.clear()
    Scripted.closed.clear()
    return Scripted.scripts


def said(**pools: str) -> Settings:
    """Pools with the script of each; "" for one without a source."""
    return Settings.model_validate(
        {
            "pools": {
                pool: {"health": {"kind": "none"}, **({"source": {"kind": "scripted", "name": name}} if name else {})}
                for pool, name in pools.items()
            }
        }
    )


def backends(*urls: str) -> Members:
    return frozenset(BackendSettings(url=url) for url in urls)


@asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[tuple[Topology, Watcher]]:
    loop = asyncio.get_running_loop()
    topology = Topology(clock=loop.time, rng=Random(7))
    topology.apply(settings)
    watcher = Watcher(topology, rng=Random(7))
    task = asyncio.create_task(watcher.run())
    try:
        yield topology, watcher
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def present(topology: Topology, pool: str = "a") -> list[str]:
    return [backend.id for backend in topology.pools[pool].backends]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "l7lb.sources"]


@virtual
async def test_each_answer_reaches_the_pool(scripts: dict[str, list[Any]]) -> None:
    """Each pool's own; one without a source is left alone."""
    scripts |= {"x": [backends("http://x"), 5.0, backends("http://x", "http://y")], "z": [backends("http://z")]}
    async with watching(said(a="x", b="z", c="")) as (topology, _):
        await asyncio.sleep(1)
        assert (present(topology), present(topology, "b"), present(topology, "c")) == (["x:80"], ["z:80"], [])
        await asyncio.sleep(5)
        assert present(topology) == ["x:80", "y:80"]


def test_a_failure_is_said_once_and_its_end_once(
    scripts: dict[str, list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """What was said last stays; it is tried again after 1, 2, 4 ... s, and after an answer after 1 s once more."""

    @virtual
    async def run() -> None:
        failures: list[Any] = [SourceFailed(f"status {n}") for n in range(8)]
        scripts["x"] = [backends("http://x"), 1.0, *failures, backends("http://x"), None, backends("http://y")]
        async with watching(said(a="x")) as (topology, watcher):
            await asyncio.sleep(10)
            assert present(topology) == ["x:80"]
            assert watcher.failing["a"].startswith("status ")
            await asyncio.sleep(200)
            assert present(topology) == ["y:80"]
            assert watcher.failing == {}

    with caplog.at_level(logging.INFO):
        run()

    assert lines(caplog) == [
        ("WARNING", "pool a: source scripted fails: status 0; what it said last stays"),
        ("WARNING", "pool a: source scripted is back"),
        ("WARNING", "pool a: source scripted fails: it came to its end; what it said last stays"),
        ("WARNING", "pool a: source scripted is back"),
    ]
    times = [time for _, time in Scripted.begun]
    waits = [after - before for before, after in pairwise(times)]
    waits[0] -= 1.0  # what it ran
    for wait, most in zip(waits, [1, 2, 4, 8, 16, 30, 30, 30, 1], strict=True):
        assert most / 2 <= wait <= most
    assert len(Scripted.closed) == len(Scripted.begun)


def test_a_source_that_wants_to_be_tried_soon(scripts: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scripted, "longest", 0.5, raising=False)

    @virtual
    async def run() -> None:
        scripts["x"] = [OSError(2, "No such file")] * 20
        async with watching(said(a="x")):
            await asyncio.sleep(20)

    run()

    assert len(Scripted.begun) == 21


@virtual
async def test_what_is_no_answer_is_a_failure(scripts: dict[str, list[Any]]) -> None:
    """Of a source of somebody else: not backends, or too many."""
    many = backends(*(f"http://h{n}" for n in range(MOST + 1)))
    scripts |= {"x": [frozenset({"http://x"})], "y": [many], "z": [7]}
    async with watching(said(a="x", b="y", c="z")) as (topology, watcher):
        await asyncio.sleep(0.1)
        assert watcher.failing == {
            "a": "not a set of BackendSettings",
            "b": f"{MOST + 1} backends; {MOST} is the limit",
            "c": "TypeError: 'int' object is not iterable",
        }
        assert present(topology) == present(topology, "b") == []


@virtual
async def test_settings_that_change_begin_it_anew(scripts: dict[str, list[Any]]) -> None:
    """Only where they are other ones; a pool that is gone is not followed any more."""
    scripts |= {"x": [backends("http://x")], "y": [backends("http://y")], "z": [SourceFailed("no")] * 9}
    async with watching(said(a="x", b="y", c="z")) as (topology, watcher):
        await asyncio.sleep(0.1)
        scripts["n"] = [backends("http://n")]
        topology.apply(said(a="n", b="y", d="n"))
        await asyncio.sleep(0.1)

        assert Scripted.closed == ["z", "x"]
        assert [pool for pool, _ in Scripted.begun] == ["a", "b", "c", "a", "d"]
        assert watcher.failing == {}
        assert present(topology) == ["n:80"]
        await asyncio.sleep(60)
        assert [pool for pool, _ in Scripted.begun] == ["a", "b", "c", "a", "d"]
    assert sorted(Scripted.closed) == ["n", "n", "x", "y", "z"]


@virtual
async def test_those_who_left_are_looked_after(scripts: dict[str, list[Any]]) -> None:
    scripts["x"] = [backends("http://x", "http://y"), 1.0, backends("http://y")]
    async with watching(said(a="x")) as (topology, _):
        await asyncio.sleep(0.1)
        topology.pools["a"].backends[0].in_flight = 1
        await asyncio.sleep(2)
        assert [one.id for one in topology.pools["a"].leaving] == ["x:80"]
        await asyncio.sleep(PATIENCE + 2)
        assert topology.pools["a"].leaving == ()


def test_a_source_of_somebody_elses_in_ten_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a package that names it as an entry point; it knows nothing of ours but what a backend is."""

    class Mine:
        def __init__(self, options: object, **services: object) -> None:
            self.pool = services["pool"]

        async def __aiter__(self) -> AsyncIterator[Members]:
            while True:
                yield frozenset({BackendSettings(url=f"http://{self.pool}.test:8000")})
                await asyncio.sleep(5)

    monkeypatch.setattr("app.engine.discovery.watch.SOURCES", SOURCES)
    monkeypatch.setattr(EntryPoint, "load", lambda self: Mine)
    points = EntryPoints([EntryPoint("mine", "somewhere:Mine", SOURCES.entry_point_group)])
    monkeypatch.setattr("app.domain.registry.entry_points", lambda group: points.select(group=group))

    @virtual
    async def run() -> None:
        settings = Settings.model_validate({"pools": {"web": {"source": "mine"}}})
        async with watching(settings) as (topology, watcher):
            await asyncio.sleep(0.1)
            assert watcher.failing == {}
            assert present(topology, "web") == ["web.test:8000"]

    run()


@virtual
async def test_an_iterator_that_cannot_be_closed(
    scripts: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not be a generator."""

    class Plain:
        def __init__(self, options: object, **services: object) -> None:
            self.said = [backends("http://x")]

        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Members:
            if not self.said:
                raise StopAsyncIteration
            return self.said.pop()

    monkeypatch.setattr("app.engine.discovery.watch.SOURCES", Registry("x", {"scripted": Plain}))
    async with watching(said(a="")) as (topology, watcher):
        topology.apply(Settings.model_validate({"pools": {"a": {"source": "scripted", "health": {"kind": "none"}}}}))
        await asyncio.sleep(0.1)
        assert present(topology) == ["x:80"]
        assert watcher.failing == {"a": "it came to its end"}


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (SourceFailed("status 500"), "status 500"),
        (ConnectionResetError(104, "Connection reset by peer"), "the connection broke"),
        (asyncio.IncompleteReadError(b"", 2), "the connection broke"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (OSError(), "oserror"),
        (TimeoutError(), "no answer in time"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_each_reason_in_a_few_words(error: Exception, why: str) -> None:
    assert reason(error) == why
