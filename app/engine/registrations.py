"""Backends that are registered while we run, and what else is said of backends then: kept on a board, for everybody.

    who registers --write--> note, lasting --follow--> every worker and machine --Topology.update--> source `admin`
                     |                                                            drained, weighed, taken out
                     +--ttl--> beat, which goes by itself: whose beat is over is gone, and its note soon after

A write is in force here when it returns, elsewhere within LOOK on a machine, and CLUSTER_LOOK over many.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from math import inf

from app.domain.registration import Registration
from app.engine.crew import Crew
from app.engine.said import Key, Said
from app.engine.state.board import Board, BoardAway, Conflict, Note, Table, follow
from app.engine.topology import Topology

BACKENDS = Table("backends", lasting=True)
"""`pool/backend` -> what is said of it."""
BEATS = Table("beats")
"""`pool/backend` -> nothing; as long as the note is there."""
LOOK, CLUSTER_LOOK = 0.1, 0.25
"""Seconds between two looks at the board."""
MOST = 4096
"""Notes that are kept."""
TIDY = 5.0
"""Seconds between two looks for notes of those that are gone, by who has the lease for that."""

log = logging.getLogger("l7lb.registrations")


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
        self._board = board
        self._crew = crew
        self._clock = clock
        self._look = look
        self._known: dict[Key, tuple[Registration, int]] = {}
        self._beats: set[Key] = set()
        self._believed = inf  # until then, who has a ttl is there without a beat
        self._said = Said(topology, networks, clock, wall)

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
        note = None if said.empty else said.encoded()
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
            said = before[0] if before is not None and before[1] == note.revision else Registration.decoded(note.value)
            if said is None:
                log.error("what is said of backend %s cannot be read", name)
                continue
            known[key] = said, note.revision
        self._known = known
        self._apply()

    def _take_beats(self, notes: Mapping[str, Note]) -> None:
        self._beats = {_key(name) for name in notes}
        self._apply()

    def _apply(self) -> None:
        """Have the topology be as is said."""
        self._said.hold({key: said for key, (said, _) in self._known.items()}, self._there)

    def _there(self, key: Key, said: Registration) -> bool:
        return not said.ttl or key in self._beats or self._clock() < self._believed

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


def _key(name: str) -> Key:
    pool, _, backend = name.partition("/")
    return pool, backend
