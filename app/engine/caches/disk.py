"""Stored responses on a local disk, for all workers of a machine: the one not used for the longest time goes first.

    <directory>/index-<boot id>    what there is: app/engine/caches/disk_index.py
    <directory>/incoming/<number>  what is being written, each locked by its writer
    <directory>/objects/xx/<number>  what is stored: app/engine/caches/object_file.py

Only the index says what is stored, so a kill at any moment leaves a response whole or not at all; what it leaves lying
about is taken away by the next process that starts. After a reboot the index is made again from the heads of the files.
What was purged just before a power loss may be there again then, so none of it is used before it has been validated,
and its body is checked before the first byte of it is sent.
Looking into the index is done at once; files are read and written, and the index changed, in a few threads. Small
bodies that were used last are in memory, too. It is longer than most: what is on disk is changed in one place.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic, time
from typing import TypeVar

import lmdb
from pydantic import Field, field_validator

from app.domain.cache.stored import Stored, Unreadable, decoded
from app.domain.seldom import Seldom
from app.engine.caches.disk_index import Index, Record, ticks
from app.engine.caches.disk_response import DiskKept, DiskWriter, weighed
from app.engine.caches.object_file import Damaged, Growing, Whole, abandoned
from app.engine.caches.store import Lost, Purge, StoreOptions, Usage
from settings.problems import Wrong
from settings.units import Size

THREADS = 4
"""That read and write for one store."""
TOUCH = 10_000_000
"""Microseconds in which a response is used for the first time, as far as the order of use is concerned."""
ORDER = 1.0
"""Seconds between two times that the order of use is written down."""

T = TypeVar("T")
_log = logging.getLogger("l7lb")


class DiskStore:
    """Responses under a directory.

    Raises:
        OSError, lmdb.Error: it cannot be used.
    """

    shared = True
    """A purge by one is a purge for all."""

    class Options(StoreOptions):
        """Those of a store on disk."""

        directory: str = Field(min_length=1)
        """Where; a local disk, for this alone. It is made when it is not there."""
        max_size: Size = 2**30
        max_object: Size = 64 * 2**20
        memory: Size = 16 * 2**20
        """Bytes of small bodies, those that were used last, that each process keeps in memory besides."""

        @field_validator("directory")
        @classmethod
        def _usable(cls, value: str) -> str:
            path = Path(value).absolute()
            while not path.exists() and path != path.parent:
                path = path.parent
            if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
                raise Wrong(f"{path} is no directory that can be written to", "write another, or let us write to it")
            return value

    def __init__(self, options: Options) -> None:
        self.options: StoreOptions = options
        self.usage = Usage()
        self._directory = Path(options.directory)
        for name in ("incoming", "objects"):
            (self._directory / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._index = Index.open(self._directory, options.max_size)
        self._threads = ThreadPoolExecutor(THREADS, "cache")
        self._used: dict[bytes, Record] = {}
        self._closing = False
        self._seldom = Seldom()
        self._hot: OrderedDict[bytes, bytes] = OrderedDict()
        self._room = options.memory
        self._count()

    def peek(self, key: bytes) -> Sequence[DiskKept]:
        """The variants of *key*."""
        try:
            found = self._index.find(key)
        except lmdb.Error as error:
            self._say(error)
            return ()
        now = ticks()
        for record in found:
            if now - record.used > TOUCH:
                self._used[record.number] = record
        return [DiskKept(self, record, self._warm(record.number)) for record in found]

    async def find(self, key: bytes) -> Sequence[DiskKept]:
        """The variants of *key*."""
        return self.peek(key)

    async def write(self, key: bytes, stored: Stored, length: int | None) -> DiskWriter | None:
        """Begin to store a response."""
        if length is not None and length > self.options.max_object:
            return None
        number, head = os.urandom(8), stored.encoded()
        weight = weighed(key, head, length or 0)

        def begin() -> Growing:
            self._touch()
            begun.append(self._index.purges())
            self._evict(self._index.reserve(number, weight, self.options.max_size))
            try:
                return Growing(self._directory / "incoming" / number.hex(), key, head)
            except OSError:
                self._index.release(number)
                raise

        begun: list[int] = []
        file = await self.attempt(begin, None)
        return DiskWriter(self, file, number, key, stored, head, begun[0], length or 0) if file is not None else None

    async def update(self, key: bytes, stored: Stored) -> bool:
        """Replace the head of the response that has the same stamp."""
        return await self.attempt(lambda: self._index.update(key, stored), False)

    async def purge(self, purge: Purge, now: float) -> int:
        """Forget, or make stale; also what other workers are writing."""

        def work() -> int:
            count = 0
            for number in self._index.purge(purge, now):
                count += 1
                if number is not None:
                    self.path(number).unlink(missing_ok=True)
            self._count()
            return count

        return await self.attempt(work, 0)

    async def run(self) -> None:
        """Look what was left by others, then write down what is used, and take away what is over."""
        await self.attempt(self._look_through, None)
        while True:
            await asyncio.sleep(ORDER)
            await self.attempt(self._touch, None)

    def close(self) -> None:
        """No more of it."""
        self._closing = True
        self._threads.shutdown()
        self._index.close()

    def _warm(self, number: bytes) -> bytes | None:
        """A body that is at hand: that of a number never changes, and the index says whether it is still stored."""
        if (body := self._hot.get(number)) is not None:
            self._hot.move_to_end(number)
        return body

    # For those that it gives...

    def keep(self, number: bytes, body: bytes) -> None:
        """Have a small body at hand from now on."""
        self._room -= len(body) - len(self._hot.pop(number, b""))
        self._hot[number] = body
        while self._room < 0:
            self._room += len(self._hot.popitem(last=False)[1])

    def path(self, number: bytes) -> Path:
        """Of the file of a response."""
        name = number.hex()
        return self._directory / "objects" / name[:2] / name

    async def attempt(self, work: Callable[[], T], otherwise: T) -> T:
        """What *work* returns, in a thread; *otherwise* when the disk does not let it."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._attempt, work, otherwise)

    def _attempt(self, work: Callable[[], T], otherwise: T) -> T:
        try:
            return work()
        except lmdb.MapFullError:
            return otherwise
        except (OSError, lmdb.Error) as error:
            self._say(error)
            return otherwise

    def _say(self, error: Exception) -> None:
        if self._seldom.now(monotonic()):  # a disk that is full is so at each response
            _log.warning("cache: %s: %s", self._directory, error)

    def later(self, work: Callable[[], None]) -> None:
        """Do *work* in a thread; nobody waits."""
        with suppress(RuntimeError):  # closed: the next process takes away what is left
            self._threads.submit(self._attempt, work, None)

    def grow(self, number: bytes, size: int) -> None:
        """Keep *size* more bytes free for what is being written. Raises lmdb.MapFullError."""
        self._evict(self._index.reserve(number, size, self.options.max_size))

    def put(self, file: Growing, record: Record, begun: int) -> bool:
        """Store it, whole and all at once. Raises OSError, lmdb.Error."""
        file.finish(self.path(record.number))
        return self._commit(record, begun)

    def _commit(self, record: Record, begun: int) -> bool:
        outcome = self._index.commit(record, begun, self.options.max_size)
        self._evict(outcome.evicted)
        for number in outcome.replaced:
            self.path(number).unlink(missing_ok=True)
        self._count()
        return outcome.stored

    def give_up(self, file: Growing, number: bytes) -> None:
        """It will not be stored."""
        with suppress(OSError):
            file.path.unlink()
        self._index.release(number)
        self._count()

    def open(self, record: Record) -> Whole:
        """Its file. Raises Lost; then it is forgotten."""
        try:
            file = Whole(self.path(record.number))
            if file.key != record.key or file.size != record.size:
                raise Damaged("another response")
            if not record.checked:
                file.check()
                self._index.checked(record)
        except (OSError, Damaged) as error:
            self._index.drop(record)
            self._count()
            with suppress(OSError):
                self.path(record.number).unlink()
            raise Lost(str(error)) from None
        return file

    def _evict(self, numbers: Sequence[bytes]) -> None:
        self.usage.evicted += len(numbers)
        for number in numbers:
            self.path(number).unlink(missing_ok=True)

    def _touch(self) -> None:
        used, self._used = self._used, {}
        if used:
            self._index.touch(used.values(), ticks())
        self._count()

    def _count(self) -> None:
        with suppress(lmdb.Error):
            self.usage.responses, self.usage.size = self._index.usage()

    def _look_through(self) -> None:
        """Take away what killed processes have left; after a reboot, take in what is whole."""
        with (self._directory / "looking").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # another worker does
                return
            incoming = self._directory / "incoming"
            for path in incoming.iterdir():
                with abandoned(path) as is_left:
                    if is_left:
                        path.unlink(missing_ok=True)
            for number in self._index.pending():
                if not (incoming / number.hex()).exists() and not self.path(number).exists():
                    self._index.release(number)
            is_new = not self._index.looked_through
            for path in (self._directory / "objects").glob("*/*"):
                if self._closing:
                    return
                with suppress(ValueError):
                    self._look_at(path, bytes.fromhex(path.name), is_new)
            if is_new:
                self._index.look_no_more()

    def _look_at(self, path: Path, number: bytes, is_new: bool) -> None:
        """Take in, or away, a file that is not in the index."""
        with abandoned(path) as is_left:
            if not is_left:
                return
            try:
                file = Whole(path)
                if self._index.has(number, file.key):
                    return
                if not is_new:
                    raise Damaged("nobody's")
                stored = decoded(file.head).purged(time())
                weight = weighed(file.key, file.head, file.size)
                record = Record(number, file.key, stored, file.size, weight, 0, checked=False)
                is_stored = self._commit(record, self._index.purges())
            except FileNotFoundError:  # evicted in this very moment
                return
            except (Damaged, Unreadable):
                is_stored = False
            if not is_stored:
                path.unlink(missing_ok=True)
                self._index.release(number)
