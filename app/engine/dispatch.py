"""Begins and ends the attempts at one pool: within its limits, its queue and its budget of retries.

It is longer than most, for who begins, who waits and who ends an attempt count the same places, in one piece.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import inf
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from app.domain.attempt import Attempt
from app.domain.breaker import CLOSED
from app.domain.budget import Budget
from app.domain.errors import ClientGone, Full
from app.domain.gradient import Gradient
from app.domain.quantile import Quantile
from app.domain.queue import Queue
from app.domain.retry import Again, RetryPolicy
from app.domain.sticky import Sticky
from app.engine.retry_after import retry_after_of

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.domain.errors import ProxyError
    from app.domain.headers import Fields
    from app.domain.pool import Pool
    from app.engine.outbound import Outbound

BUSY: Final = frozenset({429, 503})
"""Statuses whose `Retry-After` says how long a backend wants to be left alone."""
LOOK: Final = 0.05
"""Seconds, after which who waits looks for room that no end of an attempt has made: a backend is back, or none is."""


class Turn:
    """One that waits: *future* ends when it may try again."""

    __slots__ = ("future",)

    future: asyncio.Future[None]


class Dispatcher:
    """What one pool needs beside its backends.

    Attributes:
        requests: how many there were, retries and hedges left out.

        retries: how many second attempts there were, and why there was none, by the reasons of `RetryPolicy`.

        sticky: its cookies; None where there are none.

        delay: tells after which time a hedge may help; None where there are none.

        deadline: name of the field that tells a backend how long it has; b"" for none.

        marks: whether a response is to be looked at, and told something, before it goes on.

        waiting: how many wait for a backend with room.

        refused: how many found the queue full, or waited in vain.

        retired: its pool has gone; exchanges that came by it go on all the same.
    """

    def __init__(self, pool: Pool, *, rng: Random, clock: Callable[[], float] = monotonic) -> None:
        settings = pool.settings
        self.pool = pool
        self.policy = RetryPolicy(settings.retry)
        self.again_on = self.policy.statuses if self.policy.attempts > 1 else frozenset[int]()
        self.requests = 0
        self.retries: Counter[str] = Counter()
        self.refused = 0
        self.waiting = 0
        self.retired = False
        self.deadline = b""
        self._negotiates = "h2" in settings.tls.alpn
        self._rng = rng
        self._clock = clock
        self._budget = Budget(settings.retry.budget, settings.retry.min_per_second, clock())
        self._queue: Queue[Turn] = Queue(settings.queue.size, settings.queue.order)
        self._patience = settings.queue.timeout
        self._look: asyncio.TimerHandle | None = None
        self.sticky: Sticky | None = None
        if settings.sticky.enabled:
            self.sticky = Sticky(settings.sticky, pool.name)
        self._limit = settings.max_in_flight
        self._gradient: Gradient | None = None
        if settings.adaptive.enabled:
            self._gradient = Gradient(settings.adaptive)
            self._adapt(self._gradient)
        self._times = Quantile(settings.hedge.quantile) if settings.hedge.enabled else None
        self._learns = self._gradient is not None or self._times is not None
        self._min_delay = settings.hedge.min_delay
        self.hedges = self._times is not None
        self.marks = self.sticky is not None or pool.load_header != b""
        self.follow()

    def follow(self) -> None:
        """The pool may have other backends now: whoever has a cookie of one is led there, and gRPC may be spoken."""
        said = self.pool.settings.timeouts.header
        if said is None and (self._negotiates or any(backend.scheme == "h2c" for backend in self.pool.backends)):
            said = "grpc-timeout"
        self.deadline = (said or "").lower().encode()
        if self.sticky is not None:
            self.sticky.follow(self.pool.backends)

    def yield_to(self, heir: Dispatcher) -> None:
        """Hand on to *heir*, of the pool that takes this one's place: what was counted, and what is going on.

        Exchanges that came by this one stay with it, and are sent and counted where its heir's are.
        """
        heir.requests = self.requests
        heir.retries = self.retries
        heir.refused = self.refused
        heir.pool.in_flight += self.pool.in_flight
        self.pool = heir.pool

    def begin(self, outbound: Outbound, now: float) -> Attempt:
        """Begin an attempt, which has to be followed by `finish`.

        Raises:
            NoBackend: none is available.

            Full: there is no room, or others wait for it already.
        """
        if self.waiting:
            raise Full(f"pool {self.pool.name}: {self.waiting} wait already")
        return self._begin(outbound, now)

    def finish(self, attempt: Attempt, error: ProxyError | None, now: float, fields: Fields | None = None) -> None:
        """End an attempt.

        Args:
            attempt: that was begun.

            error: why there was no whole response.

            now: monotonic seconds.

            fields: of the response, where it has a status of BUSY.
        """
        pool = self.pool if self.pool.heir is None else self._moved()
        attempt.backend.in_flight -= 1
        pool.in_flight -= 1
        attempt.ended = now
        attempt.error = None if isinstance(error, ClientGone) else error
        if fields is None:
            pool.observe(attempt, now)
        else:
            pool.observe(attempt, now, retry_after_of(fields) or 0.0)
        if self._learns:
            self._learn(attempt, pool.in_flight + 1, now)
        if self.waiting:
            self._give_turn()

    def settle(self, attempt: Attempt, now: float) -> None:
        """Learn from an attempt that has its response and goes on for long: a tunnel. It is ended by `leave`."""
        attempt.ended = now
        pool = self._moved()
        pool.observe(attempt, now)
        if self._learns:
            self._learn(attempt, pool.in_flight, now)

    def leave(self, attempt: Attempt) -> None:
        """End an attempt that was settled: all that is left of it is its place."""
        attempt.backend.in_flight -= 1
        self._moved().in_flight -= 1
        if self.waiting:
            self._give_turn()

    async def enter(self, outbound: Outbound) -> Attempt:
        """Begin an attempt, when there is room for it.

        Raises:
            NoBackend: none is available.

            Full: the queue is full, or there was no room in time.
        """
        started = self._clock()
        with suppress(Full):
            return self.begin(outbound, started)
        turn = Turn()
        if not self._queue.join(turn):
            self.refused += 1
            raise Full(f"pool {self.pool.name}: no room, and the queue is full")
        self.waiting += 1
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._have_look)
        try:
            return await self._wait(outbound, turn, min(started + self._patience, outbound.until))
        finally:
            self.waiting -= 1
            self._queue.leave(turn)
            outbound.exchange.queued += self._clock() - started
            if self.waiting and (self.room() or not self.pool.available):
                self._give_turn()  # to whoever is next: this one could not use it, left some, or there is none to use

    def after(self, outbound: Outbound, error: ProxyError | None, fields: Fields | None, now: float) -> float:
        """Seconds to wait before the next attempt; negative when what came of this one stands.

        Args:
            outbound: its attempt has failed with *error*, or has a status, and the client has seen nothing of it.

            error: of the attempt.

            fields: of the response.

            now: monotonic seconds.
        """
        attempt = outbound.attempt
        assert attempt is not None
        attempt.error = error if not isinstance(error, ClientGone) else None
        answer = self.policy.decide(
            attempt,
            number=outbound.number,
            method=outbound.method,
            keyed=any(name == b"idempotency-key" for name, _ in outbound.headers),
            replayable=outbound.body is None or outbound.body.replayable(sent=error is None or error.sent),
            left=outbound.until - now,
            retry_after=retry_after_of(fields) if fields is not None else None,
            budget=None if error is not None and not error.sent and self._well(attempt.backend) else self._budget,
            requests=self.requests,
            now=now,
            rng=self._rng,
        )
        if isinstance(answer, Again):
            self.retries["retried"] += 1
            return answer.after
        self.retries[answer.why] += 1
        return -1.0

    def delay(self, outbound: Outbound, now: float) -> float:
        """Seconds without an answer, after which a hedge may help; inf when it is not to be tried.

        Nor is it where a cookie keeps the client: another backend does not know it, and would be given it for good; nor
        for a tunnel, which is more than its first answer.
        """
        if self._times is None or outbound.number > 1 or outbound.method not in ("GET", "HEAD") or outbound.length:
            return inf
        if outbound.stuck is not None or outbound.upgrade:
            return inf
        return max(self._min_delay, self._times.value(now))

    def room(self, tried: Backend | None = None) -> bool:
        """Whether another attempt could begin, and not at *tried*, as far as can be seen."""
        pool = self._moved()
        if 0 < pool.limit <= pool.in_flight:
            return False
        return any(backend is not tried and backend.admits(pool.panic) for backend in pool.available)

    def affords(self, now: float) -> bool:
        """Whether the budget has an attempt for a hedge, which is taken."""
        afforded = self._budget.withdraw(self.requests, now)
        self.retries["hedged" if afforded else "budget"] += 1
        return afforded

    def _moved(self) -> Pool:
        """The pool that has taken the place of ours by now: an exchange may outlast more reloads than one."""
        while (heir := self.pool.heir) is not None:
            self.pool = heir
        return self.pool

    def _begin(self, outbound: Outbound, now: float) -> Attempt:
        pool = self.pool if self.pool.heir is None else self._moved()
        if outbound.number:
            tried = [attempt.backend for attempt in outbound.exchange.attempts]
            attempt = Attempt(pool.pick(outbound.key, tried, now, outbound.stuck), now)
        else:
            attempt = Attempt(pool.pick(outbound.key, (), now, outbound.stuck), now)
            self.requests += 1
        outbound.number += 1
        outbound.attempt = attempt
        outbound.exchange.attempts.append(attempt)
        attempt.backend.in_flight += 1
        pool.in_flight += 1
        return attempt

    async def _wait(self, outbound: Outbound, turn: Turn, end: float) -> Attempt:
        while True:
            turn.future = asyncio.get_running_loop().create_future()
            in_time = await outbound.wait(turn.future, max(end - self._clock(), 0.0))
            now = self._clock()
            if not in_time and self._queue.leave(turn):
                self.refused += 1
                raise Full(f"pool {self.pool.name}: no room in time")
            try:
                return self._begin(outbound, now)
            except Full:  # another limit than that which made room
                if now >= end:
                    self.refused += 1
                    raise
                self._queue.rejoin(turn)

    def _well(self, tried: Backend) -> bool:
        """Whether there is another backend than *tried* whose last answer was good."""
        known = [b.breaker for b in self.pool.available if b is not tried and b.breaker.settings.enabled]
        return any(breaker.state is CLOSED and breaker.streak == 0 for breaker in known)

    def _have_look(self) -> None:
        self._look = None
        if self.waiting:
            self._look = asyncio.get_running_loop().call_later(LOOK, self._have_look)
            self._give_turn()

    def _give_turn(self) -> None:
        turn = self._queue.next()
        if turn is not None and not turn.future.done():
            turn.future.set_result(None)

    def _learn(self, attempt: Attempt, flying: int, now: float) -> None:
        if attempt.error is not None or not attempt.first_byte or attempt.status in self.policy.statuses:
            return
        seconds = attempt.first_byte - attempt.started
        if self._times is not None:
            self._times.observe(seconds, now)
        if self._gradient is not None:
            self._gradient.observe(seconds, flying, now)
            self._adapt(self._gradient)

    def _adapt(self, gradient: Gradient) -> None:
        self.pool.limit = min(gradient.limit, self._limit) if self._limit else gradient.limit
