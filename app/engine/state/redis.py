"""State kept in Redis or Valkey: what one machine spends, all machines have spent.

    there --no answer within the timeout, or an answer that helps nobody--> away --connected and tried--> there

Every decision is one run of SCRIPT, by the server's clock, so it is exact and no two machines' clocks have to agree.
Requests for one bucket in one turn of the loop ask together. With leases (app/domain/lease.py) most need not ask. While
Redis is away nobody waits: *fail_open* goes on with a bucket of this process's own, which begins full, *fail_closed*
answers 503. Keys expire when their bucket is full; `max_keys` bounds what is kept here, not there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha1
from random import Random
from typing import TYPE_CHECKING

from redis.exceptions import NoScriptError, ResponseError

from app.domain.bucket import Decision, Rule, TokenBucket
from app.domain.errors import ProxyError
from app.domain.lease import Key, Leases
from app.engine.state.channel import Channel, Closed, Reply, packed
from app.engine.state.memory import MemoryState
from settings.units import Rate

if TYPE_CHECKING:
    from settings.state import StateSettings

# One bucket: how many tokens are wanted and given back, its quota, its window, its rate (0 is a fixed window). The
# arithmetic is that of app/domain/bucket.py, which makes the decision from the answer. The epoch is 2026: the smaller a
# number, the finer.
SCRIPT = b"""\
local clock = redis.call('TIME')
local now = clock[1] - 1767225600 + clock[2] / 1000000
local want, back, quota = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window, rate = tonumber(ARGV[4]), tonumber(ARGV[5])
local mark = rate > 0 and now * rate or math.floor(now / window) * (quota + 1)
local from = mark
local kept = redis.call('GET', KEYS[1])
if kept then from = math.max(tonumber(kept) - back, mark) end
local granted = math.max(0, math.min(want, math.floor(quota + 0.001 - (from - mark))))
if granted > 0 or (kept and back > 0) then
  local full = rate > 0 and (from + granted - mark) / rate or window - now % window
  redis.call('SET', KEYS[1], string.format('%.17g', from + granted), 'PX', math.ceil(full * 1000) + 1)
