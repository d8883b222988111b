"""Round robin: each backend in turn, as often as its weight says, its turns spread out among those of the others.

The order is that of nginx: every backend earns its weight each turn, the richest is picked and pays the sum of all
weights; the first wins ties. Weights 5, 1, 1 give a a b a c a a. The whole cycle is laid out when the available
backends change, so that a pick is an index into it, for 1000 backends as for two. Where the cycle would be too long
to lay out, a queue by deadline gives the same shares in O(log n) a pick.

A pick that a sticky cookie made is charged: the backend lets its next turn go by. It owes one turn at most, so that
many sticky picks in a row cost no more than one, and who has the most clients that stay is not shut out to new ones.

Source: nginx, src/http/ngx_http_upstream_round_robin.c, ngx_http_upstream_get_peer; since 1.29.6 its sticky picks are
paid for, where the backend is not at the bottom already.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import gcd
from random import Random

from app.domain.backend import Backend
from app.domain.registry import NoOptions
from app.domain.strategies.strategy import Strategy
from app.domain.strategies.turns import Turns

BUDGET = 8192
"""Steps that laying out a cycle may cost: under 2 ms, for it is done at every flip of a backend's health."""


class RoundRobin(Strategy):
    """Smooth weighted round robin."""

    __slots__ = ("_next", "_others", "_owing", "_queue", "_ring", "_rng", "_whole")

    def __init__(self, options: NoOptions, *, rng: Random, **services: object) -> None:
        self._rng = rng
        self._whole: Sequence[Backend] = ()
        self._ring: list[Backend] = []
        self._next = 0
        self._queue: list[tuple[float, int, Backend]] = []
        self._others: Turns | None = None
        self._owing: set[Backend] = set()

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Lay out the cycle, and go on as far along it as in the one before: a restart would favour the first."""
        length = len(self._ring)
        self._whole = available
        self._others = None
        self._owing.intersection_update(available)
        self._ring = cycle(available)
        self._next = self._next * len(self._ring) // length if length else 0
        self._queue = []
        if not self._ring:
            # first deadlines at a random point of each period: nobody is favoured by a restart
            self._queue = [(self._rng.random() / b.share, i, b) for i, b in enumerate(available)]
            heapify(self._queue)

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose the next of the cycle; where some were tried already, by turns among the others."""
        if available is not self._whole:
            return self._another(available)
        if self._owing:
            return self._settled()
        ring, index = self._ring, self._next
        if index >= len(ring):
            if not ring:
                return self._earliest()
            index = 0
        self._next = index + 1
        return ring[index]

    def charge(self, backend: Backend) -> None:
        """Let its next turn go by; nothing more where one is owed already."""
        self._owing.add(backend)

    def _settled(self) -> Backend:
        """The next that owes nothing; those before it have paid with the turn that they let go by."""
        owing, self._owing = self._owing, set()
        while (backend := self.pick(self._whole, b"", 0.0)) in owing:
            owing.remove(backend)
        self._owing = owing
        return backend

    def _earliest(self) -> Backend:
        due, position, backend = self._queue[0]
        heapreplace(self._queue, (due + 1.0 / backend.share, position, backend))
        return backend

    def _another(self, available: Sequence[Backend]) -> Backend:
        # not by going on along the ring: whoever stands behind a failing backend would get all of its load
        if self._others is None:
            self._others = Turns(self._whole, self._rng)
        return self._others.take(available)


def cycle(backends: Sequence[Backend]) -> list[Backend]:
    """One cycle of nginx's order; [] when there are no backends, or it would take more than `BUDGET` steps.

    A backend has earned turns * weight and paid picks * sum, so that among those of one weight the richest is the one
    picked least often, the first of them: they go in order, and only the foremost of each weight need be compared.
    """
    shared = gcd(*(backend.share for backend in backends))
    columns: dict[int, list[int]] = {}
    for position, backend in enumerate(backends):
        columns.setdefault(backend.share // shared, []).append(position)
    if len(columns) == 1:
        return list(backends)
    total = sum(weight * len(column) for weight, column in columns.items())
    if total * len(columns) > BUDGET:
        return []
    taken = dict.fromkeys(columns, 0)
    ring = []
    for turn in range(1, total + 1):
        best, most, first = 0, -total, 0
        for weight, column in columns.items():
            rounds, place = divmod(taken[weight], len(column))
            rich = turn * weight - rounds * total
            if rich > most or (rich == most and column[place] < first):
                best, most, first = weight, rich, column[place]
        taken[best] += 1
        ring.append(backends[first])
    return ring
