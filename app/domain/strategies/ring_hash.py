"""Ring hashing: backends have points on a circle by their weight, a key goes to the next point; O(log n) a pick.

A backend has 1024 points for each unit of its weight, so that its arcs add up to its share within 1/sqrt(1024 weight),
3 %, whoever else is there: exactly the keys of a backend that leaves move, and to one that joins only its own. A ring
of more than 65 536 points would take too long to lay out when health flips: all have half as many, a quarter, and so
on until it fits, and where a change of membership crosses such a step, keys move that need not.

With `ketama`, the points are those of libketama, and keys go where its clients (and `uhashring`, `hash_fn="ketama"`)
would send them, where ids are named as the servers are there: 160 points a backend, weights being shares of all points
(MD5, four points of 32 bits a digest, floor(40 n weight / all weights) digests a backend of "id-0", "id-1", ...). Of
weights that differ, every change of membership then moves a few keys among those that stay; equal ones are not
touched. A weight below 1/40 of the mean has no point at all.

Sources: D. Karger et al., "Consistent hashing and random trees", STOC 1997; libketama, `ketama.c`
(a key on a point is that point's, where uhashring takes the next one).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b, md5
from random import Random
from struct import unpack

from pydantic import Field

from app.domain.backend import Backend
from app.domain.strategies.hashing import Bounded, Hashing

LARGEST = 65_536
"""Points of a whole ring: 40 ms to lay out."""
_HIGH = ~0xFFFFF
"""Of an entry of the ring the low 20 bits say whose it is."""


class Ring(Bounded):
    """Options of ring_hash."""

    points: int = Field(default=1024, ge=1, le=LARGEST)
    """Points for each unit of weight; ketama has its own."""
    ketama: bool = False
    """Points and digests as libketama makes them."""


class RingHash(Hashing):
    """Each key to the next point."""

    __slots__ = ("_ketama", "_owners", "_points", "_ring")

    Options = Ring

    def __init__(self, options: Ring, *, rng: Random, **services: object) -> None:
        super().__init__(options, rng=rng)
        self._points = options.points
        self._ketama = options.ketama
        if options.ketama:
            self._digest = ketama_digest
        self._ring: array[int] = array("Q")
        self._owners: Sequence[Backend] = ()

    def _lay(self, available: Sequence[Backend]) -> None:
        self._owners = available[::-1]  # of two backends at one point the later has it, as in libketama's clients
        of = self._ketama_points() if self._ketama else self._own_points()
        self._ring = array("Q", sorted(point & _HIGH | owner for owner, points in enumerate(of) for point in points))

    def _find(self, point: int) -> Backend:
        at = bisect_left(self._ring, point & _HIGH)
        return self._owners[self._ring[at if at < len(self._ring) else 0] & ~_HIGH]

    def _own_points(self) -> Iterator[list[int]]:
        total = self._points * sum(backend.weight for backend in self._owners)
        halved = max(0, ((total - 1) // LARGEST).bit_length())
        for backend in self._owners:
            count = max(1, self._points * backend.weight >> halved)
            seed = self._seeds[backend]
            found: list[int] = []
            for i in range(0, count, 8):
                found += unpack(">8Q", blake2b(b"%b%d" % (seed, i)).digest())
            yield found[:count]

    def _ketama_points(self) -> Iterator[list[int]]:
        total = sum(backend.weight for backend in self._owners)
        for backend in self._owners:
            found: list[int] = []
            for i in range(40 * len(self._owners) * backend.weight // total):
                four = unpack("<4I", md5(f"{backend.id}-{i}".encode(), usedforsecurity=False).digest())
                found += (point << 32 for point in four)
            yield found


def ketama_digest(key: bytes) -> int:
    """The 32 bits of libketama, as the upper half of 64."""
    return int.from_bytes(md5(key, usedforsecurity=False).digest()[:4], "little") << 32
