"""Random: each pick is drawn anew, with chances as the weights; O(log n) a pick.

Source: inversion of the cumulative distribution, as in Python's `random.choices`.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate

from app.domain.backend import Backend
from app.domain.registry import NoOptions
from app.domain.strategies.strategy import Strategy


class Random(Strategy):
    """Weighted draw without memory."""

    __slots__ = ("_draw", "_sums", "_whole")

    def __init__(self, options: NoOptions, *, rng: random.Random, **services: object) -> None:
        self._draw = rng.random
        self._whole: Sequence[Backend] = ()
        self._sums: list[int] = []

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Sum up the weights."""
        self._whole = available
        self._sums = _sums(available)

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Draw one."""
        sums = self._sums if available is self._whole else _sums(available)
        # less than the whole sum: the greatest draw is 1 - 2**-53, and the product with a whole number is rounded down
        return available[bisect(sums, self._draw() * sums[-1])]


def _sums(backends: Sequence[Backend]) -> list[int]:
    return list(accumulate(backend.share for backend in backends))
