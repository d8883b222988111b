"""A board in LMDB, on which the workers of one machine meet.

Two environments, for what is synced is synced as a whole. `lasting` holds the tables that are to last: a write there
returns when it is on the disk, and is of a thread of its own, since all writers wait for a sync. The rest is in
`notes-<boot id>`, which is never synced, and is of one boot of the machine, whose monotonic clock says what is over.

    key      name of the table, NUL: the table's last revision (8 bytes)
             name of the table, NUL, key of the note: its revision, when it goes (monotonic seconds), its value
             NUL, name of a lease: until when it is held (monotonic seconds), by whom

A writer that is killed keeps no lock, and leaves what was there before.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from struct import Struct
from time import monotonic
from typing import TypeVar

import lmdb

from app.engine.environment import opened
from app.engine.state.board import LARGEST, BoardAway, Conflict, Note, Table
from app.engine.state.directory import Held, boot_id

T = TypeVar("T")
ROOM = 256 * 1024 * 1024
"""Bytes that an environment may grow to; it takes what it needs."""
LONGEST = 400
"""Bytes of the names of a table and a note together, UTF-8."""

_revision = Struct("<q")
_head = Struct("<qd")
_until = Struct("<d")


class LmdbBoard:
    """Notes in *directory*, which `close` releases.

    Args:
        lasting: whether the directory outlives its users.

    Raises:
        OSError, lmdb.Error: it cannot be used.
    """

    lone = False

    def __init__(self, directory: Held, *, lasting: bool, clock: Callable[[], float] = monotonic) -> None:
        self.place = f"lmdb:{directory.path}"
        self.lasting = lasting
        self._directory = directory
        self._clock = clock
        fleeting = f"notes-{boot_id()}"
        for old in directory.path.glob("notes-*"):
            if old.name != fleeting:  # of a clock that has begun again since
                shutil.rmtree(old, ignore_errors=True)
        self._fleeting = _opened(directory, fleeting, sync=False)
        self._writer = ThreadPoolExecutor(1, "board")
        try:
            self._lasting = _opened(directory, "lasting", sync=lasting)
        except BaseException:
            self._fleeting.close()
            raise

    async def revision(self, table: Table) -> int:
        """Of the last write; microseconds, and no thread."""
        return self._done(lambda: self._last(table))

    async def read(self, table: Table) -> dict[str, Note]:
        """All notes of *table* by key."""
        return self._done(lambda: self._read(table))

    async def write(
        self, table: Table, key: str, value: bytes | None, *, expected: int | None = None, seconds: float = inf
    ) -> int:
        """Write a note, or take it away: see `Board.write`. Raises ValueError also for a key that is too long."""
        if value is not None and len(value) > LARGEST:
            raise ValueError(f"a note of {len(value)} bytes; {LARGEST} is the limit")
        if len(_key(table, key)) > LONGEST:
            raise ValueError(f"a key of over {LONGEST} bytes")

        def work() -> int:
            return self._done(lambda: self._write(table, key, value, expected, seconds))

        if not (table.lasting and self.lasting):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether *holder* has the lease *name* from now on."""
        return self._done(lambda: self._lease(b"\0" + name.encode(), holder.encode(), seconds))

    def close(self) -> None:
        """Use the directory no more, as soon as what is being written is written."""
        self._writer.shutdown(cancel_futures=True)
        self._fleeting.close()
        self._lasting.close()
        self._directory.release()

    def _env(self, table: Table) -> lmdb.Environment:
        return self._lasting if table.lasting else self._fleeting

    def _done(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except lmdb.Error as error:
            raise BoardAway(f"{self.place}: {error}") from None

    def _last(self, table: Table) -> int:
        with self._env(table).begin() as txn:
            return _last(txn, table)

    def _read(self, table: Table) -> dict[str, Note]:
        now = self._clock()
        prefix = _key(table, "")
        found: dict[str, Note] = {}
        with self._env(table).begin() as txn:
            cursor = txn.cursor()
            more = cursor.set_range(prefix)
            while more and (key := cursor.key()).startswith(prefix):
                if len(key) > len(prefix):
                    kept = cursor.value()
                    revision, until = _head.unpack_from(kept)
                    if until > now:
                        found[key[len(prefix) :].decode()] = Note(kept[_head.size :], revision, until - now)
                more = cursor.next()
        return found

    def _write(self, table: Table, key: str, value: bytes | None, expected: int | None, seconds: float) -> int:
        now = self._clock()
        own = _key(table, key)
        with self._env(table).begin(write=True) as txn:
            kept = txn.get(own)
            present, until = _head.unpack_from(kept) if kept is not None else (0, 0.0)
            if until <= now:
                present = 0
            if expected is not None and expected != present:
                raise Conflict(present)
            revision = _last(txn, table) + 1
            txn.put(_key(table, ""), _revision.pack(revision))
            if value is None:
                txn.delete(own)
            else:
                txn.put(own, _head.pack(revision, now + seconds) + value)
            if not table.lasting:
                _sweep(txn, table, own, now)
        return revision

    def _lease(self, name: bytes, holder: bytes, seconds: float) -> bool:
        now = self._clock()
        with self._fleeting.begin(write=True) as txn:
            kept = txn.get(name)
            if kept is not None and kept[_until.size :] != holder and _until.unpack_from(kept)[0] > now:
                return False
            return txn.put(name, _until.pack(now + seconds) + holder)


def _opened(directory: Held, name: str, *, sync: bool) -> lmdb.Environment:
    env = opened(directory.path / name, size=ROOM, sync=sync, metasync=sync)
    env.reader_check()  # of killed processes: what they were reading would stay for ever
    return env


def _key(table: Table, key: str) -> bytes:
    return f"{table.name}\0{key}".encode("utf-8", "surrogatepass")


def _last(txn: lmdb.Transaction[bytes], table: Table) -> int:
    found = txn.get(_key(table, ""))
    return _revision.unpack(found)[0] if found is not None else 0


def _sweep(txn: lmdb.Transaction[bytes], table: Table, after: bytes, now: float) -> None:
    """Take away the next note behind *after* that is over, so that those who never come back leave nothing for ever."""
    prefix = _key(table, "")
    cursor = txn.cursor()
    if not cursor.set_range(after + b"\0") or not cursor.key().startswith(prefix):
        cursor.set_range(prefix + b"\0")
    there = cursor.key().startswith(prefix) and len(cursor.key()) > len(prefix)
    if there and _head.unpack_from(cursor.value())[1] <= now:
        cursor.delete()
