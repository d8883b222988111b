"""Ejections as a hint: who ejects a backend tells the others, and they look twice before they believe it.

A backend that another process has ejected is half-open here (`app.domain.ejection`): a few requests find out whether
the same holds from where we are, and one that fails ejects it here as well. So a backend that fails costs each further
process a request and not five, and one whose own network is broken takes nobody's backends away. Only what a process
has found out by itself is told, so that no hint goes round.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b

from app.domain.backend import Backend
from app.domain.breaker import OPEN, REASONS
from app.domain.pool import Pool
from app.engine.crew import Crew
from app.engine.state.board import Board, BoardAway, Boards, Note, Table
from app.engine.topology import Topology

EJECTIONS = Table("ejections")
"""Backend -> who ejected it, and why; goes by itself when the ejection is over."""
LOOK = 0.1
"""Seconds between two looks: how late a hint is at most, twice."""


class Hints:
    """The ejections of this process, and those of others; `run` is the job that tells and hears of them.

    Only pools whose `breaker.scope` says so take part.
    """

    def __init__(
        self, topology: Topology, boards: Boards, crew: Crew, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._topology = topology
        self._boards = {"machine": boards.machine, "cluster": boards.cluster}
        self._crew = crew
        self._clock = clock
        self._told: dict[Backend, float] = {}

    async def run(self) -> None:
        """The job: tell and hear until it is cancelled. A process that is alone has nobody to tell."""
        async with asyncio.TaskGroup() as group:
            for board in dict.fromkeys(self._boards.values()):
                if not board.lone:
                    group.create_task(self._serve(board))

    async def _serve(self, board: Board) -> None:
        seen: dict[str, int] = {}
        last = -1
        while True:
            pools = [
                pool
                for pool in self._topology.pools.values()
                if self._boards.get(pool.settings.breaker.scope) is board and pool.settings.breaker.enabled
            ]
            try:
                if pools:
                    await self._tell(board, pools)
                    revision = await board.revision(EJECTIONS)
                    if revision != last:
                        notes, last = await board.read(EJECTIONS), revision
                        self._hear(pools, {key: note for key, note in notes.items() if seen.get(key) != note.revision})
                        seen = {key: note.revision for key, note in notes.items()}
            except BoardAway:
                pass
            await asyncio.sleep(LOOK)

    async def _tell(self, board: Board, pools: list[Pool]) -> None:
        """Write what was ejected here since the last look. Raises BoardAway."""
        now = self._clock()
        for _, backend in _all(pools):
            breaker = backend.breaker
            seconds = breaker.until - now
            if breaker.state is OPEN and self._told.get(backend) != breaker.since and seconds > 0:
                value = json.dumps([self._crew.id, breaker.reason]).encode()
                await board.write(EJECTIONS, key_of(backend), value, seconds=seconds)
                self._told[backend] = breaker.since
        for backend in [backend for backend in self._told if backend.breaker.state is not OPEN]:
            del self._told[backend]

    def _hear(self, pools: list[Pool], notes: Mapping[str, Note]) -> None:
        now = self._clock()
        for pool, backend in _all(pools) if notes else ():
            note = notes.get(key_of(backend))
            if note is not None and (reason := self._reason(note.value)):
                pool.suspect(backend, reason, now)

    def _reason(self, value: bytes) -> str:
        """Why another has ejected it; "" where it was this process, and where that cannot be read."""
        try:
            who, reason = json.loads(value)
        except (ValueError, TypeError):
            return ""
        return reason if who != self._crew.id and reason in REASONS else ""


def _all(pools: list[Pool]) -> Iterator[tuple[Pool, Backend]]:
    return ((pool, backend) for pool in pools for backend in pool.backends)


def key_of(backend: Backend) -> str:
    """Whom a hint is of: one of the same id may be elsewhere."""
    place = f"{backend.scheme}://{backend.host}:{backend.port}"
    return f"{backend.pool} {backend.id} {blake2b(place.encode(), digest_size=8).hexdigest()}"
