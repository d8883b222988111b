"""Backends that are registered while we run, and what else is said of backends then: kept on a board, for everybody.

    who registers --write--> note, lasting --follow--> every worker and machine --Topology.update--> source `admin`
                     |                                                            drained, weighed, taken out
                     +--ttl--> beat, which goes by itself: whose beat is over is gone, and its note later

A write is in force here when it returns, elsewhere within LOOK on a machine, and CLUSTER_LOOK over many. What holds
here is always what was read: a board may be slow to say that it has written, and others may have written since.
It is longer than most, for what is known, heard and gone is one state, which has to be seen in one piece.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network

from app.domain.registration import Registration
from app.engine.beats import Beats
from app.engine.crew import Crew
from app.engine.said import Key, Said
from app.engine.state.board import Board, BoardAway, Conflict, Note, Table
from app.engine.topology import Topology

BACKENDS = Table("backends", lasting=True)
"""`pool/backend` -> what is said of it."""
LOOK, CLUSTER_LOOK = 0.1, 0.25
"""Seconds between two looks at the board."""
LISTEN = 0.5
"""Seconds between two looks at the beats: a note that is new is believed without one."""
MOST = 4096
"""Notes that are kept."""
TIDY = 5.0
"""Seconds between two looks for notes of those that are gone, by who has the lease for that."""
KEPT = 30.0
"""Seconds for which, at least, the note of one that is gone is kept; so long, too, that it was taken out."""

VANISHED = 86_400.0
"""Seconds for which what is said of a backend that no source names is kept: it may be back after a night."""

log = logging.getLogger("l7lb.registrations")


class TooMany(Exception):
    """There are as many as there may be."""


class Registrations:
    """What is said of backends, and those that are registered.

    One that has a ttl is there while its beat is, and at first, for its ttl since its note was seen here: it may have
    come before its beat, and after a start, or while the board was away, nobody could register again.

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
        self._heard: dict[Key, float] = {}  # since when, of those that have a ttl
        self._beats = Beats(board, clock)
        self._seen = -1
        self._gone: frozenset[Key] = frozenset()
        self._over: dict[Key, float] = {}  # since when, of those that are gone, or named by nobody
        self._topology = topology
        self._said = Said(topology, networks, clock, wall)

    async def settle(self) -> None:
        """At the start: have what the board says."""
        with suppress(BoardAway):
            await self._read()
            await self._beats.listen()
        self._expire()

    async def run(self) -> None:
        """The job: follow the board, and clear away what is over."""
        listen = tidy = self._clock()
        while True:
            now = self._clock()
            try:
                await self._read()
                if now >= listen:
                    listen = now + LISTEN
                    await self._beats.listen()
                if now >= tidy:
                    tidy = now + TIDY
                    await self._tidy()
            except BoardAway:  # those that are there now may not be able to say so
                self._heard = {key: since if key in self._gone else now for key, since in self._heard.items()}
            self._expire()
            await asyncio.sleep(self._look)

    def known(self, pool: str, backend: str) -> tuple[Registration, int]:
        """What is said of a backend, as far as is known here, and the revision of that; 0 where nothing is."""
        return self._known.get((pool, backend), (Registration(), 0))

    async def look(self, pool: str, backend: str) -> tuple[Registration, int]:
        """The same, asked of the board. Raises BoardAway."""
        await self._read()
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
        self._check_room(key)
        note = None if said.empty else said.encoded()
        revision = await self._board.write(BACKENDS, "/".join(key), note, expected=expected)
        await self._read()
        return revision if note is not None else 0

    async def register(self, pool: str, said: Registration, expected: int) -> bool:
        """Have the backend of *said* there, and again for its ttl; whether anything is another than at *expected*.

        Its beat comes first, so that nobody who sees the note takes it for one that is gone. Where that was over, the
        note is written anew: who would clear it away has to see that. Raises as `write` does.
        """
        assert said.spec is not None
        self._check_room((pool, said.spec.id))
        beating = not said.ttl or await self._beats.renew(f"{pool}/{said.spec.id}", said.ttl)
        self._expire()
        if beating and self.known(pool, said.spec.id) == (said, expected):
            return False
        await self.write(pool, said.spec.id, said, expected)
        return True

    async def withdraw(self, pool: str, backend: str, expected: int) -> None:
        """Have one that is registered be gone at once, even where no other is there. Raises as `write` does.

        That it was taken out is kept for a while, for all to see. Its beat is taken away unless somebody has renewed
        it, who registers it again.
        """
        spec = self.known(pool, backend)[0].spec
        beat = self._beats.revision(f"{pool}/{backend}")
        said = Registration(ttl=KEPT, removed=True, instead_of=spec and self._said.allowed(spec))
        await self.write(pool, backend, said, expected)
        await self._beats.end(f"{pool}/{backend}", beat)

    def _check_room(self, key: Key) -> None:
        if key not in self._known and len(self._known) >= MOST:
            raise TooMany(f"{MOST} backends have something said of them")

    async def _read(self) -> None:
        """Have what is said now. Raises BoardAway."""
        revision = await self._board.revision(BACKENDS)
        if revision != self._seen:
            self._take(await self._board.read(BACKENDS))
            self._seen = revision  # what came meanwhile is read again

    def _take(self, notes: Mapping[str, Note]) -> None:
        known, heard = {}, {}
        for name, note in notes.items():
            key = _key(name)
            said, revision = self._known.get(key, (None, 0))
            if revision != note.revision:
                said = Registration.decoded(note.value)
                self._heard.pop(key, None)
            if said is None:
                log.error("what is said of backend %s cannot be read", name)
                continue
            known[key] = said, note.revision
            if said.ttl:
                heard[key] = self._heard.get(key, self._clock())
        self._known, self._heard = known, heard
        self._hold()

    def _hold(self) -> None:
        """Have the topology be as is said."""
        self._gone = self._missing()
        self._said.hold({key: said for key, (said, _) in self._known.items() if key not in self._gone})

    def _missing(self) -> frozenset[Key]:
        """Who has a ttl, and is not there any more."""
        now = self._clock()
        return frozenset(
            key
            for key, heard in self._heard.items()
            if now >= heard + self._known[key][0].ttl and "/".join(key) not in self._beats
        )

    def _expire(self) -> None:
        """Have those be gone whose time is over, and those be back whose beat is."""
        if self._missing() != self._gone:
            self._hold()

    async def _tidy(self) -> None:
        """Take away the notes of those that are gone for good; one process does it for all. Raises BoardAway."""
        now = self._clock()
        self._over = {key: self._over.get(key, now) for key in self._gone | self._vanished()}
        over = [key for key, began in self._over.items() if now - began > self._kept(key)]
        if not over or not await self._board.lease("registrations", self._crew.id, 3 * TIDY):
            return
        expected = {key: revision for key, (_, revision) in self._known.items()}
        await self._beats.listen()
        for key in over:
            name = "/".join(key)
            if name in self._beats or key not in expected:
                continue
            with suppress(Conflict):
                await self._board.write(BACKENDS, name, None, expected=expected[key])
                log.info("pool %s: backend %s has not come back, and what was said of it is forgotten", *key)

    def _vanished(self) -> frozenset[Key]:
        """Those of whom something is said, such as that they drain, and whom no source names."""
        named = {pool: self._topology.named(pool) for pool, _ in self._known}
        return frozenset(
            key
            for key, (said, _) in self._known.items()
            if said.spec is None and not said.ttl and (there := named[key[0]]) is not None and key[1] not in there
        )

    def _kept(self, key: Key) -> float:
        """Seconds for which the note of one that is gone is kept."""
        return max(KEPT, self._known[key][0].ttl) if key in self._gone else VANISHED


def _key(name: str) -> Key:
    pool, _, backend = name.partition("/")
    return pool, backend
