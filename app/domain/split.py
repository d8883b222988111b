"""Which of several pools a request goes to: by weight, and the same one for the same key.

    time of a pool = -ln(digest(pool, key) as a number from 0 to 1) / weight

The least of exponentials is that of a pool with probability weight / all weights. A weight that grows makes one pool's
times shorter and no other's, so exactly those who have to move do, and to that pool: a canary that goes from 5 to 10
keeps everybody it had. Nothing is remembered: the same key is on the same side in every process and on every machine,
and in every group that splits over the same pools.

A request without a key, a cookie on the first visit, goes anywhere, by weight.

Sources: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6 (1998); weights
as in C. Schindelhauer, G. Schomaker, "Weighted distributed hash tables", SPAA 2005.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import inf, log
from random import Random

_PERSON = b"l7lb split"
"""Sets these digests apart from those by which a pool chooses its backend: a side must not be one backend's keys."""


class Sides:
    """Pools with their weights; one of weight 0 gets nothing.

    Args:
        weights: by pool; one at least is over 0.

        rng: for requests without a key.
    """

    __slots__ = ("_drawing", "_rng")

    def __init__(self, weights: Mapping[str, int], rng: Random) -> None:
        self._drawing = tuple(
            (name, weight, blake2b(b"%b\0" % name.encode(), digest_size=8, person=_PERSON))
            for name, weight in weights.items()
            if weight
        )
        self._rng = rng

    def side(self, key: bytes) -> str:
        """The pool of *key*; of nobody's, for b"". O(pools)."""
        if not key:
            key = self._rng.randbytes(8)
        found, least = "", inf
        for name, weight, seed in self._drawing:
            drawn = seed.copy()
            drawn.update(key)
            time = -log((int.from_bytes(drawn.digest(), "big") + 0.5) * 2.0**-64) / weight
            if time < least:
                found, least = name, time
        return found
