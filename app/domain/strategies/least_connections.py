"""Least connections: the backend with the fewest requests in flight for its weight; O(n) a pick.

Exact: all are looked at. Ties, which are the rule while there is little to do, go by weighted turns.

Source: nginx, src/http/modules/ngx_http_upstream_least_conn_module.c, ngx_http_upstream_get_least_conn_peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from app.domain.backend import Backend
from app.domain.registry import NoOptions
from app.domain.strategies.strategy import Strategy
from app.domain.strategies.turns import Turns


class LeastConnections(Strategy):
    """Fewest in flight / weight."""

    __slots__ = ("_rng", "_turns")

    def __init__(self, options: NoOptions, *, rng: Random, **services: object) -> None:
        self._rng = rng
        self._turns = Turns((), rng)

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Deal out the turns anew."""
        self._turns = Turns(available, self._rng)

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose the least loaded, by turns among several."""
        least = available[0]
        tied: list[Backend] = []
        for backend in available:
            # a/v < b/w without division: weights are whole numbers, so ties are exact
            ahead = least.in_flight * backend.share - backend.in_flight * least.share
            if ahead > 0:
                least = backend
                tied = [backend]
            elif not ahead:
                tied.append(backend)
        return least if len(tied) == 1 else self._turns.take(tied)
