"""Requests that take their time, without any passing: an open flow through a pool, on a clock that jumps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.pool import Pool


class Served(NamedTuple):
    """One request: when it came, who had it, how long it took, its status."""

    at: float
    backend: str
    seconds: float
    status: int


Answer = Callable[[Backend, float], tuple[float, int]]
"""How long a backend takes for a request that comes at a time, and its status."""


def steadily(seconds: Mapping[str, float]) -> Answer:
    """Each backend takes its mean time, give or take a tenth, and answers 200."""
    rng = Random(11)
    return lambda backend, now: (seconds[backend.id] * rng.uniform(0.9, 1.1), 200)


def flow(
    pool: Pool, answer: Answer, *, rate: float, seconds: float, events: Mapping[float, Callable[[], None]] | None = None
) -> list[Served]:
    """Let requests come by chance (Poisson), *rate* a second; *events* happen at their times."""
    rng = Random(5)
    pending = dict(sorted((events or {}).items()))
    flying: list[tuple[float, int, Attempt]] = []
    served: list[Served] = []
    now = 0.0
    while (now := now + rng.expovariate(rate)) < seconds:
        while flying and flying[0][0] <= now:
            ended, _, attempt = heappop(flying)
            attempt.backend.in_flight -= 1
            if pool.observe is not None:
                pool.observe(attempt, ended)
        for at in [at for at in pending if at <= now]:
            pending.pop(at)()
        attempt = Attempt(pool.pick(b"%d" % len(served), (), now), now)
        attempt.backend.in_flight += 1
        taken, attempt.status = answer(attempt.backend, now)
        attempt.first_byte = attempt.ended = now + taken
        heappush(flying, (attempt.ended, len(served), attempt))
        served.append(Served(now, attempt.backend.id, taken, attempt.status))
    return served


def shares(served: list[Served], since: float = 0.0, until: float = float("inf")) -> Counter[str]:
    """How many each backend had of those that came in a time."""
    return Counter(one.backend for one in served if since <= one.at < until)


def percentile(served: list[Served], share: float) -> float:
    """Seconds that *share* of the requests did not exceed."""
    return sorted(one.seconds for one in served)[int(len(served) * share)]
