"""All pools now: the one place where they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from time import monotonic
from types import MappingProxyType

from app.domain.backend import Backend
from app.domain.membership import Change, diff, merge
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from settings.root import Settings

Listener = Callable[[Change], None]


class Topology:
    """The pools, by name.

    Attributes:
        pools: an immutable mapping, replaced whole by `apply`. A pool whose settings stay keeps its object, a backend
            of the same id and address keeps its object in any case, with its health and its counters.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic, rng: Random | None = None) -> None:
        self.pools: Mapping[str, Pool] = MappingProxyType({})
        self._clock = clock
        self._rng = rng or Random()
        self._listeners: list[Listener] = []
        self._gate: float | None = None

    def apply(self, settings: Settings) -> Change:
        """Make the pools as *settings* say, all or nothing, and tell the listeners.

        Raises:
            ValueError: a strategy is unknown, or its options are wrong; nothing was changed.
        """
        pools: dict[str, Pool] = {}
        joined: list[Backend] = []
        left = [b for name, pool in self.pools.items() if name not in settings.pools for b in pool.backends]
        made = {name: STRATEGIES.build(wanted.strategy, rng=self._rng) for name, wanted in settings.pools.items()}
        for name, wanted in settings.pools.items():
            present = self.pools.get(name)
            if present is not None and present.settings == wanted:
                pools[name] = present
                continue
            specs = merge({"settings": wanted.backends})
            members, change = diff(name, present.backends if present else (), specs, wanted.health)
            for backend in members:
                backend.configure(specs[backend.id], wanted.health)
            pools[name] = Pool(name, wanted, made[name], members)
            joined += change.joined
            left += change.left
        self.pools = MappingProxyType(pools)
        if self._gate is None:
            self._gate = self._clock() + settings.initial_grace
        change = Change(tuple(joined), tuple(left))
        for listener in tuple(self._listeners):
            listener(change)
        return change

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have *listener* called after each `apply`; the function that comes back ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def observe(self, backend: Backend, failure: str, now: float) -> bool:
        """Take the answer of a probe, why it failed or "" for a pass; True when the backend's health flipped."""
        flipped = backend.health.observe(failure, now)
        if flipped and (pool := self.pools.get(backend.pool)) is not None:
            pool.refresh()
        return flipped

    def ready(self, now: float) -> tuple[bool, dict[str, dict[str, int]]]:
        """Whether requests may come, and how many backends each pool has, and has available.

        The gate opens when every pool that has backends has one available, or `initial_grace` after the first `apply`;
        once open it stays open: a pool that is lost later is no reason to take the others out of service.
        """
        found = {
            name: {"available": len(pool.available), "backends": len(pool.backends)}
            for name, pool in self.pools.items()
        }
        if self._gate is None:
            return False, found
        if now >= self._gate or all(n["available"] or not n["backends"] for n in found.values()):
            self._gate = now
        return now >= self._gate, found
