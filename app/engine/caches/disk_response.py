"""What the store on disk hands out: a response that is there, and one on its way in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.caches.disk_index import Record, ticks
from app.engine.caches.object_file import FRONT, Damaged, Growing, Whole
from app.engine.caches.store import Lost

if TYPE_CHECKING:
    from app.domain.cache.stored import Stored
    from app.engine.caches.disk import DiskStore

BUFFER = 64 * 1024
"""Bytes of a body that are written at once."""
SMALL = 64 * 1024
"""Bytes of a body that is read at once, and may be kept in memory."""
STEP = 2**20
"""Bytes that are kept free at a time for a body whose length is not known; a 64th of all, where that is less."""
BLOCK = 4096
"""Bytes that files are rounded up to."""


class DiskKept:
    """A stored response on disk. Once it has been read from, it stays readable for whoever has it."""

    __slots__ = ("_file", "_record", "_store", "body", "size", "stored")
    lines = b""

    def __init__(self, store: DiskStore, record: Record, body: bytes | None) -> None:
        self.stored = record.stored
        self.size = record.size
        self.body = body
        self._store = store
        self._record = record
        self._file: Whole | None = None

    async def read(self, offset: int, most: int) -> bytes:
        """A part of the body."""
        if self.body is None:
            lost: bytes | Lost = Lost("the disk does not give it")
            is_small = self.size <= SMALL
            start, size = (0, self.size) if is_small else (offset, most)
            found = await self._store.attempt(lambda: self._read(start, size), lost)
            if isinstance(found, Lost):
                raise found
            if len(found) < self.size:
                return found[offset - start :]
            self.body = found
            self._store.keep(self._record.number, found)
        return self.body[offset : offset + most]

    def _read(self, offset: int, most: int) -> bytes | Lost:
        try:
            if self._file is None:
                self._file = self._store.open(self._record)
            return self._file.read(offset, most)
        except (Lost, Damaged) as error:
            return Lost(str(error))


class DiskWriter:
    """A response on its way in."""

    def __init__(
        self,
        store: DiskStore,
        file: Growing,
        number: bytes,
        key: bytes,
        stored: Stored,
        head: bytes,
        begun: int,
        room: int,
    ) -> None:
        self._store = store
        self._file = file
        self._number = number
        self._key = key
        self._stored = stored
        self._head = head
        self._begun = begun
        self._room = room
        self._buffer = bytearray()
        self._size = 0
        self._is_sound = True
        self._is_stored = False
        self._is_open = True

    async def write(self, piece: bytes) -> bool:
        """Add to the body."""
        size = self._size + len(piece)
        if not self._is_sound or size > self._store.options.max_object:
            return False
        if len(self._buffer) + len(piece) < BUFFER and size <= self._room:
            self._buffer += piece
        else:
            data = bytes(self._buffer) + piece
            if not await self._store.attempt(lambda: self._flush(data), False):
                self._is_sound = False
                return False
            self._buffer.clear()
        self._size = size
        return True

    def _flush(self, data: bytes) -> bool:
        """Write *data*; in a thread."""
        if (lack := self._file.size + len(data) - self._room) > 0:
            options = self._store.options
            more = max(lack, min(STEP, options.max_size // 64, options.max_object - self._room))
            self._store.grow(self._number, more)
            self._room += more
        self._file.append(data)
        return True

    async def read(self, offset: int, most: int) -> bytes:
        """A part of what was written."""
        written = self._size - len(self._buffer)
        if offset >= written:
            return bytes(self._buffer[offset - written : offset - written + most])
        data = await self._store.attempt(lambda: self._file.read(offset, min(most, written - offset)), b"")
        if not data:
            raise Lost("the disk does not give it")
        return data

    async def commit(self) -> bool:
        """Store it."""
        if not self._is_sound:
            return False
        self._is_stored = await self._store.attempt(self._commit, False)
        return self._is_stored

    def _commit(self) -> bool:
        if self._buffer:
            self._flush(bytes(self._buffer))
        weight = weighed(self._key, self._head, self._size)
        record = Record(self._number, self._key, self._stored, self._size, weight, ticks())
        return self._store.put(self._file, record, self._begun)

    def close(self) -> None:
        """Nobody reads from it any more."""
        if self._is_open:
            self._is_open = False
            self._store.later(self._close)

    def _close(self) -> None:
        if not self._is_stored:
            self._store.give_up(self._file, self._number)
        self._file.close()


def weighed(key: bytes, head: bytes, size: int) -> int:
    """Bytes that a response takes: blocks of its file, and as much again of its key and head in the index."""
    file = FRONT + len(key) + len(head) + size
    return -(-file // BLOCK) * BLOCK + len(key) + len(head)
