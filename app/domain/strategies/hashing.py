"""What strategies that hash have in common: the digest of a key, its second choice, bounded loads.

The same key goes to the same backend, in every process and on every machine: digests are BLAKE2b of the key and the
backend's id, never `hash()`. A request without a key goes anywhere, by weight.

A backend that cannot take a key, because it was tried already or is full, does not hand all its keys to one other:
each key goes to its own next one, by rendezvous among those that can.

Bounded loads: with `bounded = c`, a backend is full at c times its weight's share of what is in flight, this request
included: in flight < c * (all in flight + 1) * weight / all weights. That one is never full is plain: else the sum of
both sides would say that all in flight >= c * (all in flight + 1). It makes a pick O(n): all in flight is counted.

Sources: V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing with bounded loads", arXiv:1608.01350; J. Chen,
B. Coleman, A. Shrivastava, "Revisiting consistent hashing with bounded loads", arXiv:1908.08762, for the second choice
that differs from key to key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import log
from random import Random
from typing import ClassVar

from pydantic import Field

from app.domain.backend import Backend
from app.domain.strategies.strategy import Strategy
from settings.models import Frozen


class Bounded(Frozen):
    """Options of strategies that hash."""

    bounded: float | None = Field(default=None, ge=1.25, le=2.0)
    """How many times its share of the requests in flight a backend takes before its keys go elsewhere; off."""


def digest(key: bytes) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")


class Hashing(Strategy):
    """Finds the backend of a key, and another one where need be."""

    __slots__ = ("_bounded", "_digest", "_laid", "_rng", "_seeds", "_whole")

    Options: ClassVar[type[Bounded]] = Bounded
    keyed = True

    def __init__(self, options: Bounded, *, rng: Random, **services: object) -> None:
        self._bounded = options.bounded
        self._rng = rng
        self._digest: Callable[[bytes], int] = digest
        self._whole: Sequence[Backend] = ()
        self._laid: list[tuple[Backend, int]] = []
        self._seeds: dict[Backend, bytes] = {}

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Lay out anew, where something changed."""
        self._whole = available
        wanted = [(backend, backend.weight) for backend in available]
        if wanted != self._laid:
            self._laid = wanted
            self._seeds = {backend: b"%b\0" % backend.id.encode() for backend in available}
            self._lay(available)

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose the one of *key* that can take it."""
        point = self._digest(key or self._rng.randbytes(8))
        backend = self._find(point) if available is self._whole else self._foremost(available, point)
        if self._bounded is not None:
            flying = sum(other.in_flight for other in available) + 1
            bound = self._bounded * flying / sum(other.weight for other in available)
            if backend.in_flight >= bound * backend.weight:
                room = [other for other in available if other.in_flight < bound * other.weight]
                return self._foremost(room, point)
        return backend

    def _lay(self, available: Sequence[Backend]) -> None:
        """Prepare what `_find` needs."""

    def _find(self, point: int) -> Backend:
        """The backend of a point, of all that are available."""
        return self._foremost(self._whole, point)

    def _foremost(self, among: Sequence[Backend], point: int) -> Backend:
        """The first by rendezvous: each draws an exponential time of rate weight, from its id and the point. O(n)."""
        tail = point.to_bytes(8, "big")
        seeds = self._seeds

        def time(backend: Backend) -> float:
            drawn = int.from_bytes(blake2b(seeds[backend] + tail, digest_size=8).digest(), "big")
            return -log((drawn + 0.5) * 2.0**-64) / backend.weight

        return min(among, key=time)
