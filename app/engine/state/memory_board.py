"""A board in memory, for a process that is alone."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic

from app.engine.state.board import LARGEST, Conflict, Note, Table


class MemoryBoard:
    """Notes in dicts."""

    place = "memory"
    lasting = False
    lone = True

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._revisions: dict[str, int] = {}
        self._tables: dict[str, dict[str, tuple[bytes, int, float]]] = {}
        self._leases: dict[str, tuple[str, float]] = {}

    async def revision(self, table: Table) -> int:
        """Of the last write."""
        return self._revisions.get(table.name, 0)

    async def read(self, table: Table) -> dict[str, Note]:
        """All notes of *table* by key."""
        now = self._clock()
        kept = self._tables.get(table.name, {})
        for key in [key for key, (_, _, until) in kept.items() if until <= now]:
            del kept[key]
        return {key: Note(value, revision, until - now) for key, (value, revision, until) in kept.items()}

    async def write(
        self, table: Table, key: str, value: bytes | None, *, expected: int | None = None, seconds: float = inf
    ) -> int:
        """Write a note, or take it away: see `Board.write`."""
        if value is not None and len(value) > LARGEST:
            raise ValueError(f"a note of {len(value)} bytes; {LARGEST} is the limit")
        now = self._clock()
        kept = self._tables.setdefault(table.name, {})
        found = kept.get(key)
        present = found[1] if found is not None and found[2] > now else 0
        if expected is not None and expected != present:
            raise Conflict(present)
        revision = self._revisions[table.name] = self._revisions.get(table.name, 0) + 1
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = value, revision, now + seconds
        return revision

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether *holder* has the lease *name* from now on."""
        now = self._clock()
        whose, until = self._leases.get(name, (holder, 0.0))
        if whose != holder and until > now:
            return False
        self._leases[name] = holder, now + seconds
        return True
