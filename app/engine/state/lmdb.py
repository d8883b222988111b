"""State kept in LMDB: what one worker spends, all workers of the machine have spent.

A take is one write transaction. LMDB lets one writer in at a time, over all processes, by a lock that a killed process
does not keep; so what is allowed is exact. Buckets go by the monotonic clock, which is the same in all processes and
begins again with the machine: the environment is of one boot, `counters-<boot id>`, and is never synced to the disk.

    key      8 bytes that stand for limiter and rule, "=", the key; those 8 bytes alone say how many there are
    value    the number that the rule keeps (app/domain/bucket.py), and when the bucket will be full (monotonic seconds)

No limiter has more than `max_keys` buckets. A new key looks at LOOK others, from where the last one stopped: up to two
that are full make room, and at the limit the fullest of those. What is full when a worker starts is taken out then.
"""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from time import monotonic

import lmdb

from app.domain.bucket import Decision, Rule
from app.engine.environment import opened, take_room
from app.engine.state.directory import Held, boot_id
from app.engine.state.memory import MemoryState

LOOK = 8
"""Buckets that a new key looks at."""

_LONGEST = 64
"""Bytes of a key as it is; a longer one is kept as a digest, so that it is known what `max_keys` buckets take."""
_SHARE = 256
"""Bytes of the map for each key: 99 of the longest, in pages at worst half full, and what changes is written anew."""
_UNIT = 1024 * 1024
_SMALLEST = 16 * _UNIT
_ROUND = 1000
"""Buckets that are looked at in one transaction, for the other workers wait meanwhile."""
_WIDTH = 8

_value = Struct("<dd")
_count = Struct("<q")
_log = logging.getLogger("l7lb.state")


