"""Quantiles of latencies, from counts in buckets that grow with what they hold: little memory, whatever comes.

A bucket reaches from GAMMA ** (i - 1) to GAMMA ** i, so that any value is within 5 % of its bucket's middle, and with
it every quantile of what was counted. A window is cut into slices, each with its counts; the oldest goes as a whole.

Source: Masson, Rim, Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error Guarantees" (2019).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from math import ceil, inf, log

ERROR = 0.05
"""Relative error of a quantile."""
GAMMA = (1 + ERROR) / (1 - ERROR)
SHORTEST = 1e-5
"""Seconds, under which all is one bucket."""
LONGEST = 1e3
"""Seconds, from which on all is one bucket."""
SLICES = 30
"""Of a window: so many steps it is forgotten in."""
ENOUGH = 20
"""Values, under which nothing is said of them."""

_STEP = log(GAMMA)
_FIRST = ceil(log(SHORTEST) / _STEP)
BUCKETS = ceil(log(LONGEST) / _STEP) - _FIRST + 1


class Counts:
    """How many values there were in each bucket."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.total = 0

    def add(self, seconds: float) -> None:
        """Count one value."""
        i = ceil(log(seconds) / _STEP) - _FIRST if seconds > SHORTEST else 0
        self.buckets[i if i < BUCKETS else BUCKETS - 1] += 1
        self.total += 1

    def drop(self, other: Counts) -> None:
        """Count no longer what *other*, which is part of this, has counted."""
        self.total -= other.total
        self.buckets = [mine - its for mine, its in zip(self.buckets, other.buckets, strict=True)]

    def quantile(self, q: float) -> float:
        """Seconds, which a share of *q* of the values is not over; there has to be one."""
        i = bisect_right(list(accumulate(self.buckets)), q * (self.total - 1))
        return float(2.0 * GAMMA ** (i + _FIRST) / (GAMMA + 1.0))


class Quantile:
    """A quantile of the latencies of the last seconds.

    Args:
        q: 0.95 is the time that 5 of 100 are over.

        window: seconds.
    """

    __slots__ = ("_counts", "_ends", "_oldest", "_q", "_slice", "_slices", "_value")

    def __init__(self, q: float, window: float = 30.0) -> None:
        self._q = q
        self._slice = window / SLICES
        self._ends = 0.0
        self._begin()

    def observe(self, seconds: float, now: float) -> None:
        """Count a latency of *seconds*, at *now* in monotonic seconds."""
        if now >= self._ends:
            self._turn(now)
        self._counts.add(seconds)
        self._slices[self._oldest - 1].add(seconds)

    def value(self, now: float) -> float:
        """Seconds, as of the end of the last slice; inf while there were under 20 latencies in the window."""
        if now >= self._ends:
            self._turn(now)
        return self._value

    def _begin(self) -> None:
        self._counts = Counts()
        self._slices = [Counts() for _ in range(SLICES)]
        self._oldest = 0

    def _turn(self, now: float) -> None:
        """Begin a slice in the place of the oldest; of all, where nobody asked for a whole window."""
        gone = int((now - self._ends) / self._slice) + 1
        self._ends += gone * self._slice
        if gone > SLICES:
            self._begin()
        else:
            for _ in range(gone):
                self._counts.drop(self._slices[self._oldest])
                self._slices[self._oldest] = Counts()
                self._oldest = (self._oldest + 1) % SLICES
        self._value = self._counts.quantile(self._q) if self._counts.total >= ENOUGH else inf
