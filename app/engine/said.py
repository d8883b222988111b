"""Has the topology be as is said of backends at run time: registered, weighed, drained, taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from math import inf

from app.domain.backend import Backend
from app.domain.membership import Change
from app.domain.pool import Pool
from app.domain.registration import Registration
from app.engine.topology import Topology
from settings.pools import BackendSettings

SOURCE = "admin"

Key = tuple[str, str]
"""Names of a pool and a backend."""


class Said:
    """What is said, applied again whenever the topology changes.

    Backends that are registered are those of a source, like any other. What holds in place of what their sources say
    is remembered as ours, so that it ends when it is said no more.

    Args:
        networks: in which a registered backend may be.

        clock: of `let_go` in the pools.

        wall: of `let_go` in what is said.
    """

    def __init__(
        self,
        topology: Topology,
        networks: tuple[IPv4Network | IPv6Network, ...],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._topology = topology
        self._networks = networks
        self._clock = clock
        self._wall = wall
        self._known: Mapping[Key, Registration] = {}
        self._allowed: dict[BackendSettings, BackendSettings] = {}
        self._weighed: set[Backend] = set()
        self._drained: set[Backend] = set()
        self._removed: set[Key] = set()
        self._named: set[str] = set()
        self._applying = False
        topology.listen(self._changed)

    def hold(self, known: Mapping[Key, Registration]) -> None:
        """Have *known* hold."""
        self._known = known
        self._apply()
        named = {said.spec for said in known.values()}
        self._allowed = {spec: allowed for spec, allowed in self._allowed.items() if spec in named}

    def allowed(self, spec: BackendSettings) -> BackendSettings:
        """A backend that is registered, as our source names it: in the networks that are allowed."""
        found = self._allowed.get(spec)
        if found is None:
            found = self._allowed[spec] = spec.model_copy(update={"networks": self._networks})
        return found

    def _changed(self, _: Change) -> None:
        """Backends came, or pools are others: what is said holds for them, too."""
        if not self._applying:
            self._apply()

    def _apply(self) -> None:
        self._applying = True
        try:
            for key in [key for key in self._removed if not self._of(*key).removed]:
                self._removed.discard(key)
                self._topology.restore(*key)
            named = {key[0] for key, said in self._known.items() if said.spec is not None}
            for name in (named | self._named).intersection(self._topology.pools):
                self._topology.update(name, SOURCE, self._members(name))
            self._named = named
            for pool in tuple(self._topology.pools.values()):
                for backend in pool.backends:
                    self._hold(pool, backend)
        finally:
            self._applying = False
        pools = self._topology.pools.values()
        present = {backend for pool in pools for backend in (*pool.backends, *pool.leaving)}
        self._weighed &= present
        self._drained &= present

    def _of(self, pool: str, backend: str) -> Registration:
        return self._known.get((pool, backend), Registration())

    def _members(self, pool: str) -> list[BackendSettings]:
        return [
            self.allowed(said.spec) for key, said in self._known.items() if key[0] == pool and said.spec is not None
        ]

    def _hold(self, pool: Pool, backend: Backend) -> None:
        """Have what is said of one backend hold."""
        said, source = self._of(pool.name, backend.id), backend.spec
        if said.removes(source):
            self._removed.add((pool.name, backend.id))
            self._topology.remove(backend)
            return
        if said.weight is not None or backend in self._weighed:  # else it is as its source has it
            if backend.weight != (weight := said.weight_of(source)):
                pool.weigh(backend, weight)
            if said.weight is None:
                self._weighed.discard(backend)
            else:
                self._weighed.add(backend)
        until = inf if said.let_go is None else self._clock() + said.let_go - self._wall()
        if said.draining and not (backend.draining and _close(backend.let_go, until)):
            pool.drain(backend, until)
            self._drained.add(backend)
        elif not said.draining and backend in self._drained:
            self._drained.discard(backend)
            pool.undrain(backend)


def _close(one: float, other: float) -> bool:
    """Two clocks are compared: not to the last digit."""
    return one == other or abs(one - other) < 1.0
