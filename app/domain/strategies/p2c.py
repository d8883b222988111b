"""Power of two choices: of two backends drawn, the one with fewer requests in flight for its weight; O(log n) a pick.

Nearly as good as looking at all of them, without everybody running to the same one: the longest queue of n grows like
log log n, where that of a single draw grows like log n / log log n. Up to 4 backends all are looked at, for there two
draws miss the idle one too often. Ties, which are the rule while there is little to do, go to the one whose last turn
is longer ago for its weight.

Sources: M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12 (2001); Envoy,
`LEAST_REQUEST` and its FULL_SCAN; HAProxy, `random(2)`, which breaks ties by the recent rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from app.domain.backend import Backend
from app.domain.registry import NoOptions
from app.domain.strategies.least_connections import LeastConnections
from app.domain.strategies.pairs import Pairs
from app.domain.strategies.strategy import Strategy
from app.domain.strategies.turns import ARREARS, Turns

FEW = 4
"""Backends, up to which all are looked at."""


class P2C(Strategy):
    """Least connections between two."""

    __slots__ = ("_least", "_pairs", "_rng", "_turns", "_whole")

    def __init__(self, options: NoOptions, *, rng: Random, **services: object) -> None:
        self._rng = rng
        self._least = LeastConnections(options, rng=rng)
        self._whole: Sequence[Backend] = ()
        self._pairs: Pairs | None = None
        self._turns = Turns((), rng)

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Prepare the draws."""
        self._least.rebuild(available)
        self._turns = Turns(available, self._rng, arrears=ARREARS)
        self._whole = available
        self._pairs = Pairs(available, self._rng) if len(available) > FEW else None

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose the less loaded."""
        if len(available) <= FEW:
            return self._least.pick(available, key, now)
        pairs = self._pairs
        if pairs is None or available is not self._whole:
            pairs = Pairs(available, self._rng)
        one, two = pair = pairs.draw()
        ahead = one.in_flight * two.share - two.in_flight * one.share
        return self._turns.take(pair) if not ahead else two if ahead > 0 else one
