"""A board in Redis or Valkey, on which machines meet.

Each operation is one script, by the server's clock. A table is a hash, whose fields are the notes:

    <prefix>:board:<table>            key -> revision:until:value; *until* in seconds of Unix time, or inf
    <prefix>:board:<table>:revision   of its last write
    <prefix>:lease:<name>             who has it

What is to last is as safe as the server keeps it: where it has an append-only file, a write returns when it is there.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from hashlib import sha1
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from app.engine.state.board import LARGEST, BoardAway, Conflict, Note, Table
from app.engine.state.channel import Channel, Closed, Reply, packed

if TYPE_CHECKING:
    from settings.state import StateSettings

TIMEOUT = 3.0
"""Seconds that an answer may take: no request waits for it, and an append-only file may be synced once a second."""
SYNC = 2.0
"""Seconds for that."""

_CLOCK = b"""\
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
"""
_WRITE = (
    _CLOCK
    + b"""\
local present = 0
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then
  local revision, till = string.match(kept, '^(%d+):([^:]+):')
  if till == 'inf' or tonumber(till) > now then present = tonumber(revision) end
end
if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= present then return {0, present} end
local revision = redis.call('INCR', KEYS[2])
if ARGV[2] == 'take' then redis.call('HDEL', KEYS[1], ARGV[1]) else
  local till = 'inf'
  if ARGV[4] ~= '' then till = string.format('%.6f', now + tonumber(ARGV[4])) end
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d:%s:', revision, till) .. ARGV[5])
end
return {revision, 0}
"""
)
_READ = (
    _CLOCK
    + b"""\
local found = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local revision, till, at = string.match(all[i + 1], '^(%d+):([^:]+):()')
  if till ~= 'inf' and tonumber(till) <= now then redis.call('HDEL', KEYS[1], all[i]) else
    local left = till
    if till ~= 'inf' then left = string.format('%.6f', tonumber(till) - now) end
    table.insert(found, {all[i], revision, left, string.sub(all[i + 1], at)})
  end
