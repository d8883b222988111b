"""What the engine does around a pool, in virtual time: attempts, timeouts, retries, probes. The pool is a real one."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from random import Random
from typing import NamedTuple

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.budget import Budget
from app.domain.errors import NoBackend, ResponseTimeout
from app.domain.pool import Pool
from app.domain.retry import RetryPolicy, Stop
from app.domain.strategies.strategy import Strategy
from tests.simulation.clockwork import Clockwork
from tests.simulation.machine import Answer, Machine


class Served(NamedTuple):
    """One request: when it came, how long the client waited, what it got (0: nothing)."""

    at: float
    seconds: float
    status: int


class Request:
    """One request on its way."""

    __slots__ = ("key", "number", "seconds", "started", "tried")

    def __init__(self, started: float, key: bytes, seconds: float) -> None:
        self.started = started
        self.key = key
        self.seconds = seconds
        self.number = 0
        self.tried: list[Backend] = []


class Balancer:
    """Sends requests through *pool* to *machines*, one for each backend.

    Attributes:
        served: requests that are through.

        attempts: when each began, and at which backend.
    """

    def __init__(
        self, clock: Clockwork, pool: Pool, strategy: Strategy, machines: Sequence[Machine], rng: Random
    ) -> None:
        self.served: list[Served] = []
        self.attempts: list[tuple[float, Backend]] = []
        self._clock = clock
        self._pool = pool
        self._strategy = strategy
        self._machines = dict(zip(pool.backends, machines, strict=True))
        self._rng = rng
        retry = pool.settings.retry
        self._policy = RetryPolicy(retry)
        self._budget = Budget(retry.budget, retry.min_per_second, 0.0)
        self._requests = 0
        for backend in pool.backends:
            self._probe(backend, first=True)

    def take(self, key: bytes, seconds: float) -> None:
        """Take a request that needs so many *seconds* of a machine that is well."""
        self._requests += 1
        self._attempt(Request(self._clock.now, key, seconds))

    def _attempt(self, request: Request) -> None:
        now = self._clock.now
        request.number += 1
        try:
            backend = self._pool.pick(request.key, request.tried, now)
        except NoBackend as error:
            self.served.append(Served(request.started, now - request.started, error.status))
            return
        self.attempts.append((now, backend))
        attempt = Attempt(backend, now)
        backend.in_flight += 1
        self._pool.in_flight += 1
        answer = self._machines[backend].take(now, request.seconds)
        if answer.at > now + self._pool.timeouts.response:
            answer = Answer(now + self._pool.timeouts.response, error=ResponseTimeout("too long"))
        self._clock.at(answer.at, lambda: self._end(request, attempt, answer))

    def _end(self, request: Request, attempt: Attempt, answer: Answer) -> None:
        now, backend = answer.at, attempt.backend
        attempt.status, attempt.error, attempt.ended = answer.status, answer.error, now
        attempt.first_byte = now if answer.status else 0.0
        backend.in_flight -= 1
        self._pool.in_flight -= 1
        self._pool.observe(attempt, now)
        if answer.status == 200:
            if self._strategy.header:
                self._strategy.report(backend, self._machines[backend].load(now), now)
        else:
            decision = self._policy.decide(
                attempt, number=request.number, method="GET", keyed=False, replayable=True, left=inf, retry_after=None,
                budget=self._budget, requests=self._requests, now=now, rng=self._rng,
            )  # fmt: skip
            if not isinstance(decision, Stop):
                request.tried.append(backend)
                self._clock.at(now + decision.after, lambda: self._attempt(request))
                return
        self.served.append(Served(request.started, now - request.started, answer.status))

    def _probe(self, backend: Backend, *, first: bool = False) -> None:
        now = self._clock.now
        if backend.health.observe("" if self._machines[backend].up(now) else "refused", now):
            self._pool.flip(backend, now)
        self._clock.at(backend.health.plan(now, self._rng, first=first), lambda: self._probe(backend))
