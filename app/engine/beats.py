"""The beats of backends that register again and again: short notes on a board, each of which goes by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import inf

from app.engine.state.board import Board, Conflict, Table

BEATS = Table("beats")
"""`pool/backend` -> nothing; as long as the note is there."""


class Beats:
    """Who is heard of, as far as is known here. All that asks the board raises BoardAway."""

    def __init__(self, board: Board, clock: Callable[[], float]) -> None:
        self._board = board
        self._clock = clock
        self._revisions: dict[str, int] = {}
        self._seen = -1
        self._due = -inf  # one is over then

    def __contains__(self, name: str) -> bool:
        """Whether there is one of *name*."""
        return name in self._revisions

    async def listen(self) -> None:
        """Hear whose are there now."""
        revision = await self._board.revision(BEATS)
        if revision != self._seen or self._clock() >= self._due:
            notes = await self._board.read(BEATS)
            self._seen = revision
            self._due = self._clock() + min((note.seconds for note in notes.values()), default=inf)
            self._revisions = {name: note.revision for name, note in notes.items()}

    async def renew(self, name: str, ttl: float) -> bool:
        """It is there for *ttl* seconds more; whether it was."""
        known = self._revisions.get(name, 0)
        try:
            self._revisions[name] = await self._board.write(BEATS, name, b"", expected=known, seconds=ttl)
        except Conflict as conflict:
            known = conflict.revision
            self._revisions[name] = await self._board.write(BEATS, name, b"", seconds=ttl)
        return known > 0

    def revision(self, name: str) -> int:
        """Of the last that was heard of it; 0 without one."""
        return self._revisions.get(name, 0)

    async def end(self, name: str, expected: int) -> None:
        """Take it away, unless it is at another revision by now: somebody has renewed it."""
        if expected:
            with suppress(Conflict):
                await self._board.write(BEATS, name, None, expected=expected)
