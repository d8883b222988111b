"""Weighted turns among whichever backends are asked about, a different set each time if need be.

Earliest deadline first: a backend's turns are 1/weight apart on a clock that the turns themselves move on. Who was
not asked about for a while has no arrears to make up: its next turn counts from now. Only where chance decides who is
asked about, a few turns are made up for, else the light, who wait longer between, would lose some of theirs.

Source: start-time fair queueing, P. Goyal, H. Vin, H. Cheng, SIGCOMM 1996.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from app.domain.backend import Backend

ARREARS = 4.0
"""Turns that are enough to make up for, so that shares are those of the weights within 1 %."""


class Turns:
    """Turns of *backends*, each first at a random point of its period, so that workers do not go in step.

    Args:
        arrears: how many turns one may make up for.
    """

    __slots__ = ("_arrears", "_clock", "_due")

    def __init__(self, backends: Sequence[Backend], rng: Random, arrears: float = 0.0) -> None:
        self._arrears = arrears
        self._clock = 0.0
        self._due = {backend: rng.random() / backend.share for backend in backends}

    def take(self, among: Sequence[Backend]) -> Backend:
        """Whose turn it is among these, which is thereby taken. O(n)."""
        due = self._due
        backend = min(among, key=due.__getitem__)
        period = 1.0 / backend.share
        self._clock = max(self._clock, due[backend])
        due[backend] = max(due[backend], self._clock - self._arrears * period) + period
        return backend