class LmdbState:
    """Buckets in *directory*, which `close` releases.

    Args:
        keys: how many buckets there may be, of all limiters together.

        size: bytes of the map; what *keys* need when None. They are taken from the disk at once, so that a full disk
            does no harm later on.

    Attributes:
        alone: takes that LMDB could not do; a bucket of this process's own decided them.

    Raises:
        OSError: there is no room on the disk.

        lmdb.Error: the environment cannot be opened, or this process has it open.
    """

    def __init__(self, directory: Held, keys: int = 100_000, *, size: int | None = None) -> None:
        self._directory = directory
        self._path = path = directory.path / f"counters-{boot_id()}"
        for old in directory.path.glob("counters-*"):
            if old != path:  # of a clock that has begun again since
                shutil.rmtree(old, ignore_errors=True)
        self._env = _opened(path, size or room(keys))
        self._begin = self._env.begin
        self._tables: dict[str, _Table] = {}
        self._alone = MemoryState()
        self.alone = 0
        self._env.reader_check()  # of killed processes: what they were reading would stay for ever
        self._sweep(monotonic())

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token. A limiter whose rule was changed by a reload starts again with full buckets."""
        table = self._tables.get(name)
        if table is None or (table.rule is not rule and not table.rule.same(rule)):
            table = self._tables[name] = _Table(name, rule)
        own = key.encode("utf-8", "surrogatepass")
        own = table.prefix + (own if len(own) <= _LONGEST else blake2b(own, digest_size=_LONGEST).digest())
        try:
            with self._begin(write=True) as txn:
                found = txn.get(own)
                if found is not None:
                    number, decision = rule.take(_value.unpack(found)[0], now)
                    if decision.allowed:
                        txn.put(own, _value.pack(number, now + decision.reset))
                    return decision
                number, decision = rule.take(0, now)
                count = table.make_room(txn, rule.max_keys, now)
                txn.put(own, _value.pack(number, now + decision.reset))
                txn.put(table.head, _count.pack(count + 1))
                return decision
        except lmdb.Error as error:
            self._failed(error)
            return self._alone.take(name, key, rule, now)

    def make_room(self, keys: int) -> None:
        """Have room for so many buckets, for a reload brought limiters; where the disk has none, the log says so."""
        size = room(keys)
        if size <= self._env.info()["map_size"]:
            return
        try:
            take_room(self._path / "data.mdb", size)
        except OSError as error:
            _log.error("state in %s: no room for %d buckets: %s", self._directory.path, keys, error.strerror)
            return
        self._env.set_mapsize(size)

    def close(self) -> None:
        """Use the directory no more."""
        self._env.close()
        self._directory.release()

    def __len__(self) -> int:
        """How many buckets there are, of all limiters."""
        with self._begin() as txn:
            return sum(1 for key, _ in txn.cursor() if len(key) > _WIDTH)

    def _failed(self, error: lmdb.Error) -> None:
        """Say it once, and mend what can be mended."""
        self.alone += 1
        where = self._directory.path
        if isinstance(error, lmdb.MapFullError):
            _log.warning("state in %s: full, so all buckets are dropped and begin again", where)
        elif self.alone == 1 and not isinstance(error, lmdb.MapResizedError):
            _log.error("state in %s: %s; as long as it lasts, this worker's limits are its own", where, error)
        with suppress(lmdb.Error):
            if isinstance(error, lmdb.MapResizedError):  # by a worker that was started with more keys
                self._env.set_mapsize(0)
            elif isinstance(error, lmdb.MapFullError):  # with buckets of rules that nobody has any more
                main = self._env.open_db(None)
                with self._begin(write=True) as txn:
                    txn.drop(main, delete=False)

    def _sweep(self, now: float) -> None:
        """Take out every bucket that is full, whatever limiter it is of."""
        start = b"\0"
        while start:
            with self._begin(write=True) as txn:
                start = _sweep_some(txn, start, now)


class _Table:
    """The buckets of one limiter under one rule: there can be those of an older rule beside it until they are full."""

    __slots__ = ("_hand", "head", "prefix", "rule")

    def __init__(self, name: str, rule: Rule) -> None:
        self.rule = rule
        says = f"{name}\0{type(rule).__name__}\0{rule.quota}\0{rule.window!r}"
        self.head = blake2b(says.encode(), digest_size=_WIDTH).digest()
        self.prefix = self._hand = self.head + b"="

    def make_room(self, txn: lmdb.Transaction[bytes], most: int, now: float) -> int:
        """Take out up to two full buckets, and then some until there are fewer than *most*. Returns how many stay."""
        found = txn.get(self.head)
        count: int = _count.unpack(found)[0] if found is not None else 0
        seen: list[tuple[float, bytes]] = []
        cursor = txn.cursor()
        cursor.set_range(self._hand)
        for _ in range(min(LOOK, count)):
            key, value = cursor.item()
            if not key.startswith(self.prefix):
                cursor.set_range(self.prefix)
                key, value = cursor.item()
            seen.append((_value.unpack(value)[1], key))
            cursor.next()
        self._hand = max(cursor.key(), self.prefix)
        seen.sort(reverse=True)
        freed = 0
        while seen and ((seen[-1][0] <= now and freed < 2) or count >= most):
            txn.delete(seen.pop()[1])
            freed += 1
            count -= 1
        return count


def room(keys: int) -> int:
    """Bytes of the map for *keys* buckets."""
    return max(_SMALLEST, -(-keys * _SHARE // _UNIT) * _UNIT)


def _opened(path: Path, size: int) -> lmdb.Environment:
    """The environment, with its room on the disk taken."""
    with (path.parent / "opening").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # else one takes room where another writes already
        env = opened(path, size=size, sync=False, metasync=False, writemap=True, meminit=False, max_spare_txns=1)
        try:
            take_room(path / "data.mdb", env.info()["map_size"])
        except OSError:
            env.close()
            raise
        return env


def _sweep_some(txn: lmdb.Transaction[bytes], start: bytes, now: float) -> bytes:
    """Take out what is full among the next buckets from *start*. Returns where to go on, empty at the end."""
    gone: Counter[bytes] = Counter()
    cursor = txn.cursor()
    cursor.set_range(start)
    for _ in range(_ROUND):
        key, value = cursor.item()
        if len(key) > _WIDTH and _value.unpack(value)[1] <= now:
            gone[key[:_WIDTH]] += 1
            cursor.delete()
        elif not cursor.next():
            break
    end = cursor.key()
    for head, number in gone.items():
        (count,) = _count.unpack(txn.get(head, _count.pack(number)))
        if count > number:
            txn.put(head, _count.pack(count - number))
        else:
            txn.delete(head)
    return end
