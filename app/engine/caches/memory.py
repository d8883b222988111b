"""Stored responses in the memory of this process: the one that was not used for the longest time goes first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from weakref import WeakSet

from app.domain.cache.served import whole
from app.domain.cache.stored import Stored, variant
from app.engine.caches.store import MOST_VARIANTS, Purge, StoreOptions, Usage

OVERHEAD = 704
"""Bytes that a response takes beside key, fields and body: measured, CPython 3.11, objects and dict slots together."""
FIELD = 132
"""The same of a field, beside its bytes."""


class MemoryStore:
    """A dict in the order of use, bounded by bytes over everything, what is being written counted with it."""

    class Options(StoreOptions):
        """Those of every kind."""

    def __init__(self, options: Options) -> None:
        self.options: StoreOptions = options
        self.usage = Usage()
        self._keys: dict[bytes, list[MemoryKept]] = {}
        """By key, in the order of use: the last was used last."""
        self._writers: WeakSet[MemoryWriter] = WeakSet()

    def peek(self, key: bytes) -> Sequence[MemoryKept]:
        """The variants of *key*."""
        found = self._keys.pop(key, None)
        if found is None:
            return ()
        self._keys[key] = found
        return found

    async def find(self, key: bytes) -> Sequence[MemoryKept]:
        """The variants of *key*."""
        return self.peek(key)

    async def write(self, key: bytes, stored: Stored, length: int | None) -> MemoryWriter | None:
        """Begin to store a response."""
        if length is not None and length > self.options.max_object:
            return None
        writer = MemoryWriter(self, key, stored)
        if not self._reserve(writer.weight + (length or 0)):
            return None
        self.usage.size += writer.weight
        self._writers.add(writer)
        return writer

    async def update(self, key: bytes, stored: Stored) -> bool:
        """Replace the head of the response that has the same stamp."""
        for kept in self._keys.get(key, ()):
            if kept.stored.stamp == stored.stamp:
                self._put_head(key, kept, stored)
                return True
        return False

    async def purge(self, purge: Purge, now: float) -> int:
        """Forget, or make stale."""
        for writer in self._writers:
            if matches(purge, writer.key, writer.stored):
                writer.purged = True
        keys = [purge.value] if purge.by == "key" else list(self._keys)
        count = 0
        for key in keys:
            for kept in [kept for kept in self._keys.get(key, ()) if matches(purge, key, kept.stored)]:
                count += 1
                if purge.soft:
                    self._put_head(key, kept, kept.stored.purged(now))
                else:
                    self._drop(key, kept)
        return count

    async def run(self) -> None:
        """There is nothing to do."""

    def close(self) -> None:
        """There is nothing to let go."""

    def take(self, writer: MemoryWriter, size: int) -> bool:
        """Room for *size* more bytes of what *writer* writes."""
        if not self._reserve(size):
            return False
        self.usage.size += size
        return True

    def put(self, writer: MemoryWriter, kept: MemoryKept) -> None:
        """What *writer* has written is stored from now on; the bytes that it had are the response's."""
        self._writers.discard(writer)
        variants = self._keys.pop(writer.key, [])
        replaced = variant(kept.stored, [other.stored for other in variants])
        if replaced is not None:
            self._forget(variants, next(other for other in variants if other.stored is replaced))
        elif len(variants) >= MOST_VARIANTS:
            self._forget(variants, variants[0])
        variants.append(kept)
        self._keys[writer.key] = variants
        self.usage.responses += 1

    def give_back(self, writer: MemoryWriter, size: int) -> None:
        """*writer* gives up what it has written."""
        self._writers.discard(writer)
        self.usage.size -= size

    def _reserve(self, size: int) -> bool:
        """Make room for *size* more bytes."""
        usage, most = self.usage, self.options.max_size
        while usage.size + size > most:
            key = next(iter(self._keys), None)
            if key is None:  # all that is left is being written
                return False
            variants = self._keys.pop(key)
            usage.evicted += len(variants)
            while variants:
                self._forget(variants, variants[0])
        return True

    def _put_head(self, key: bytes, kept: MemoryKept, stored: Stored) -> None:
        self.usage.size += weight(key, stored) - weight(key, kept.stored)
        kept.replace(stored)

    def _drop(self, key: bytes, kept: MemoryKept) -> None:
        variants = self._keys[key]
        self._forget(variants, kept)
        if not variants:
            del self._keys[key]

    def _forget(self, variants: list[MemoryKept], kept: MemoryKept) -> None:
        variants.remove(kept)
        self.usage.responses -= 1
        self.usage.size -= kept.weight


class MemoryKept:
    """A stored response in memory. It stays readable for whoever has it, even when it is evicted."""

    __slots__ = ("body", "key", "lines", "size", "stored")

    def __init__(self, key: bytes, stored: Stored, body: bytes) -> None:
        self.key = key
        self.body: bytes | None = body
        self.size = len(body)
        self.replace(stored)

    def replace(self, stored: Stored) -> None:
        """Have this head from now on."""
        self.stored = stored
        self.lines = b"".join([b"%b: %b\r\n" % field for field in whole(stored, self.size)])

    @property
    def weight(self) -> int:
        """Bytes that it takes."""
        return weight(self.key, self.stored) + self.size

    async def read(self, offset: int, most: int) -> bytes:
        """A part of the body."""
        assert self.body is not None
        return self.body[offset : offset + most]


class MemoryWriter:
    """A response on its way in."""

    def __init__(self, store: MemoryStore, key: bytes, stored: Stored) -> None:
        self.key = key
        self.stored = stored
        self.weight = weight(key, stored)
        self.purged = False
        self._store = store
        self._pieces: list[bytes] = []
        self._starts: list[int] = []
        """Where each piece begins."""
        self._size = 0
        self._open = True
        self._stored = False

    async def write(self, piece: bytes) -> bool:
        """Add to the body."""
        size = self._size + len(piece)
        if size > self._store.options.max_object or not self._store.take(self, len(piece)):
            return False
        self._pieces.append(piece)
        self._starts.append(self._size)
        self._size = size
        return True

    async def read(self, offset: int, most: int) -> bytes:
        """A part of what was written."""
        at = bisect_right(self._starts, offset) - 1
        begin = offset - self._starts[at]
        return self._pieces[at][begin : begin + most]

    async def commit(self) -> bool:
        """Store it."""
        if self.purged:
            return False
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._starts = [body], [0]
        self._store.put(self, MemoryKept(self.key, self.stored, body))
        self._stored = True
        return True

    def close(self) -> None:
        """Nobody reads from it any more."""
        if self._open:
            self._open = False
            if not self._stored:
                self._store.give_back(self, self.weight + self._size)


def weight(key: bytes, stored: Stored) -> int:
    """Bytes that a response takes beside its body."""
    fields = sum(FIELD + 2 * (len(name) + len(value)) for name, value in stored.fields)  # as fields, and as lines
    varying = sum(FIELD + len(name) + len(value or b"") for name, value in stored.vary)
    return OVERHEAD + len(key) + fields + varying + sum(FIELD + len(tag) for tag in stored.tags)


def matches(purge: Purge, key: bytes, stored: Stored) -> bool:
    """Whether *purge* means the response *stored* under *key*."""
    if purge.by == "key":
        return key == purge.value
    if purge.by == "prefix":
        return key.startswith(purge.value)
    return purge.value in stored.tags and (not purge.group or key.startswith(purge.group.encode() + b" "))
