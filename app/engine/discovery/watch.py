"""Follows the source of every pool that has one, and has the topology know what it says."""

from __future__ import annotations

import asyncio
import logging
from random import Random

from app.engine.discovery import SOURCES
from app.engine.discovery.members import bounded
from app.engine.discovery.source import Members, Source, SourceFailed, reason
from app.engine.topology import Topology
from settings.models import Choice
from settings.pools import BackendSettings

log = logging.getLogger("l7lb.sources")

TICK = 1.0
"""Seconds between two looks at those who are leaving."""


class Watcher:
    """The job that follows the sources; `run` is its coroutine.

    There is one task for each pool that has a source, beginning anew when its settings change. A source that fails, or
    comes to its end, is begun again after *backoff* seconds, doubled with each failure in a row up to *longest*, or its
    own; until it has an answer, what it said last stays. The log says once that it fails, and once that it is back.

    Attributes:
        failing: pool -> why its source fails at the moment.
    """

    def __init__(
        self, topology: Topology, *, rng: Random | None = None, backoff: float = 1.0, longest: float = 30.0
    ) -> None:
        self.failing: dict[str, str] = {}
        self._topology = topology
        self._rng = rng or Random()
        self._backoff = backoff
        self._longest = longest
        self._watches: dict[str, tuple[Choice, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:

                def follow(_: object = None) -> None:
                    self._follow(group)

                follow()
                unlisten = self._topology.listen(follow)
                try:
                    while True:
                        await asyncio.sleep(TICK)
                        self._topology.tidy()
                finally:
                    unlisten()
        finally:
            self._watches.clear()
            self.failing.clear()

    def _follow(self, group: asyncio.TaskGroup) -> None:
        """One watch for each pool with a source, on the settings that hold now."""
        wanted = {
            name: pool.settings.source
            for name, pool in self._topology.pools.items()
            if pool.settings.source is not None
        }
        for pool, (choice, watch) in tuple(self._watches.items()):
            if wanted.get(pool) != choice:
                watch.cancel()
                del self._watches[pool]
                self.failing.pop(pool, None)
        for pool, choice in wanted.items():
            if pool not in self._watches:
                watch = group.create_task(self._watch(pool, choice), name=f"source {pool}/{choice.kind}")
                self._watches[pool] = choice, watch

    async def _watch(self, pool: str, choice: Choice) -> None:
        source: Source | None = None
        wait = self._backoff
        while True:
            try:
                if source is None:
                    source = SOURCES.build(choice, pool=pool)
                members = aiter(source)
                try:
                    async for found in members:
                        self._take(pool, choice.kind, found)
                        wait = self._backoff
                finally:
                    if (close := getattr(members, "aclose", None)) is not None:
                        await close()
                why = "it came to its end"
            except Exception as error:  # whatever a source comes up with: the pool goes on with what it has
                why = reason(error)
            if pool not in self.failing:
                log.warning("pool %s: source %s fails: %s; what it said last stays", pool, choice.kind, why)
            self.failing[pool] = why
            longest = min(self._longest, getattr(source, "longest", self._longest))
            await asyncio.sleep(min(wait, longest) * self._rng.uniform(0.5, 1.0))  # so that workers do not go in step
            wait = min(wait * 2, self._longest)

    def _take(self, pool: str, kind: str, found: Members) -> None:
        if not all(isinstance(backend, BackendSettings) for backend in found):
            raise SourceFailed("not a set of BackendSettings")
        bounded(len(found))
        self._topology.update(pool, kind, found)
        if self.failing.pop(pool, None) is not None:
            log.warning("pool %s: source %s is back", pool, kind)  # seen wherever its failure was
