"""Backends that are registered while we run, and what else is said of backends then: kept on a board, for everybody.

    who registers --write--> note, lasting --follow--> every worker and machine --Topology.update--> source `admin`
                     |                                                            drained, weighed, taken out
                     +--ttl--> beat, which goes by itself: whose beat is over is gone, and its note soon after

A write is in force here when it returns, elsewhere within LOOK on a machine, and CLUSTER_LOOK over many.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from math import inf
from typing import Any

from pydantic import ValidationError

from app.domain.backend import Backend
from app.domain.membership import Change
from app.domain.pool import Pool
from app.domain.registration import Registration
from app.engine.crew import Crew
from app.engine.state.board import Board, BoardAway, Conflict, Note, Table, follow
from app.engine.topology import Topology
from settings.pools import BackendSettings

BACKENDS = Table("backends", lasting=True)
"""`pool/backend` -> what is said of it."""
BEATS = Table("beats")
"""`pool/backend` -> nothing; as long as the note is there."""
SOURCE = "admin"
LOOK, CLUSTER_LOOK = 0.1, 0.25
"""Seconds between two looks at the board."""
MOST = 4096
"""Notes that are kept."""
TIDY = 5.0
"""Seconds between two looks for notes of those that are gone, by who has the lease for that."""

log = logging.getLogger("l7lb.registrations")

Key = tuple[str, str]
"""Names of a pool and a backend."""


class TooMany(Exception):
    """There are as many as there may be."""


class Registrations:
    """What is said of backends, and those that are registered.

    Args:
        board: of the cluster.

        networks: in which a registered backend may be.

        look: seconds between two looks at the board.

    Attributes:
        networks: the same.
    """

    def __init__(
        self,
        topology: Topology,
        board: Board,
        crew: Crew,
        networks: tuple[IPv4Network | IPv6Network, ...],
        *,
        look: float = LOOK,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.networks = networks
        self._topology = topology
        self._board = board
        self._crew = crew
        self._clock = clock
        self._wall = wall
        self._look = look
        self._known: dict[Key, tuple[Registration, int]] = {}
        self._beats: set[Key] = set()
        self._believed = inf  # until then, who has a ttl is there without a beat
        self._weighed: set[Backend] = set()
        self._drained: set[Backend] = set()
        self._removed: set[Key] = set()
        self._named: set[str] = set()
        self._applying = False
        topology.listen(self._joined)

    async def settle(self) -> None:
        """At the start: have what the board says."""
        self._believed = inf
        with suppress(BoardAway):
            self._take(await self._board.read(BACKENDS))
            self._take_beats(await self._board.read(BEATS))
        longest = max((said.ttl for said, _ in self._known.values()), default=0.0)
        self._believed = self._clock() + longest

    async def run(self) -> None:
        """The job: follow the board, and clear away what is over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(BACKENDS, self._take))
            group.create_task(self._follow(BEATS, self._take_beats))
            group.create_task(self._tidy())

    def known(self, pool: str, backend: str) -> tuple[Registration, int]:
        """What is said of a backend, as far as is known here, and the revision of that; 0 where nothing is."""
        return self._known.get((pool, backend), (Registration(), 0))

    async def look(self, pool: str, backend: str) -> tuple[Registration, int]:
        """The same, asked of the board. Raises BoardAway."""
        self._take(await self._board.read(BACKENDS))
        return self.known(pool, backend)

    async def write(self, pool: str, backend: str, said: Registration, expected: int) -> int:
        """Have *said* hold, here at once, and return its revision, 0 where nothing is said any more.

        Args:
            pool: its name.

            backend: its id.

            said: what is to hold; empty takes the note away.

            expected: the revision to be replaced.

        Raises:
            Conflict: it is another.

            TooMany: there is no room for another note.

            BoardAway: nobody could be told; it may hold all the same.
        """
        key = (pool, backend)
        if key not in self._known and len(self._known) >= MOST:
            raise TooMany(f"{MOST} backends have something said of them")
        note = None if said.empty else json.dumps(_written(said)).encode()
        revision = await self._board.write(BACKENDS, "/".join(key), note, expected=expected)
        if note is None:
            self._known.pop(key, None)
            revision = 0
        else:
            self._known[key] = said, revision
        self._apply()
        return revision

    async def beat(self, pool: str, backend: str, ttl: float) -> None:
        """It is there for *ttl* seconds more; 0 is no more. Raises BoardAway."""
        key = (pool, backend)
        await self._board.write(BEATS, "/".join(key), b"" if ttl else None, seconds=ttl or inf)
        if ttl:
            self._beats.add(key)
        else:
            self._beats.discard(key)
        self._apply()

    async def _follow(self, table: Table, take: Callable[[Mapping[str, Note]], None]) -> None:
        async for notes in follow(self._board, table, self._look):
            take(notes)

    def _take(self, notes: Mapping[str, Note]) -> None:
        known = {}
        for name, note in notes.items():
            key = _key(name)
            before = self._known.get(key)
            said = before[0] if before is not None and before[1] == note.revision else _read(note.value)
            if said is None:
                log.error("what is said of backend %s cannot be read", name)
                continue
            known[key] = said, note.revision
        self._known = known
        self._apply()

    def _take_beats(self, notes: Mapping[str, Note]) -> None:
        self._beats = {_key(name) for name in notes}
        self._apply()

    def _joined(self, change: Change) -> None:
        """Backends came, or pools are others: what is said holds for them, too."""
        if not self._applying:
            self._apply()

    def _apply(self) -> None:
        """Have the topology be as is said."""
        self._applying = True
        try:
            for key in [key for key in self._removed if not self.known(*key)[0].removed]:
                self._removed.discard(key)
                self._topology.restore(*key)
            named = {key[0] for key, (said, _) in self._known.items() if said.spec is not None}
            for name in (named | self._named).intersection(self._topology.pools):
                self._topology.update(name, SOURCE, self._members(name))
            self._named = named
            for pool in tuple(self._topology.pools.values()):
                for backend in pool.backends:
                    self._hold(pool, backend)
        finally:
            self._applying = False

    def _members(self, pool: str) -> list[BackendSettings]:
        return [
            said.spec.model_copy(update={"networks": self.networks})
            for key, (said, _) in self._known.items()
            if key[0] == pool and said.spec is not None and self._there(key, said)
        ]

    def _there(self, key: Key, said: Registration) -> bool:
        return not said.ttl or key in self._beats or self._clock() < self._believed

    def _hold(self, pool: Pool, backend: Backend) -> None:
        """Have what is said of one backend hold."""
        said, _ = self.known(pool.name, backend.id)
        source = backend.spec
        if said.removes(source):
            self._removed.add((pool.name, backend.id))
            self._topology.remove(backend)
            return
        if said.weight is not None or backend in self._weighed:  # else it is as its source has it
            if backend.weight != (weight := said.weight_of(source)):
                pool.weigh(backend, weight)
            if said.weight is None:
                self._weighed.discard(backend)
            else:
                self._weighed.add(backend)
        until = inf if said.let_go is None else self._clock() + said.let_go - self._wall()
        if said.draining and not (backend.draining and _close(backend.let_go, until)):
            pool.drain(backend, until)
            self._drained.add(backend)
        elif not said.draining and backend in self._drained:
            self._drained.discard(backend)
            pool.undrain(backend)

    async def _tidy(self) -> None:
        """Have those be gone who are no longer believed, and take away their notes; one process does it for all."""
        since: dict[Key, float] = {}
        while True:
            await asyncio.sleep(TIDY)
            now = self._clock()
            timed = {key: said for key, (said, _) in self._known.items() if said.ttl}
            if timed:
                self._apply()
            since = {key: since.get(key, now) for key, said in timed.items() if not self._there(key, said)}
            over = [key for key, began in since.items() if now - began > timed[key].ttl]
            with suppress(BoardAway, Conflict):
                if over and await self._board.lease("registrations", self._crew.id, 3 * TIDY):
                    for key in over:
                        await self.write(*key, Registration(), self._known[key][1])
                        log.info("pool %s: backend %s has not registered again, and is gone", *key)


def _close(one: float, other: float) -> bool:
    """Two clocks are compared: not to the last digit."""
    return one == other or abs(one - other) < 1.0


def _key(name: str) -> Key:
    pool, _, backend = name.partition("/")
    return pool, backend


def _written(said: Registration) -> dict[str, Any]:
    specs = {name: getattr(said, name) for name in ("spec", "instead_of")}
    return {
        "ttl": said.ttl,
        "weight": said.weight,
        "removed": said.removed,
        "draining": said.draining,
        "let_go": said.let_go,
        **{name: spec and spec.model_dump(mode="json") for name, spec in specs.items()},
    }


def _read(value: bytes) -> Registration | None:
    """What a note says; None where it cannot be read, being of another version."""
    try:
        said = json.loads(value)
        for name in ("spec", "instead_of"):
            said[name] = said[name] and BackendSettings.model_validate(said[name])
        return replace(Registration(), **said)
    except (ValueError, TypeError, KeyError, ValidationError):
        return None