end
return found
"""
)
_LEASE = b"""\
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if tonumber(ARGV[2]) > 0 then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) else redis.call('DEL', KEYS[1]) end
return 1
"""
_SCRIPTS = (_WRITE, _READ, _LEASE)
_DIGESTS = {script: sha1(script, usedforsecurity=False).hexdigest().encode() for script in _SCRIPTS}
_TRIAL = Table("trial")

log = logging.getLogger("l7lb.state")


class RedisBoard:
    """Notes in Redis.

    Args:
        settings: kind redis.

        rng: for the times between attempts to come back.
    """

    lone = False
    lasting = True

    def __init__(self, settings: StateSettings, rng: Random) -> None:
        self._channel = Channel(settings.place, TIMEOUT)
        self.place = f"redis at {self._channel.where}"
        self._prefix = settings.prefix
        self._rng = rng
        self._first = asyncio.Event()
        self._why = "not connected yet"
        self._away = False
        self._synced = False
        self._warned = False

    async def run(self) -> None:
        """The job: be connected, for ever."""
        await self._channel.keep(self._opened, self._gone, self._rng)

    async def settle(self, patience: float) -> None:
        """Wait until Redis is there, or the first attempt has failed, for *patience* seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._first.wait()

    async def revision(self, table: Table) -> int:
        """Of the last write."""
        return int(await self._ask(b"GET", self._key(table) + b":revision") or 0)

    async def read(self, table: Table) -> dict[str, Note]:
        """All notes of *table* by key."""
        found = await self._run(_READ, [self._key(table)])
        return {
            key.decode("utf-8", "surrogatepass"): Note(value, int(revision), float(left))
            for key, revision, left, value in found
        }

    async def write(
        self, table: Table, key: str, value: bytes | None, *, expected: int | None = None, seconds: float = inf
    ) -> int:
        """Write a note, or take it away: see `Board.write`."""
        if value is not None and len(value) > LARGEST:
            raise ValueError(f"a note of {len(value)} bytes; {LARGEST} is the limit")
        revision, present = await self._run(
            _WRITE,
            [self._key(table), self._key(table) + b":revision"],
            key.encode("utf-8", "surrogatepass"),
            b"take" if value is None else b"put",
            b"" if expected is None else b"%d" % expected,
            b"" if seconds == inf else b"%.6f" % seconds,
            value or b"",
        )
        if not revision:
            raise Conflict(present)
        if table.lasting and self._synced:
            synced = await self._ask(b"WAITAOF", b"1", b"0", b"%d" % (SYNC * 1000))
            if not synced[0]:
                raise BoardAway(f"{self.place}: not in its append-only file within {SYNC:g} s")
        return int(revision)

    async def lease(self, name: str, holder: str, seconds: float) -> bool:
        """Whether *holder* has the lease *name* from now on."""
        key = f"{self._prefix}:lease:{name}".encode()
        return bool(await self._run(_LEASE, [key], holder.encode(), b"%d" % (seconds * 1000)))

    def _key(self, table: Table) -> bytes:
        return f"{self._prefix}:board:{table.name}".encode()

    async def _opened(self) -> None:
        """Leave the scripts there, see how safe it is, and try it: a replica, say, would refuse to write."""
        for script in _SCRIPTS:
            await self._tell(b"SCRIPT", b"LOAD", script)
        key = self._key(_TRIAL)
        await self._tell(b"EVALSHA", _DIGESTS[_WRITE], b"2", key, key + b":revision", b"", b"take", b"", b"", b"")
        await self._look_how_safe()
        if self._away:
            self._away = False
            log.warning("the board: %s is back", self.place)
        self._first.set()

    async def _look_how_safe(self) -> None:
        said: dict[str, str] = {}
        for name in ("appendonly", "save"):
            reply = await self._channel.ask(packed(b"CONFIG", b"GET", name.encode()))
            if isinstance(reply, list) and len(reply) == 2:
                said[name] = reply[1].decode()
        reply = await self._channel.ask(packed(b"WAITAOF", b"0", b"0", b"0"))
        self._synced = said.get("appendonly") == "yes" and isinstance(reply, list)
        if said.get("appendonly") == "no" and not self._warned:
            self._warned = True
            kept = "loses what was written since its last snapshot" if said.get("save") else "keeps nothing"
            log.warning(
                "%s has no append-only file, so that it %s when it ends: registrations may be lost; set appendonly yes",
                self.place, kept,
            )  # fmt: skip

    async def _tell(self, *parts: bytes) -> None:
        """Raises ResponseError."""
        reply = await self._channel.ask(packed(*parts))
        if isinstance(reply, ResponseError):
            raise reply

    def _gone(self, error: Closed) -> bool:
        self._first.set()
        self._why = str(error)
        if self._away:
            return False
        self._away = True
        log.warning("the board: %s is away (%s); what it said last stays", self.place, error)
        return True

    async def _run(self, script: bytes, keys: list[bytes], *arguments: bytes) -> Any:
        rest = (b"%d" % len(keys), *keys, *arguments)
        try:
            return await self._ask(b"EVALSHA", _DIGESTS[script], *rest)
        except NoScriptError:  # somebody has emptied the server's cache
            return await self._ask(b"EVAL", script, *rest)

    async def _ask(self, *parts: bytes) -> Any:
        """Raises BoardAway."""
        if not self._channel.open:
            raise BoardAway(f"{self.place}: {self._why}")
        reply: Reply = await self._channel.ask(packed(*parts))
        if isinstance(reply, NoScriptError):
            raise reply
        if isinstance(reply, ResponseError):
            self._channel.close(str(reply))  # what one cannot do here, the next cannot either
            raise BoardAway(f"{self.place}: {reply}")
        if not self._channel.open:  # it closed before there was an answer, or GET found nothing just then
            raise BoardAway(f"{self.place}: the connection ended")
        return reply
