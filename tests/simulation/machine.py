"""A server that is simulated: some workers, a queue before them, and troubles that come and go by the clock.

A request waits for the first free worker, which takes a base time and its own size for it. What will become of it is
known when it comes, for all troubles are planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from math import inf
from typing import NamedTuple

from app.domain.errors import ConnectFailed, ConnectionTerminated, UpstreamError

WORKERS = 8
FAILING_TAKES = 0.001
REFUSING_TAKES = 0.0005


class Span(NamedTuple):
    """From *since* to before *until*."""

    since: float
    until: float = inf

    def __contains__(self, when: object) -> bool:
        assert isinstance(when, float)
        return self.since <= when < self.until


@dataclass(frozen=True)
class Trouble:
    """What one machine is to go through.

    Attributes:
        slow: when it takes so many times as long.

        failing: when it answers 503 at once.

        down: when it refuses connections; what it has when that begins is cut off.
    """

    slow: Sequence[tuple[Span, float]] = ()
    failing: Sequence[Span] = ()
    down: Sequence[Span] = ()


class Answer(NamedTuple):
    """When it comes, with which status or error."""

    at: float
    status: int = 0
    error: UpstreamError | None = None


class Machine:
    """One server."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._free = [0.0] * WORKERS
        heapify(self._free)

    def up(self, now: float) -> bool:
        """Whether it takes connections."""
        return not any(now in span for span in self._trouble.down)

    def take(self, now: float, seconds: float) -> Answer:
        """Take a request that needs so many *seconds* of a worker when all is well."""
        trouble = self._trouble
        if not self.up(now):
            return Answer(now + REFUSING_TAKES, error=ConnectFailed("refused"))
        if any(now in span for span in trouble.failing):
            return Answer(now + FAILING_TAKES, 503)
        for span, times in trouble.slow:
            if now in span:
                seconds *= times
        ended = max(now, self._free[0]) + seconds
        cut = min((span.since for span in trouble.down if span.since > now), default=inf)
        if cut < ended:
            return Answer(cut, error=ConnectionTerminated("cut off"))
        heapreplace(self._free, ended)
        return Answer(ended, 200)

    def load(self, now: float) -> float:
        """Share of its workers that have something to do."""
        return sum(free > now for free in self._free) / WORKERS
