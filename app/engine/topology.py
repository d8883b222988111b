"""All pools now: the one place where they change.

What a pool has is what its sources say: its settings, which have the last word on a backend, and whoever calls
`update`. A backend that no source names any more

    member  --a member is available, or after HOLD-->  leaving  --idle, or after PATIENCE-->  gone

takes nothing new from the moment in which it is leaving; it is not probed any more, and no cookie leads to it. What it
has it finishes, even after PATIENCE: then nobody shows it any more. One that is named again in time is the same one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from time import monotonic
from types import MappingProxyType

from app.domain.backend import Backend
from app.domain.health import Word
from app.domain.membership import Change, deputies, diff, merge
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from settings.pools import BackendSettings, PoolSettings
from settings.root import Settings

HOLD = 30.0
"""Seconds for which backends that no source names any more go on while no other is available."""
PATIENCE = 300.0
"""Seconds for which one that is leaving is waited for."""
NAMED = 10
"""Backends that a line of the log names."""

log = logging.getLogger("l7lb.pool")

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
        self._said: dict[str, dict[str, tuple[BackendSettings, ...]]] = {}
        self._removed: dict[str, dict[str, BackendSettings]] = {}
        self._held: dict[Backend, float] = {}
        self._leaving: dict[Backend, float] = {}

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
            self._removed.pop(name, None)
            if present is not None and present.settings.source is not None and _kind(wanted) != _kind(present.settings):
                self._said.get(name, {}).pop(_kind(present.settings), None)
            specs = self._named(name, wanted)
            before, leaving = (present.backends, present.leaving) if present is not None else ((), ())
            members, change = diff(name, before, specs, wanted.health, leaving)
            for backend in members:
                backend.configure(specs[backend.id], wanted.health)
            pools[name] = Pool(name, wanted, made[name], members, rng=self._rng, tell=partial(_tell, name))
            if present is not None:
                present.yield_to(pools[name])
            joined += change.joined
            left += change.left
        self.pools = MappingProxyType(pools)
        self._said = {name: said for name, said in self._said.items() if name in pools}
        self._removed = {name: removed for name, removed in self._removed.items() if name in pools}
        self._depart(left)
        if self._gate is None:
            self._gate = self._clock() + settings.initial_grace
        change = Change(tuple(joined), tuple(left))
        self._announce(change)
        return change

    def update(self, pool: str, source: str, members: Iterable[BackendSettings]) -> Change:
        """Take what *source* now says that *pool* has, all of it; merge it with what the others say.

        The pool keeps its object. Listeners are told where that changes anything. A source says nothing any more when
        it says that there is nobody.

        Raises:
            KeyError: there is no such pool.
        """
        present = self.pools[pool]
        said = tuple(sorted(members, key=lambda one: (one.id, one.url)))
        of_pool = self._said.setdefault(pool, {})
        if of_pool.get(source) == said:
            return Change((), ())
        of_pool[source] = said
        return self._follow(present)

    def tidy(self) -> None:
        """Let those go whose time is over; wanted about once a second."""
        now = self._clock()
        for name in {backend.pool for backend, until in self._held.items() if until <= now}:
            self._follow(self.pools[name])
        for backend, until in tuple(self._leaving.items()):
            if backend.idle or not backend.leaving or until <= now:
                del self._leaving[backend]
                if backend.leaving and (pool := self.pools.get(backend.pool)) is not None:
                    pool.forget((backend,))

    def remove(self, backend: Backend) -> None:
        """Take a backend out of its pool, which keeps its object, and tell the listeners.

        It is back when it is restored, when settings are applied that change its pool and still have it, when its
        source says something else of it, or when all sources have stopped to name it and one begins anew.
        """
        self.pools[backend.pool].remove(backend)
        self._removed.setdefault(backend.pool, {})[backend.id] = backend.spec
        self._depart((backend,))
        self._announce(Change((), (backend,)))

    def restore(self, pool: str, backend: str) -> None:
        """Have a backend again that was removed, where a source names it."""
        if self._removed.get(pool, {}).pop(backend, None) is not None:
            self._follow(self.pools[pool])

    def named(self, pool: str) -> frozenset[str] | None:
        """Whom the sources of *pool* name, taken out or not; None while its own source has not said who they are."""
        present = self.pools.get(pool)
        if present is None:
            return frozenset()
        said = self._said.get(pool, {})
        if present.settings.source is not None and _kind(present.settings) not in said:
            return None
        return frozenset(spec.id for specs in (present.settings.backends, *said.values()) for spec in specs)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have *listener* called after each change of the backends; the function that comes back ends it.

        What it raises is logged, for it cannot undo the change.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def observe(self, backend: Backend, failure: str, now: float) -> bool:
        """Take the answer of a probe, why it failed or "" for a pass; True when the backend's health flipped."""
        flipped = backend.health.observe(failure, now)
        if flipped:
            self._flip(backend, now)
        return flipped

    def believe(self, backend: Backend, word: Word, now: float) -> bool:
        """Take the word of another process that probes it; True when the backend's health flipped."""
        flipped = backend.health.adopt(*word)
        if flipped:
            self._flip(backend, now)
        return flipped

    def ready(self, now: float) -> tuple[bool, dict[str, dict[str, int]]]:
        """Whether requests may come, and how many backends each pool has, and has available.

        The gate opens when every pool that has backends has one available, and every source has said who they are, or
        `initial_grace` after the first `apply`; once open it stays open: a pool that is lost later is no reason to take
        the others out of service.
        """
        found = {
            name: {"available": len(pool.available), "backends": len(pool.backends)}
            for name, pool in self.pools.items()
        }
        if self._gate is None:
            return False, found
        if now >= self._gate or not any(self._awaited(pool) for pool in self.pools.values()):
            self._gate = now
        return now >= self._gate, found

    def _flip(self, backend: Backend, now: float) -> None:
        if (pool := self.pools.get(backend.pool)) is not None:
            pool.flip(backend, now)
            if any(held.pool == backend.pool for held in self._held):
                self._follow(pool)

    def _awaited(self, pool: Pool) -> bool:
        if pool.available:
            return False
        return self.named(pool.name) is None or bool(pool.backends)

    def _named(self, name: str, settings: PoolSettings) -> dict[str, BackendSettings]:
        """By id, whom the sources of a pool name, but for those that somebody has removed."""
        said = self._said.get(name, {})
        others = sorted(said.items(), key=lambda item: (item[0] == _kind(settings), item[0]))
        merged = merge({"": settings.backends, **dict(others)})
        if removed := self._removed.get(name):
            self._removed[name] = still = {id_: spec for id_, spec in removed.items() if merged.get(id_) == spec}
            for backend in still:
                del merged[backend]
        return merged

    def _follow(self, pool: Pool) -> Change:
        """Have *pool* as its sources say."""
        before = pool.backends
        health = pool.settings.health
        specs = self._named(pool.name, pool.settings)
        members, change = diff(pool.name, before, specs, health, pool.leaving)
        others = [backend for backend in members if backend.spec != specs[backend.id]]
        for backend in others:
            backend.configure(specs[backend.id], health)
        for backend in members:
            self._held.pop(backend, None)
        now = self._clock()
        held = deputies(change.left, members)
        held = tuple(backend for backend in held if self._held.setdefault(backend, now + HOLD) > now)
        after = (*members, *held)
        change = Change(change.joined, tuple(backend for backend in change.left if backend not in held))
        if after == before and not others:
            return change
        pool.change(after)
        self._depart(change.left)
        _tell_change(pool.name, change)
        self._announce(change)
        return change

    def _depart(self, left: Iterable[Backend]) -> None:
        until = self._clock() + PATIENCE
        for backend in left:
            self._held.pop(backend, None)
            backend.let_go = until  # what has no end of its own, such as a WebSocket, is ended then
            if not backend.idle:
                self._leaving[backend] = until

    def _announce(self, change: Change) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:  # it has changed already: who comes after must hear of it, and a reload come to its end
                log.exception("a defect of ours, please report it")


def _kind(settings: PoolSettings) -> str:
    return settings.source.kind if settings.source is not None else ""


def _tell_change(pool: str, change: Change) -> None:
    for word, backends in (("joined", change.joined), ("left", change.left)):
        if backends:
            log.info("pool %s: %s: %s", pool, word, _names(backends))


def _names(backends: Sequence[Backend]) -> str:
    named = ", ".join(backend.id for backend in backends[:NAMED])
    return named if len(backends) <= NAMED else f"{named} and {len(backends) - NAMED} more"


def _tell(pool: str, sentence: str, backend: Backend | None) -> None:
    level = logging.WARNING if sentence.startswith(("ejected", "panic:")) else logging.INFO
    if backend is None:
        log.log(level, "pool %s: %s", pool, sentence)
    else:
        log.log(level, "pool %s: backend %s is %s", pool, backend.id, sentence)
