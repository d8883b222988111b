"""What is in a store on disk, for all workers of a machine: an LMDB environment of one boot of the machine.

    heads    400 bytes of the key, NUL, digest of the key, number of the object -> Record
    order    last use (monotonic microseconds), number -> where it is in heads
    tags     digest of the tag, number -> where it is in heads
    pending  number -> bytes that are kept free for what is being written
    purges   counter -> a purge, so that what was begun before it is not stored after it
    meta     bytes and responses of all; the counter; whether the files of an earlier boot have been looked through

It is never synced, so a killed process leaves what was there before, and a power loss nothing at all: the next boot
begins another one, from the heads of the files. All but `find` is called in threads, for writers wait for each other.
It is long because what one transaction changes, in six tables, has to be seen in one piece.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from threading import Lock
from time import monotonic
from typing import ClassVar, NamedTuple

import lmdb

from app.domain.cache.stored import Stored, Unreadable, decoded, variant
from app.engine.caches.memory import matches
from app.engine.caches.store import MOST_VARIANTS, Purge
from app.engine.environment import opened
from app.engine.state.directory import boot_id

ROUND = 500
"""Responses that one transaction takes out at most, for the other writers wait meanwhile."""
MOST_PURGES = 1000
"""Purges that are remembered; what was begun before all of them is not stored."""
_KEY = 400
_UNIT = 64 * 2**20

_RECORD = Struct("<8sQQQ?I")
_number = Struct("<q")
_order = Struct(">Q")
_BY = {"key": b"k", "prefix": b"p", "tag": b"t"}
_FROM = {byte: name for name, byte in _BY.items()}

Transaction = lmdb.Transaction


class Outcome(NamedTuple):
    """Whether it is stored, and the numbers of those that it replaced, and of those that had to go for it."""

    stored: bool
    replaced: list[bytes]
    evicted: list[bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """One stored response.

    Attributes:
        number: 8 bytes, that of its file.

        used: last use, monotonic microseconds, as far as the order knows.

        weight: bytes that it takes of the store.

        checked: whether its body is known to be whole; one from before a reboot is not.
    """

    number: bytes
    key: bytes
    stored: Stored
    size: int
    weight: int
    used: int
    checked: bool = True

    @property
    def place(self) -> bytes:
        """In heads."""
        return _place(self.key) + self.number

    def packed(self) -> bytes:
        """As heads has it."""
        head = _RECORD.pack(self.number, self.size, self.weight, self.used, self.checked, len(self.key))
        return head + self.key + self.stored.encoded()


class Index:
    """The index in *directory*.

    Args:
        room: bytes of all responses, by which its own size goes.

    Raises:
        OSError, lmdb.Error: it cannot be opened.
    """

    _opened: ClassVar[dict[Path, tuple[Index, int]]] = {}
    _lock: ClassVar[Lock] = Lock()

    @classmethod
    def open(cls, directory: Path, room: int) -> Index:
        """That of *directory*, which a process may not open twice."""
        directory = directory.resolve()
        with cls._lock:
            index, users = cls._opened.get(directory, (None, 0))
            index = index or cls(directory, room)
            cls._opened[directory] = index, users + 1
        return index

    def __init__(self, directory: Path, room: int) -> None:
        self._directory = directory
        path = directory / f"index-{boot_id()}"
        for old in directory.glob("index-*"):
            if old != path:
                shutil.rmtree(old, ignore_errors=True)
        size = _UNIT + room // 2 // _UNIT * _UNIT
        self._env = opened(path, size=size, max_dbs=6, sync=False, metasync=False)
        self._env.reader_check()  # of killed processes: what they were reading would stay for ever
        names = (b"heads", b"order", b"tags", b"pending", b"purges", b"meta")
        self._heads, self._order, self._tags, self._pending, self._purges, self._meta = map(self._env.open_db, names)

    def close(self) -> None:
        """The last who has opened it closes it."""
        with self._lock:
            index, users = self._opened[self._directory]
            if users > 1:
                self._opened[self._directory] = index, users - 1
            else:
                del self._opened[self._directory]
                self._env.close()

    # Looking...

    def find(self, key: bytes) -> list[Record]:
        """The variants of *key*; microseconds, unless the disk has to be asked."""
        with self._env.begin(buffers=False) as txn:
            return list(self._under(txn, key))

    def has(self, number: bytes, key: bytes) -> bool:
        """Whether that is stored."""
        with self._env.begin() as txn:
            return txn.get(_place(key) + number, db=self._heads) is not None

    def usage(self) -> tuple[int, int]:
        """Responses, and bytes of them and of what is being written."""
        with self._env.begin() as txn:
            return self._get(txn, b"responses"), self._get(txn, b"size")

    def purges(self) -> int:
        """How many there have been."""
        with self._env.begin() as txn:
            return self._get(txn, b"purges")

    def pending(self) -> list[bytes]:
        """Numbers of what is being written, or was when its process was killed."""
        with self._env.begin() as txn, txn.cursor(self._pending) as cursor:
            return list(cursor.iternext(keys=True, values=False))

    @property
    def looked_through(self) -> bool:
        """Whether the files of an earlier boot are in it."""
        with self._env.begin() as txn:
            return self._get(txn, b"looked through") > 0

    def look_no_more(self) -> None:
        """They are."""
        with self._env.begin(write=True) as txn:
            self._add(txn, b"looked through", 1)

    # Changing...

    def reserve(self, number: bytes, size: int, most: int) -> list[bytes]:
        """Keep *size* bytes, of *most* in all, free for *number*; the numbers of those that had to go.

        Raises:
            lmdb.MapFullError: there is no room; all that is left is being written.
        """
        gone: list[bytes] = []
        there = False
        while not there:
            with self._env.begin(write=True) as txn:
                there, evicted = self._evict(txn, size, most)
                if there:
                    found = txn.get(number, db=self._pending)
                    kept = _number.unpack(found)[0] if found is not None else 0
                    txn.put(number, _number.pack(kept + size), db=self._pending)
                    self._add(txn, b"size", size)
            gone += evicted
        return gone

    def release(self, number: bytes) -> None:
        """What was kept free for *number* is not needed."""
        with self._env.begin(write=True) as txn:
            self._release(txn, number)

    def commit(self, record: Record, begun: int, most: int) -> Outcome:
        """Store *record*, whose writing was begun after *begun* purges.

        Raises:
            lmdb.MapFullError: as `reserve` does.
        """
        with self._env.begin(write=True) as txn:
            self._release(txn, record.number)
            if self._purged(txn, record, begun):
                return Outcome(False, [], [])
            others = list(self._under(txn, record.key))
            same = variant(record.stored, [other.stored for other in others])
            replaced = [other for other in others if other.stored is same]
            if not replaced and len(others) >= MOST_VARIANTS:
                replaced = [min(others, key=lambda other: other.stored.received)]
            for other in replaced:
                self._take_out(txn, other)
            self._put_in(txn, record)
            _, evicted = self._evict(txn, 0, most)  # what was kept free may be a block short
        return Outcome(record.number not in evicted, [other.number for other in replaced], evicted)

    def update(self, key: bytes, stored: Stored) -> bool:
        """Replace the head of the response of the same stamp."""
        with self._env.begin(write=True) as txn:
            for record in self._under(txn, key):
                if record.stored.stamp == stored.stamp:
                    self._take_out(txn, record)
                    self._put_in(txn, replace(record, stored=stored))
                    return True
        return False

    def drop(self, record: Record) -> None:
        """It has no file any more, or a damaged one."""
        with self._env.begin(write=True) as txn:
            if txn.get(record.place, db=self._heads) is not None:
                self._take_out(txn, self._read(txn, record.place) or record)

    def checked(self, record: Record) -> None:
        """Its body is whole."""
        with self._env.begin(write=True) as txn:
            if (found := self._read(txn, record.place)) is not None:
                txn.put(record.place, replace(found, checked=True).packed(), db=self._heads)

    def touch(self, records: Iterable[Record], now: int) -> None:
        """They have been used."""
        with self._env.begin(write=True) as txn:
            for record in records:
                if (found := self._read(txn, record.place)) is not None:
                    self._take_out(txn, found)
                    self._put_in(txn, replace(found, used=now))

    def purge(self, purge: Purge, now: float) -> Iterator[bytes | None]:
        """Forget, or make stale: the number of each that was forgotten, None for each that was made stale."""
        with self._env.begin(write=True) as txn:
            counter = self._add(txn, b"purges", 1)
            value = b"\0".join((_BY[purge.by] + (b"s" if purge.soft else b"h"), purge.group.encode(), purge.value))
            txn.put(_order.pack(counter), value, db=self._purges)
            txn.delete(_order.pack(max(counter - MOST_PURGES, 0)), db=self._purges)
        after = b""
        while True:
            gone: list[bytes | None] = []
            with self._env.begin(write=True) as txn:
                found, after = self._meant(txn, purge, after)
                for record in found:
                    self._take_out(txn, record)
                    if purge.soft:
                        self._put_in(txn, replace(record, stored=record.stored.purged(now)))
                    gone.append(None if purge.soft else record.number)
            yield from gone
            if not after:
                return

    def _meant(self, txn: Transaction[bytes], purge: Purge, after: bytes) -> tuple[list[Record], bytes]:
        """Some of those that *purge* means, and where to go on; b"" at the end."""
        if purge.by == "key":
            return list(self._under(txn, purge.value)), b""
        tag = purge.by == "tag"
        start = _digest(purge.value, 16) if tag else purge.value[:_KEY]
        with txn.cursor(self._tags if tag else self._heads) as cursor:
            looked: list[bytes] = []
            more = cursor.set_range(after or start)
            while more and cursor.key().startswith(start) and len(looked) < ROUND:
                looked.append(cursor.value() if tag else cursor.key())
                more = cursor.next()
            on = cursor.key() if more and cursor.key().startswith(start) else b""
        records = (self._read(txn, place) for place in looked)
        return [one for one in records if one is not None and matches(purge, one.key, one.stored)], on

    def _purged(self, txn: Transaction[bytes], record: Record, begun: int) -> bool:
        last = self._get(txn, b"purges")
        if last - begun > MOST_PURGES:
            return True
        for counter in range(begun + 1, last + 1):
            kind, group, value = txn.get(_order.pack(counter), b"k\0\0", db=self._purges).split(b"\0", 2)
            purge = Purge(_FROM[kind[:1]], value, group.decode())  # type: ignore[arg-type]  # one of the three
            if matches(purge, record.key, record.stored):
                return True
        return False

    def _evict(self, txn: Transaction[bytes], size: int, most: int) -> tuple[bool, list[bytes]]:
        """Whether there is room for *size* more of *most* bytes, and who had to go for it: those used longest ago."""
        gone: list[bytes] = []
        total = self._get(txn, b"size")
        with txn.cursor(self._order) as cursor:
            while total + size > most and len(gone) < ROUND:
                if not cursor.first():
                    raise lmdb.MapFullError("all that is left is being written")
                record = self._read(txn, cursor.value())
                if record is None:  # never so
                    cursor.delete()
                    continue
                total -= record.weight
                gone.append(record.number)
                self._take_out(txn, record)
        return total + size <= most, gone

    def _under(self, txn: Transaction[bytes], key: bytes) -> Iterator[Record]:
        start = _place(key)
        with txn.cursor(self._heads) as cursor:
            found = []
            more = cursor.set_range(start)
            while more and cursor.key().startswith(start):
                found.append(cursor.value())
                more = cursor.next()
        return (record for record in map(_record, found) if record is not None and record.key == key)

    def _read(self, txn: Transaction[bytes], place: bytes) -> Record | None:
        found = txn.get(place, db=self._heads)
        return _record(found) if found is not None else None

    def _put_in(self, txn: Transaction[bytes], record: Record) -> None:
        txn.put(record.place, record.packed(), db=self._heads)
        txn.put(_order.pack(record.used) + record.number, record.place, db=self._order)
        for tag in record.stored.tags:
            txn.put(_digest(tag, 16) + record.number, record.place, db=self._tags)
        self._add(txn, b"size", record.weight)
        self._add(txn, b"responses", 1)

    def _take_out(self, txn: Transaction[bytes], record: Record) -> None:
        txn.delete(record.place, db=self._heads)
        txn.delete(_order.pack(record.used) + record.number, db=self._order)
        for tag in record.stored.tags:
            txn.delete(_digest(tag, 16) + record.number, db=self._tags)
        self._add(txn, b"size", -record.weight)
        self._add(txn, b"responses", -1)

    def _release(self, txn: Transaction[bytes], number: bytes) -> None:
        if (found := txn.pop(number, db=self._pending)) is not None:
            self._add(txn, b"size", -_number.unpack(found)[0])

    def _get(self, txn: Transaction[bytes], name: bytes) -> int:
        found = txn.get(name, db=self._meta)
        return _number.unpack(found)[0] if found is not None else 0

    def _add(self, txn: Transaction[bytes], name: bytes, more: int) -> int:
        total = self._get(txn, name) + more
        txn.put(name, _number.pack(total), db=self._meta)
        return total


def ticks() -> int:
    """Now, for the order of use: the same in all processes of a machine."""
    return int(monotonic() * 1e6)


def _place(key: bytes) -> bytes:
    return b"%b\0%b" % (key[:_KEY], _digest(key, 16))


def _digest(data: bytes, size: int) -> bytes:
    return blake2b(data, digest_size=size).digest()


def _record(data: bytes) -> Record | None:
    number, size, weight, used, checked, length = _RECORD.unpack_from(data)
    at = _RECORD.size + length
    with suppress(Unreadable):
        return Record(number, data[_RECORD.size : at], decoded(data[at:]), size, weight, used, checked)
    return None