end
return {granted, string.format('%.17g', from), string.format('%.17g', now)}
"""
_DIGEST = sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()

_TRIAL = TokenBucket("", Rate(1000, 1.0), 1000)
"""Is taken from when a connection is made, to see whether it can be."""

_log = logging.getLogger("l7lb.state")


class StateAway(ProxyError):
    """Redis is away, and nothing is let through that it has not seen."""

    status = 503
    error_type = "proxy_internal_error"
    retry_after = 1.0


class RedisState:
    """Buckets in Redis.

    Args:
        settings: kind redis.

        rng: for the times between attempts to come back.

    Attributes:
        outages: how often Redis went away.

        alone: takes that were decided or refused without it.
    """

    def __init__(self, settings: StateSettings, rng: Random) -> None:
        self._channel = Channel(settings.place, settings.timeout)
        self._closed = settings.away == "fail_closed"
        self._prefix = settings.prefix
        self._leases = Leases(settings.lease, settings.lease_time)
        self._rng = rng
        self._local = MemoryState()
        self._waiting: dict[Key, list[asyncio.Future[Decision | None]]] = {}
        self._asking: dict[Key, int] = {}
        self._terms: dict[str, tuple[Rule, bytes, tuple[bytes, bytes, bytes]]] = {}
        self._first = asyncio.Event()
        self._said = False
        self.outages = 0
        self.alone = 0

    @property
    def away(self) -> bool:
        """Whether takes are decided without Redis."""
        return not self._channel.open

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision | None:
        """Spend one token, if that can be told at once; None when `ask` has to be awaited. Raises StateAway."""
        decision = self._leases.spend((name, key), rule, now)
        if decision is None and not self._channel.open:
            return self._without(name, key, rule, now)
        return decision

    async def ask(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token, after `take` could not tell. Takes no longer than the timeout. Raises StateAway."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.get((name, key))
        if waiting is None:
            waiting = self._waiting[name, key] = []
            loop.call_soon(self._ask, (name, key), rule, now)
        answer: asyncio.Future[Decision | None] = loop.create_future()
        waiting.append(answer)
        decision = await answer
        return decision if decision is not None else self._without(name, key, rule, now)

    async def run(self) -> None:
        """The job: be connected, for ever."""
        try:
            await self._channel.keep(self._opened, self._gone, self._rng)
        finally:
            self._first.set()

    async def settle(self, patience: float) -> None:
        """Wait until Redis is there, or the first attempt has failed, for *patience* seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._first.wait()

    async def _opened(self) -> None:
        """Leave the script there, and try it: a replica, say, would refuse to write."""
        for command in (packed(b"SCRIPT", b"LOAD", SCRIPT), self._command(("", ""), _TRIAL, 1, 0)):
            reply = await self._channel.ask(command)
            if isinstance(reply, ResponseError):
                raise reply
            if reply is None:  # the channel says why
                return
        self._local = MemoryState()
        if self._said:
            self._said = False
            _log.info("state: redis at %s is back", self._channel.where)
        self._first.set()

    def _gone(self, error: Closed) -> bool:
        self._first.set()
        if self._said:
            return False
        self._said = True
        self.outages += 1
        what = "limited requests are answered 503" if self._closed else "each process's limits are its own"
        _log.warning("state: redis at %s is away (%s); meanwhile %s", self._channel.where, error, what)
        return True

    def _without(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        self.alone += 1
        if self._closed and not rule.dry_run:
            raise StateAway("redis is away")
        return self._local.take(name, key, rule, now)

    def _ask(self, key: Key, rule: Rule, now: float) -> None:
        """Ask for all that are waiting, and give back what is over."""
        waiting = [answer for answer in self._waiting.pop(key) if not answer.done()]
        if not self._channel.open:
            for answer in waiting:
                answer.set_result(None)
            return
        asking = self._asking.get(key, 0)
        more, back = (0, 0) if asking else self._leases.renew(key, rule, now)
        self._asking[key] = asking + 1
        self._send(key, rule, len(waiting) + more, back, partial(self._answered, key, rule, waiting, more, now))
        for other, its, left in self._leases.over(now):
            self._send(other, its, 0, left, _ignore)

    def _answered(
        self, key: Key, rule: Rule, waiting: list[asyncio.Future[Decision | None]], more: int, now: float, reply: Reply
    ) -> None:
        """Tell those who are waiting, and keep what is left."""
        self._asking[key] -= 1
        if not self._asking[key]:
            del self._asking[key]
        if not isinstance(reply, list):
            self._leases.forget(key)
            for answer in waiting:
                if not answer.done():
                    answer.set_result(None)
            return
        granted, start, server = int(reply[0]), float(reply[1]), float(reply[2])
        last = rule.take(start + max(0, granted - 1), server)[1]
        refused = last
        if granted < len(waiting) + more:
            after = rule.take(start + granted, server)[1]
            refused = Decision(rule, False, 0, after.reset, after.retry_after)
        for answer in waiting:
            granted -= 1
            if answer.done():  # its token is lost: what is held must not grow
                continue
            allowed = Decision(rule, True, last.remaining + granted, last.reset, 0.0)
            answer.set_result(allowed if granted >= 0 else refused)
        self._leases.grant(key, rule, max(0, granted), refused, now)

    def _send(self, key: Key, rule: Rule, want: int, back: int, then: Callable[[Reply], None]) -> None:
        def heard(future: asyncio.Future[Reply]) -> None:
            reply = future.result()
            if isinstance(reply, NoScriptError) and self._channel.open:  # somebody has emptied the server's cache
                again = self._channel.ask(self._command(key, rule, want, back, b"EVAL", SCRIPT))
                again.add_done_callback(heard)
                return
            if isinstance(reply, ResponseError):  # what one cannot do here, the next cannot either
                self._channel.close(str(reply))
            then(reply)

        self._channel.ask(self._command(key, rule, want, back)).add_done_callback(heard)

    def _command(
        self, key: Key, rule: Rule, want: int, back: int, verb: bytes = b"EVALSHA", script: bytes = _DIGEST
    ) -> bytes:
        name, own = key
        known = self._terms.get(name)
        if known is None or known[0] is not rule:
            rate = rule.rate if isinstance(rule, TokenBucket) else 0.0
            terms = f"{self._prefix}:{name}:{type(rule).__name__}/{rule.quota}/{rule.window!r}:".encode()
            known = (rule, terms, (b"%d" % rule.quota, repr(rule.window).encode(), repr(rate).encode()))
            self._terms[name] = known
        place = known[1] + own.encode("utf-8", "surrogatepass")
        return packed(verb, script, b"1", place, b"%d" % want, b"%d" % back, *known[2])


def _ignore(reply: Reply) -> None:
    """Nobody waits for what is given back."""
