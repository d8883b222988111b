"""Stored responses in Redis or Valkey, shared by machines: app/engine/caches/redis_scripts.py says what is where.

A body is there in pieces, written while it comes in; the head, by which it is found, comes last, in one script that
also replaces, evicts, and refuses what a purge has come for. While Redis is away, or slow, nothing is found and
nothing is stored: a miss, never an error. Bodies on their way in are in memory here, too, so that who reads along needs
no Redis.
It is longer than most: what finds, reads and writes is one piece.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from importlib.util import find_spec
from random import Random
from struct import Struct
from time import time
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, field_validator, model_validator

from app.domain.cache.stored import Stored, Unreadable, decoded
from app.engine.caches import redis_scripts
from app.engine.caches.store import MOST_VARIANTS, Lost, Purge, StoreOptions, Usage
from settings.problems import Wrong
from settings.state import redis_url
from settings.units import Duration, Size

if TYPE_CHECKING:
    from app.engine.caches.redis_link import Link, Script
    from app.engine.state.channel import Reply

PIECE = 256 * 1024
"""Bytes of a body under one key."""
AT_ONCE = 64 * 1024
"""Bytes of bodies that come with what is found."""
OVERHEAD = 1024
"""Bytes that a response takes in Redis beside key, head and body: a dozen keys and members, measured."""
WRITING = 64 * 2**20
"""Bytes of bodies that may be on their way in at once, in one process."""
UNFINISHED = b"600000"
"""Milliseconds for which pieces of a body are kept whose head does not come."""
LINGER = 60.0
"""Seconds that a response is there after it is over, for the job to take out."""
SWEEP = 5.0
"""Seconds between two looks for what is over."""

_length = Struct("!I")


class RedisStore:
    """Responses in Redis."""

    shared = True
    """A purge by one is a purge for all."""

    class Options(StoreOptions):
        """Those of a store in Redis."""

        url: str = Field(min_length=1)
        """Where: `redis://`, `rediss://` (TLS) or `unix://`."""
        prefix: str = Field(default="l7lb", pattern=r"^[A-Za-z0-9._:{}-]{1,64}$")
        """What its keys begin with; balancers that share responses have the same."""
        timeout: Duration = Field(default=0.25, ge=0.001)
        """Redis does not answer within this time: it is away."""
        max_size: Size = 2**30
        max_object: Size = 8 * 2**20

        @field_validator("url")
        @classmethod
        def _a_url(cls, value: str) -> str:
            if value.partition("://")[0] not in ("redis", "rediss", "unix"):
                raise Wrong(
                    "not a URL of Redis", 'write "redis://host:6379/0", "rediss://..." or "unix:///run/redis.sock"'
                )
            return redis_url(value)

        @model_validator(mode="after")
        def _is_installed(self) -> Self:
            if find_spec("redis") is None:
                raise Wrong("redis is not installed", "pip install l7lb[redis]")
            return self

    def __init__(self, options: Options, rng: Random | None = None) -> None:
        from app.engine.caches.redis_link import Link, Script  # noqa: PLC0415  # an extra

        self.options: StoreOptions = options
        self.usage = Usage()
        self.writing = 0
        self._prefix = options.prefix.encode() + b":cache:"
        names = (
            redis_scripts.FIND,
            redis_scripts.COMMIT,
            redis_scripts.UPDATE,
            redis_scripts.PURGE,
            redis_scripts.SWEEP,
        )
        scripts = [Script(name) for name in names]
        self._find, self._commit, self._update, self._purge, self._sweep = scripts
        self.link: Link = Link(options.url, options.timeout, scripts, rng or Random())

    def peek(self, key: bytes) -> Sequence[RedisKept] | None:
        """Nothing, while Redis is away; else it has to be asked."""
        return None if self.link.open else ()

    async def find(self, key: bytes) -> Sequence[RedisKept]:
        """The variants of *key*."""
        reply = await self._run(self._find, key, b"%d" % AT_ONCE)
        found = []
        for number, head, size, body in reply if isinstance(reply, list) else ():
            try:
                found.append(RedisKept(self, number, decoded(head), int(size), body))
            except Unreadable:  # of a balancer of another version
                continue
        return found

    async def write(self, key: bytes, stored: Stored, length: int | None) -> RedisWriter | None:
        """Begin to store a response."""
        if length is not None and length > self.options.max_object:
            return None
        if self.writing + (length or 0) > WRITING or OVERHEAD + (length or 0) > self.options.max_size:
            return None
        begun = await self.link.ask(b"GET", self._prefix + b"purge")
        if not self.link.open or isinstance(begun, Exception):
            return None
        return RedisWriter(self, key, stored, int(begun or 0))

    async def update(self, key: bytes, stored: Stored) -> bool:
        """Replace the head of the response that has the same stamp."""
        return await self._put_head(key, stored, b"")

    async def purge(self, purge: Purge, now: float) -> int:
        """Forget, or make stale; also what others are writing."""
        by, soft = purge.by[0].encode(), b"s" if purge.soft else b"h"
        count, after = 0, b""
        while True:
            reply = await self._run(
                self._purge, by, purge.group.encode(), purge.value, soft, after, _behind(purge.value)
            )
            if not isinstance(reply, list):
                return count
            after, found, *usage = reply
            self._count(usage)
            count += len(found)
            if purge.soft:
                await asyncio.gather(*(self._soften(key, head, now) for key, _, head in found))
            if not after:
                return count

    async def run(self) -> None:
        """Be connected, and take out what is over."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.link.run())
            tasks.create_task(self._tidy())

    def close(self) -> None:
        """There is nothing to let go but what `run` had."""

    # For those that it gives...

    def place(self, number: bytes, piece: int) -> bytes:
        """The key of a piece of a body."""
        return b"%bb:%b:%d" % (self._prefix, number, piece)

    async def commit(self, writer: RedisWriter, size: int) -> bool:
        """Have it found from now on."""
        stored, head = writer.stored, writer.stored.encoded()
        weight = OVERHEAD + 2 * len(writer.key) + len(head) + size
        reply = await self._run(
            self._commit, writer.key, writer.number, b"%d" % weight, _milliseconds(stored), b"%d" % writer.begun,
            b"%d" % self.options.max_size, b"%d" % MOST_VARIANTS, head, b"%d" % size, b"%d" % -(-size // PIECE),
            b"%d" % stored.stamp, _variant(stored), b"\0".join(stored.tags),
        )  # fmt: skip
        if not isinstance(reply, list):
            return False
        self.usage.evicted += reply[1]
        self._count(reply[2:])
        return bool(reply[0])

    async def _put_head(self, key: bytes, stored: Stored, before: bytes) -> bool:
        stamp, head = b"%d" % stored.stamp, stored.encoded()
        return bool(await self._run(self._update, key, stamp, head, _milliseconds(stored), before) == 1)

    async def _soften(self, key: bytes, head: bytes, now: float) -> None:
        try:
            stored = decoded(head)
        except Unreadable:
            return
        if not await self._put_head(key, stored.purged(now), head):  # validated in this moment, or gone
            for kept in await self.find(key):
                if kept.stored.stamp == stored.stamp:
                    await self._put_head(key, kept.stored.purged(now), b"")

    async def _run(self, script: Script, *arguments: bytes) -> Any:
        return await self.link.run_script(script, self._prefix, *arguments)

    def _count(self, usage: Sequence[int]) -> None:
        self.usage.size, self.usage.responses = usage[0], usage[1]

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            if isinstance(usage := await self._run(self._sweep), list):
                self._count(usage)


class RedisKept:
    """A stored response in Redis."""

    __slots__ = ("_number", "_store", "body", "size", "stored")
    lines = b""

    def __init__(self, store: RedisStore, number: bytes, stored: Stored, size: int, body: bytes | None) -> None:
        self.stored = stored
        self.size = size
        self.body = body
        self._store = store
        self._number = number

    async def read(self, offset: int, most: int) -> bytes:
        """A part of the body."""
        if self.body is not None:
            return self.body[offset : offset + most]
        piece, at = divmod(offset, PIECE)
        place = self._store.place(self._number, piece)
        data = await self._store.link.ask(b"GETRANGE", place, b"%d" % at, b"%d" % (at + most - 1))
        if not isinstance(data, bytes) or not data:
            raise Lost("evicted, or Redis is away")
        return data


class RedisWriter:
    """A response on its way in."""

    def __init__(self, store: RedisStore, key: bytes, stored: Stored, begun: int) -> None:
        self.key = key
        self.stored = stored
        self.number = os.urandom(8).hex().encode()
        self.begun = begun
        self._store = store
        self._body = bytearray()
        self._sent = 0
        self._replies: list[asyncio.Future[Reply]] = []
        self._is_sound = True
        self._is_stored = False
        self._is_open = True

    async def write(self, piece: bytes) -> bool:
        """Add to the body."""
        store = self._store
        if len(self._body) + len(piece) > store.options.max_object or store.writing + len(piece) > WRITING:
            self._is_sound = False
        if not self._is_sound:
            return False
        self._body += piece
        store.writing += len(piece)
        while len(self._body) - self._sent >= PIECE:
            self._send(PIECE)
        if len(self._replies) > 2:
            await self._check(1)
        return True

    async def read(self, offset: int, most: int) -> bytes:
        """A part of what was written."""
        return bytes(self._body[offset : offset + most])

    async def commit(self) -> bool:
        """Store it."""
        if self._sent < len(self._body):
            self._send(len(self._body) - self._sent)
        await self._check(0)
        self._is_stored = self._is_sound and await self._store.commit(self, len(self._body))
        return self._is_stored

    def close(self) -> None:
        """Nobody reads from it any more."""
        if not self._is_open:
            return
        self._is_open = False
        self._store.writing -= len(self._body)
        if not self._is_stored and self._sent:
            pieces = range(-(-self._sent // PIECE))
            self._store.link.send(b"UNLINK", *(self._store.place(self.number, piece) for piece in pieces))

    def _send(self, size: int) -> None:
        place = self._store.place(self.number, self._sent // PIECE)
        data = bytes(self._body[self._sent : self._sent + size])
        reply = self._store.link.send(b"SET", place, data, b"PX", UNFINISHED)
        self._sent += size
        if reply is None:
            self._is_sound = False
        else:
            self._replies.append(reply)

    async def _check(self, left: int) -> None:
        """Wait for the answers to all that was sent but for the last *left*."""
        while len(self._replies) > left:
            reply: Any = await self._replies.pop(0)
            if reply != b"OK":
                self._is_sound = False


def _milliseconds(stored: Stored) -> bytes:
    return b"%d" % (1000 * max(LINGER, stored.until - time() + LINGER))


def _variant(stored: Stored) -> bytes:
    """Equal for those that take each other's place."""
    pieces: list[bytes] = []
    for name, value in stored.vary:
        for text in (name, b"-" if value is None else b"+" + value):
            pieces += (_length.pack(len(text)), text)
    return b"".join(pieces)


def _behind(prefix: bytes) -> bytes:
    """The upper bound of all that begins with *prefix*, as ZRANGEBYLEX has it."""
    kept = prefix.rstrip(b"\xff")
    return b"(" + kept[:-1] + bytes([kept[-1] + 1]) if kept else b"+"
