"""The metrics of all workers of a machine: each tells its tally on the board, and any of them answers for all.

A worker writes its tally each second, and before it answers a scrape: what a scrape has shown is told, and no counter
is less the next time, whoever answers. One that dies without a word takes along what it has not told, a second's worth.

What the dead have counted is folded into one note, so that it stays counted and the table does not grow:

    alive --its worker is gone--> dead --in `past`--> taken away

Each step but the last is a write that expects the revision of what it is about, and nobody writes to a dead one. So of
two that notice a death at the same time one does it, a step that nobody finished is finished by the next, and a scrape
counts each tally once at any point: a dead one that `past` names is in it already. A worker that was held up and taken
for dead finds its note changed: it goes on under another key, with what it has counted since.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from app.domain.metrics import Across
from app.domain.tally import Tally, Told, count, less, packed, unpacked
from app.engine.crew import Crew
from app.engine.state.board import Board, BoardAway, Conflict, Note, Table

TALLIES = Table("tallies")
"""Worker and life -> its tally; PAST -> those of the dead."""
PAST = "past"
INTERVAL = 1.0
"""Seconds between two writes."""

_ALIVE, _DEAD = b"+", b"-"

_log = logging.getLogger("l7lb")


class _Past(NamedTuple):
    """What the dead have counted; *names* are those of them whose notes may still be there."""

    counted: Told
    names: frozenset[str]


class Tallies:
    """The tally of this worker among the others.

    Args:
        board: of the machine.

        crew: who is here.

        own: the tally of this process, all that has happened included.

        forget: takes out what nobody wants to know any more; True where there was any.

        rules: what each gauge of several workers is.
    """

    def __init__(
        self,
        board: Board,
        crew: Crew,
        own: Callable[[], Tally],
        *,
        forget: Callable[[Told], bool],
        rules: Mapping[str, Across],
    ) -> None:
        self._board = board
        self._crew = crew
        self._own = own
        self._forget = forget
        self._rules = rules
        self._lock = asyncio.Lock()
        self._life = 0
        self._revision = 0
        self._before: Told = {}
        self._told: Told = {}
        self._seen: tuple[Mapping[str, Note], frozenset[str]] = {}, frozenset()
        self._silent = False

    @property
    def _key(self) -> str:
        return f"{self._crew.id}.{self._life}"

    async def run(self) -> None:
        """The job: tell until it is cancelled. A process that is alone has nobody to tell."""
        if self._board.lone:
            return
        with suppress(BoardAway):
            await self._look()
        while True:
            await asyncio.sleep(INTERVAL)  # first, so that nobody hears what we do not know yet: who is UP
            await self.tell()

    async def tell(self) -> None:
        """Write the tally of this process."""
        if not self._board.lone:
            async with self._lock:
                await self._tell()

    async def together(self) -> Tally:
        """That of all who are here, and what those have counted who have gone."""
        if self._board.lone:
            return self._own()
        async with self._lock:
            mine = await self._tell()
            with suppress(BoardAway):  # what was seen last is better than nothing
                await self._look()
                if self._is_past():
                    mine = Tally({}, mine.gauges)
        notes, here = self._seen
        past = _past(notes)
        whole = Tally({}, {})
        count(whole.counted, past.counted)
        whole.put(mine, self._rules)
        for key, note in notes.items():
            if key not in past.names and key not in (PAST, self._key):
                tally = unpacked(note.value[1:])
                if _lives(key, note, here):
                    whole.put(tally, self._rules)
                else:
                    count(whole.counted, tally.counted)
        return whole

    async def _tell(self) -> Tally:
        """What was written, or would have been."""
        now = self._own()
        try:
            return await self._write(now)
        except BoardAway:
            return self._since(now)

    def _is_past(self) -> bool:
        """Whether what we have just told was folded, in the moment since."""
        notes, _ = self._seen
        return self._revision > 0 and (self._key not in notes or self._key in _past(notes).names)

    async def _write(self, now: Tally) -> Tally:
        while True:
            tally = self._since(now)
            try:
                value = _ALIVE + packed(tally)
                self._revision = await self._board.write(TALLIES, self._key, value, expected=self._revision)
            except Conflict:
                await self._find_out()
                continue
            except BoardAway:
                self._told = tally.counted  # it may have been written
                raise
            except ValueError as error:
                if not self._silent:
                    self._silent = True
                    _log.error("other workers cannot tell of our metrics: %s", error)
                return tally
            self._told = tally.counted
            return tally

    def _since(self, now: Tally) -> Tally:
        return Tally(less(now.counted, self._before), now.gauges)

    async def _find_out(self) -> None:
        """Our note is at another revision: we wrote it without hearing so, or we were taken for dead."""
        note = (await self._board.read(TALLIES)).get(self._key)
        if note is not None and note.value.startswith(_ALIVE):
            self._revision = note.revision
            return
        count(self._before, unpacked(note.value[1:]).counted if note is not None else self._told)
        self._life += 1
        self._revision = 0
        self._told = {}

    async def _look(self) -> None:
        """See what the others tell, and fold what the dead have told."""
        notes = await self._board.read(TALLIES)
        here = frozenset(mate.id for mate in await self._crew.present(self._board))  # after it: nobody else is missing
        self._seen = notes, here
        dead = [key for key, note in notes.items() if key != PAST and not _lives(key, note, here)]
        if dead or (PAST in notes and self._forget(_past(notes).counted)):
            await self._fold([key for key in dead if notes[key].value.startswith(_ALIVE)], notes)

    async def _fold(self, dying: list[str], notes: Mapping[str, Note]) -> None:
        for key in dying:
            try:
                await self._board.write(TALLIES, key, _DEAD + notes[key].value[1:], expected=notes[key].revision)
            except Conflict:  # it lives, or another has seen the same
                continue
        notes = await self._board.read(TALLIES)
        past = _past(notes)
        dead = {key: note for key, note in notes.items() if key != PAST and note.value.startswith(_DEAD)}
        for key, note in dead.items():
            if key not in past.names:
                count(past.counted, unpacked(note.value[1:]).counted)
        self._forget(past.counted)
        value = json.dumps(sorted(dead)).encode() + b"\n" + packed(Tally(past.counted, {}))
        try:
            await self._board.write(TALLIES, PAST, value, expected=notes[PAST].revision if PAST in notes else 0)
            for key in dead:
                await self._board.write(TALLIES, key, None)
        except Conflict:  # another does it
            return
        except ValueError as error:
            _log.error("what workers counted that have gone cannot be kept: %s", error)


def _lives(key: str, note: Note, here: frozenset[str]) -> bool:
    return note.value.startswith(_ALIVE) and key.partition(".")[0] in here


def _past(notes: Mapping[str, Note]) -> _Past:
    if PAST not in notes:
        return _Past({}, frozenset())
    names, _, told = notes[PAST].value.partition(b"\n")
    return _Past(unpacked(told).counted, frozenset(json.loads(names)))
