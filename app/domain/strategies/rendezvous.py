"""Rendezvous hashing (highest random weight): each backend draws for the key, and the first wins; O(n) a pick.

    time of a backend = -ln(digest(id, key) as a number from 0 to 1) / weight, an exponential of rate weight

The least of exponentials is that of a backend with probability weight / all weights, and taking one away changes
nothing in the order of the others: exactly the keys of a backend that leaves move, and to a backend that joins exactly
its share. Nothing is laid out, so nothing is kept and a change costs nothing. For many backends take `ring_hash`.

Sources: D. Thaler, C. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6 (1998); weights
as in C. Schindelhauer, G. Schomaker, "Weighted distributed hash tables", SPAA 2005.
"""

from __future__ import annotations

from app.domain.strategies.hashing import Hashing


class Rendezvous(Hashing):
    """Each key to the first of an order of its own."""

    __slots__ = ()
