"""Boards in memory for several that stand for processes, with what real ones bring: others in between, and outages."""

from __future__ import annotations

import asyncio
from math import inf
from random import Random

from app.engine.state.board import BoardAway, Note, Table
from app.engine.state.memory_board import MemoryBoard


class Shared(MemoryBoard):
    """Others are there, too.

    Attributes:
        away: it cannot be reached.

        lossy: the next so many writes are done, and nobody is told.

        asked: how often anything was asked of it.
    """

    lone = False
    away = False
    lossy = 0
    asked = 0

    async def revision(self, table: Table) -> int:
        """Of the last write."""
        await self._reach()
        return await super().revision(table)

    async def read(self, table: Table) -> dict[str, Note]:
        """All notes."""
        await self._reach()
        return await super().read(table)

    async def write(
        self, table: Table, key: str, value: bytes | None, *, expected: int | None = None, seconds: float = inf
    ) -> int:
        """Write a note."""
        await self._reach()
        revision = await super().write(table, key, value, expected=expected, seconds=seconds)
        if self.lossy:
            self.lossy -= 1
            raise BoardAway("the answer is lost")
        return revision

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether *holder* has it."""
        await self._reach()
        return await super().lease(name, holder, seconds)

    async def _reach(self) -> None:
        self.asked += 1
        if self.away:
            raise BoardAway("it is away")


class Busy(Shared):
    """Between any two steps others may take theirs."""

    def __init__(self, rng: Random) -> None:
        super().__init__()
        self._rng = rng

    async def _reach(self) -> None:
        for _ in range(self._rng.randrange(4)):
            await asyncio.sleep(0)
        await super()._reach()
