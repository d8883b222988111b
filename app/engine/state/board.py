"""What workers and machines tell each other: notes in tables, behind one protocol.

A note is a few bytes under a key. Every write of a table has a revision, which only grows; a note has that of its last
write. Who follows a table asks for its revision, which is cheap, and reads the table when it is another.

Two boards there are at most: that of the machine, on which its workers meet, and that of the cluster, on which machines
do. For a process that is alone both are the same, in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from math import inf
from typing import NamedTuple, Protocol

LARGEST = 1 << 20
"""Bytes of one note."""


class Table(NamedTuple):
    """A table: its name, and whether what was written outlives all processes, and a crash of the machine."""

    name: str
    lasting: bool = False


class Note(NamedTuple):
    """What stands under one key; *seconds* are those until it goes by itself."""

    value: bytes
    revision: int
    seconds: float = inf


class Conflict(Exception):
    """The note is not at the revision that was expected; *revision* is where it is, 0 where there is none."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"at revision {revision}")
        self.revision = revision


class BoardAway(Exception):
    """The board cannot be reached; says why. What was to be written may have been written, or not."""


class Board(Protocol):
    """Where notes are kept.

    All of it raises BoardAway. A note of a lasting table that was written is not lost, as far as *lasting* says.

    Attributes:
        place: as the log may have it.

        lasting: whether lasting tables are: not in memory.

        lone: nobody but this process can be there: in memory.
    """

    place: str
    lasting: bool
    lone: bool

    async def revision(self, table: Table) -> int:
        """Of the last write; 0 before the first. A note that goes by itself does not change it."""

    async def read(self, table: Table) -> dict[str, Note]:
        """All notes of *table* by key."""

    async def write(
        self, table: Table, key: str, value: bytes | None, *, expected: int | None = None, seconds: float = inf
    ) -> int:
        """Write a note, or take it away; returns the revision of that.

        Args:
            table: whose.

            key: of the note.

            value: None takes it away.

            expected: the revision that the note has to be at, 0 for no note; None is whatever there is.

            seconds: after which it goes by itself; not of a lasting table.

        Raises:
            Conflict: the note is at another revision. Nothing was written.

            ValueError: the value is longer than LARGEST.
        """

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether *holder* has the lease *name* for so long from now on: nobody else has it. 0 gives it back."""


class Boards(NamedTuple):
    """The two boards of a process, which may be one."""

    machine: Board
    cluster: Board


async def follow(board: Board, table: Table, interval: float) -> AsyncGenerator[Mapping[str, Note]]:
    """The notes of *table*, now, and anew each time that they may be others, looked at every *interval* seconds.

    While the board is away nothing comes, and what was said last stays.
    """
    clock = asyncio.get_running_loop().time
    seen, due = -1, -inf
    while True:
        try:
            revision = await board.revision(table)
            if revision != seen or clock() >= due:
                notes = await board.read(table)
                seen = revision  # one that came meanwhile is read again
                due = clock() + min((note.seconds for note in notes.values()), default=inf)
                yield notes
        except BoardAway:
            pass
        await asyncio.sleep(interval)
