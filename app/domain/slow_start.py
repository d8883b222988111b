"""Slow start: a backend that begins to take requests gets less than its weight at first, and more and more.

    factor = max(least, (max(t, 1 s) / window) ** (1 / aggression))      for t seconds since it entered, t < window

Where all available backends are in it, as when the process starts, none of them is held back. It is for strategies
that go by `Backend.share`; where a key has to stay where it is, half of a share would mean half of the keys moving
twice, so those that hash go by weight.

Source: Envoy, "Slow start mode" of its upstream load balancing documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from app.domain.backend import Backend
from settings.pools import SlowStartSettings

UNIT = 100
"""What a share of 1 is counted in while some are held back, so that shares stay whole numbers."""
STEPS = 100
"""How often shares are set in one window."""


class SlowStart:
    """Sets the shares of the backends of one pool."""

    __slots__ = ("_least", "_power", "_window")

    def __init__(self, settings: SlowStartSettings) -> None:
        self._window = settings.window
        self._least = settings.min_weight
        self._power = 1.0 / settings.aggression

    def factor(self, age: float) -> float:
        """What of its weight a backend has, *age* seconds after it entered."""
        if age >= self._window:
            return 1.0
        grown: float = min(1.0, max(age, 1.0) / self._window) ** self._power
        return max(self._least, grown)

    def weigh(self, available: Sequence[Backend], now: float) -> float:
        """Set the shares for *now*; returns when to set them again, inf when nobody is in slow start.

        A backend that has not entered yet does so now.
        """
        ages: list[float] = []
        for backend in available:
            if backend.entered is None:
                backend.entered = now
            ages.append(now - backend.entered)
        if not ages or min(ages) >= self._window:
            level(available)
            return inf
        if max(ages) < self._window:
            level(available)
        else:
            for backend, age in zip(available, ages, strict=True):
                backend.share = max(1, round(backend.weight * UNIT * self.factor(age)))
        return now + self._window / STEPS


def level(backends: Sequence[Backend]) -> None:
    """Give each its weight."""
    for backend in backends:
        backend.share = backend.weight
