"""Draws two different backends at a time, so that either of them is as likely to come of it as its weight says.

A backend of share p of the whole is drawn with probability 2p: when a coin then decides between the two, which is what
a comparison of equals comes to, each gets p of the traffic. And nobody gets more than 2p, however good it looks. Two
plain weighted draws without replacement would look at the heavy too seldom. Of a backend with more than half of the
whole, 2p is more than a pair can hold: with probability 2p - 1 it is drawn against nobody.

Source: K. R. W. Brewer, "A model of systematic sampling with unequal probabilities", Australian Journal of Statistics
5 (1963): the first by p (1 - p) / (1 - 2p), the second by p among the rest.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from app.domain.backend import Backend

Pair = tuple[Backend, Backend]


class Pairs:
    """Pairs of *backends*; of a single one, that one twice. O(n) to make, O(log n) a pair."""

    __slots__ = ("_alone", "_backends", "_draw", "_first", "_heaviest", "_sums")

    def __init__(self, backends: Sequence[Backend], rng: Random) -> None:
        self._backends = backends
        self._draw = rng.random
        self._sums = list(accumulate(backend.share for backend in backends))
        total = self._sums[-1]
        self._heaviest = max(backends, key=lambda backend: backend.share)
        # the share of the picks that have no choice
        self._alone = max(0.0, 2 * self._heaviest.share / total - 1)
        if 2 * self._heaviest.share >= total:
            odds = [float(backend is self._heaviest) for backend in backends]
        else:
            odds = [b.share * (total - b.share) / (total - 2 * b.share) for b in backends]
        self._first = list(accumulate(odds))

    def draw(self) -> Pair:
        """Two backends."""
        if self._alone and self._draw() < self._alone:
            return self._heaviest, self._heaviest
        backends, sums, last = self._backends, self._sums, len(self._sums) - 1
        one = bisect(self._first, self._draw() * self._first[-1], 0, last)
        share = backends[one].share
        # the second from what the first leaves: whatever lies behind the gap that it would leave moves up
        point = self._draw() * (sums[-1] - share)
        if point >= sums[one] - share:
            point += share
        return backends[one], backends[bisect(sums, point, 0, last)]
