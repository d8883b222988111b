"""A limit on the requests in flight that finds itself: it sinks when responses get slower, and grows when they do not.

Once a window it is set by the mean of the latencies in it, beside the least mean of late:

    gradient = least * 1.25 / mean          from 0.5 to 2
    limit    = gradient * limit + sqrt(limit)

A window lasts two means at least, so that it shows what the last limit did, and goes on until there are 50 latencies.
The limit grows only where half of it is used, so that it means something when it is needed. A pool that is asked for
more than it can do comes to rest where responses take 1.3 to 1.6 times the least: what waits, waits here and not there.

Under a load that stays, all responses would have that bit of waiting in them; it would be the least of late, and the
limit would grow by it again and again. So every 30 s, and in the beginning, the limit *dips*, to see how long responses
take without. By Little's law, half of the limit takes half of the time only where requests still wait: then it is
halved once more.

| state     | until                          | then                                                                  |
|-----------|--------------------------------|-----------------------------------------------------------------------|
| following | the least is 30 s old          | draining, with half of the limit                                      |
| draining  | two means have passed          | measuring, with the same limit                                        |
| measuring | there are 100 latencies        | draining again with half of it, where the mean fell to 0.6 or less;   |
|           |                                | else following: the mean is the least, the limit as before the dip    |

Sources: Envoy, `adaptive_concurrency` filter (the formula; it pins the limit to 3 to measure); Netflix,
concurrency-limits, `Gradient2Limit` (means, growth only where half is used, beginning with 20); Cardwell et al., "BBR:
Congestion-Based Congestion Control" (2016), ProbeRTT (queues run empty for a moment to see the path without them).
"""

from __future__ import annotations

from enum import Enum
from math import inf, sqrt

from settings.resilience import AdaptiveSettings

START = 20
"""The first limit."""
BUFFER = 1.25
"""How many times the least is not slow yet."""
ENOUGH = 50
"""Latencies that make a mean to follow."""
MEASURED = 100
"""Latencies that make the least."""
SHORTEST = 1e-6
"""Seconds: what is quicker took that long."""
SMOOTH = 0.2
"""What a window counts for in the mean of late, which the least falls to: a single one is often low by chance."""
REMEMBERED = 30.0
"""Seconds from the end of one dip to the next."""
DIP = 0.5
"""What is left of the limit in a dip."""
WAITED = 0.6
"""Where the mean falls to this share of what it was by a dip, there was a queue, and may still be."""


class Phase(Enum):
    """What the limit does now; its value are the latencies that end it."""

    FOLLOWING = ENOUGH
    DRAINING = 1
    MEASURING = MEASURED


class Gradient:
    """The limit of one pool.

    Attributes:
        limit: requests that may be in flight.

        phase: what it does now.
    """

    __slots__ = (
        "_before", "_count", "_dip", "_ends", "_late", "_least", "_mean", "_needed", "_peak", "_settings", "_sum",
        "limit", "phase",
    )  # fmt: skip

    def __init__(self, settings: AdaptiveSettings) -> None:
        self._settings = settings
        self.limit = self._before = self._bounded(START)
        self._least = self._late = self._mean = inf
        self._dip = self._ends = -inf
        self.phase = Phase.FOLLOWING
        self._needed: int = self.phase.value
        self._sum = 0.0
        self._count = self._peak = 0

    def observe(self, seconds: float, in_flight: int, now: float) -> None:
        """Take the latency of one response; not of a failure, which may be quick and means nothing.

        Args:
            seconds: from the attempt to its response head.

            in_flight: requests in the pool, this one among them.

            now: monotonic seconds.
        """
        self._sum += seconds
        self._count += 1
        self._peak = max(self._peak, in_flight)
        if now >= self._ends and self._count >= self._needed:
            self._turn(max(self._sum / self._count, SHORTEST), now)

    def _turn(self, mean: float, now: float) -> None:
        """End a window of *mean* latency, and begin the next."""
        ends = now + max(self._settings.window, 2.0 * mean)
        if self.phase is Phase.DRAINING:
            self._begin(Phase.MEASURING, ends)
            return
        if self.phase is Phase.FOLLOWING:
            if now < self._dip:
                self._follow(mean)
                self._begin(Phase.FOLLOWING, ends)
                return
            self._before = self.limit
        elif mean > self._mean * WAITED or self.limit == self._settings.min_limit:
            self._least = self._late = mean
            self._dip = now + REMEMBERED
            self.limit = self._before
            self._begin(Phase.FOLLOWING, ends)
            return
        self._mean = mean
        self.limit = self._bounded(self.limit * DIP)
        self._begin(Phase.DRAINING, now + 2.0 * mean)

    def _begin(self, phase: Phase, ends: float) -> None:
        self.phase = phase
        self._needed = phase.value
        self._ends = ends
        self._sum = 0.0
        self._count = 0
        self._peak = 0

    def _follow(self, mean: float) -> None:
        self._late += (mean - self._late) * SMOOTH
        self._least = min(self._least, self._late)
        gradient = min(2.0, max(0.5, self._least * BUFFER / mean))
        wanted = gradient * self.limit + sqrt(self.limit)
        if wanted <= self.limit or 2 * self._peak >= self.limit:
            self.limit = self._bounded(wanted)

    def _bounded(self, limit: float) -> int:
        return min(max(int(limit), self._settings.min_limit), self._settings.max_limit)
