"""Purges everywhere: what one worker is asked to forget, all of them forget, and say so.

    asked --> forgotten here, written on the board --> every other hears it, forgets, says so --> answered

Each worker remembers the last purges: a response that was asked for before one of them is of before it, too, and is not
stored. Who has not heard for so long that notes may have gone unheard validates all that it has.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic, time
from typing import TYPE_CHECKING, Any, NamedTuple

from app.engine.caches.memory import matches
from app.engine.caches.store import Purge
from app.engine.state.board import BoardAway, Note, Table

if TYPE_CHECKING:
    from app.domain.cache.stored import Stored
    from app.engine.caches.store import Store
    from app.engine.crew import Crew, Mate
    from app.engine.state.board import Board

PURGES = Table("purges")
"""What is to be forgotten: by whom it was asked, and a number -> the purges."""
PURGED = Table("purged")
"""Worker -> up to which revision of the others it has heard them, and of the last ones how many responses that were."""
LISTEN = 0.1
"""Seconds between two looks at the purges."""
ASK = 0.02
"""Seconds between two looks at who has said that it has forgotten."""
PATIENCE = 5.0
"""Seconds that the others have for that."""
KEPT = 60.0
"""Seconds that a purge stands on the board; who has not looked for half of that may have missed one."""
REMEMBERED = 1000
"""Purges that a worker remembers, and of which it says how many responses they were."""
EVERYTHING = Purge("prefix", b"", soft=True)

log = logging.getLogger("l7lb")


class PurgeLog:
    """The last purges that this worker has heard of.

    Attributes:
        count: how many there were.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: deque[Purge] = deque(maxlen=REMEMBERED)

    def add(self, purge: Purge) -> None:
        """There was one."""
        self.count += 1
        self._last.append(purge)

    def since(self, count: int, key: bytes, stored: Stored | None) -> bool:
        """Whether one after the first *count* means what is under *key*; *stored* is None while it has not come."""
        new = self.count - count
        if new > len(self._last):
            return True
        return any(_means(purge, key, stored) for purge in islice(reversed(self._last), new))


class Done(NamedTuple):
    """What one worker has done; *responses* is None where it has not said."""

    worker: Mate
    responses: int | None


class Purges:
    """Forgets here, has the others on *board* forget, and does what they ask for.

    Args:
        stores: by name.

        heard: where purges are remembered.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        heard: PurgeLog,
        board: Board,
        crew: Crew,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._stores = stores
        self._log = heard
        self._board = board
        self._crew = crew
        self._clock = clock
        self._serial = 0
        self._seen = -1
        self._looked = clock()
        self._counts: dict[str, int] = {}

    async def purge(self, purges: Sequence[Purge]) -> list[Done]:
        """Forget, here and everywhere: what came of it. Raises BoardAway: then it was done here only."""
        here = Done(self._crew.me, await self._forget(purges))
        if self._board.lone:
            return [here]
        self._serial += 1
        key = f"{self._crew.id}-{self._serial}"
        revision = await self._board.write(PURGES, key, _packed(purges), seconds=KEPT)
        done = [here]
        end = self._clock() + PATIENCE
        while True:
            done = [here, *await self._others(key, revision)]
            if self._clock() > end or all(one.responses is not None for one in done):
                return done
            await asyncio.sleep(ASK)

    @property
    def reaches_all(self) -> bool:
        """Whether there is nobody who could not be reached by the board."""
        return not self._board.lone or multiprocessing.parent_process() is None

    async def run(self) -> None:
        """The job: listen, and forget."""
        while not self._board.lone:
            with suppress(BoardAway):
                await self._listen()
            await asyncio.sleep(LISTEN)

    async def _listen(self) -> None:
        revision = await self._board.revision(PURGES)
        if revision < self._seen or self._clock() - self._looked > KEPT / 2:
            log.warning("cache: purges may have gone unheard, so what this worker has is validated before it is used")
            self._log.add(EVERYTHING)
            for store in self._stores.values():
                if not getattr(store, "shared", False):  # of those that are, others have seen to it
                    await store.purge(EVERYTHING, time())
            self._seen = min(self._seen, revision)
        if revision != self._seen:
            notes = await self._board.read(PURGES)
            if self._seen >= 0:  # what was asked for before we began is not for us, for we had nothing
                await self._hear({key: note for key, note in notes.items() if note.revision > self._seen})
            self._seen = max([revision, *(note.revision for note in notes.values())])
            said = {"revision": self._seen, "counts": self._counts}
            await self._board.write(PURGED, self._crew.id, json.dumps(said).encode(), seconds=KEPT)
        self._looked = self._clock()

    async def _hear(self, notes: Mapping[str, Note]) -> None:
        for key, note in sorted(notes.items(), key=lambda item: item[1].revision):
            if not key.startswith(self._crew.id):
                self._counts[key] = await self._forget(_unpacked(note.value))
        for key in list(islice(self._counts, max(0, len(self._counts) - REMEMBERED))):
            del self._counts[key]

    async def _forget(self, purges: Iterable[Purge]) -> int:
        """Here; how many responses. From the first moment on, what was fetched for before is not stored."""
        purges = list(purges)
        for purge in purges:
            self._log.add(purge)
        count = 0
        for purge in purges:
            for store in self._stores.values():
                purged = await store.purge(purge, time())
                store.usage.purged += purged
                count += purged
        return count

    async def _others(self, key: str, revision: int) -> list[Done]:
        said: dict[str, Any] = {
            worker: json.loads(note.value) for worker, note in (await self._board.read(PURGED)).items()
        }
        found = []
        for mate in await self._crew.present(self._board):
            if mate.id != self._crew.id:
                answer = said.get(mate.id, {})
                heard = answer.get("revision", -1) >= revision
                found.append(Done(mate, answer["counts"].get(key, 0) if heard else None))
        return found


def _means(purge: Purge, key: bytes, stored: Stored | None) -> bool:
    if stored is None and purge.by == "tag":
        return not purge.group or key.startswith(purge.group.encode() + b" ")
    return matches(purge, key, stored)  # type: ignore[arg-type]  # it looks at the key only


def _packed(purges: Iterable[Purge]) -> bytes:
    return json.dumps([[one.by, one.value.decode("latin-1"), one.group, one.soft] for one in purges]).encode()


def _unpacked(value: bytes) -> list[Purge]:
    try:
        return [Purge(by, text.encode("latin-1"), group, soft) for by, text, group, soft in json.loads(value)]
    except (ValueError, TypeError):  # of another version, which may mean anything
        return [EVERYTHING]
