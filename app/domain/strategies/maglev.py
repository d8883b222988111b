"""Maglev hashing: a table of 65 537 places, dealt out by weight; a key goes to its place's backend; O(1) a pick.

Each backend has an order of its own in which it would like the places, and they take turns, as often as their weights
say, to take the best that is still free. So shares are exact to one turn: with equal weights within one place of each
other, which no ring is. The price is that, when a backend leaves, keys of others move as well, about as many as it
had itself. A table takes 50 ms to lay out, 100 ms with a thousand backends, at every change of membership.

Source: D. Eisenbud et al., "Maglev: a fast and reliable software network load balancer", NSDI 2016, section 3.4; the
paper's larger table size for n up to 655. Turns by weight as Envoy does.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from heapq import heapify, heapreplace
from itertools import cycle
from math import isqrt
from random import Random
from struct import unpack
from typing import Annotated

from pydantic import AfterValidator, Field

from app.domain.backend import Backend
from app.domain.strategies.hashing import Bounded, Hashing
from settings.problems import Wrong


def _prime(value: int) -> int:
    if any(value % divisor == 0 for divisor in range(2, isqrt(value) + 1)):
        raise Wrong("not a prime number", "write one such as 5003, 65537 or 655373, a hundred times the backends")
    return value


class Table(Bounded):
    """Options of maglev."""

    table: Annotated[int, Field(ge=251, le=1_000_003), AfterValidator(_prime)] = 65_537
    """Places; a prime number, a hundred times as many as backends or more."""


class Maglev(Hashing):
    """Each key to the owner of its place."""

    __slots__ = ("_places", "_size")

    Options = Table

    def __init__(self, options: Table, *, rng: Random, **services: object) -> None:
        super().__init__(options, rng=rng)
        self._size = options.table
        self._places: array[int] = array("l")

    def _lay(self, available: Sequence[Backend]) -> None:
        size = self._size
        places = array("l", [-1]) * size
        wanted: list[int] = []
        steps: list[int] = []
        for backend in available:
            offset, step = unpack(">2Q", blake2b(self._seeds[backend], digest_size=16).digest())
            wanted.append(offset % size)
            steps.append(step % (size - 1) + 1)
        for _, owner in zip(range(size), turns([backend.weight for backend in available]), strict=False):
            place, step = wanted[owner], steps[owner]
            while places[place] >= 0:
                place += step
                if place >= size:
                    place -= size
            places[place] = owner
            wanted[owner] = place
        self._places = places

    def _find(self, point: int) -> Backend:
        return self._whole[self._places[point % self._size]]


def turns(weights: Sequence[int]) -> Iterator[int]:
    """Whose turn it is, for ever: in a row where all weigh the same, else by deadline, 1/weight apart."""
    return cycle(range(len(weights))) if len(set(weights)) <= 1 else _by_deadline(weights)


def _by_deadline(weights: Sequence[int]) -> Iterator[int]:
    queue = [(1.0 / weight, owner) for owner, weight in enumerate(weights)]
    heapify(queue)
    while True:
        due, owner = queue[0]
        yield owner
        heapreplace(queue, (due + 1.0 / weights[owner], owner))
