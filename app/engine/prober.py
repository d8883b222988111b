"""Probes the backends of the topology that are ours to probe, for as long as they are there; says when one flips."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from time import monotonic

from app.domain.backend import Backend
from app.domain.health import State, probe_kind
from app.domain.membership import Change
from app.domain.proxy_header import LOCAL
from app.engine.duty import Duty
from app.engine.probe import Probe
from app.engine.topology import Topology
from settings.pools import BackendTlsSettings, PoolSettings
from settings.resilience import HealthSettings

log = logging.getLogger("l7lb.health")

Terms = tuple[HealthSettings, BackendTlsSettings, bytes]


class Prober:
    """The job that keeps health up to date; `run` is its coroutine.

    All backends are probed at once when it starts, up to *concurrency* at a time, and from then on each in its own
    rhythm. It follows the topology: who joined is probed at once, and so is who is to be probed in another way. What
    *duty* leaves to other processes is not probed here; without one, nothing is.
    """

    def __init__(
        self,
        topology: Topology,
        duty: Duty | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        rng: Random | None = None,
        concurrency: int = 64,
    ) -> None:
        self._topology = topology
        self._duty = duty
        self._clock = clock
        self._rng = rng or Random()
        self._concurrency = concurrency
        self._room = asyncio.Semaphore(concurrency)
        self._watches: dict[Backend, tuple[Terms, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Probe until cancelled."""
        self._room = asyncio.Semaphore(self._concurrency)
        try:
            async with asyncio.TaskGroup() as group:

                def follow(change: Change | None = None) -> None:
                    self._follow(group)

                follow()
                unlisten = self._topology.listen(follow)
                if self._duty is not None:
                    self._duty.changed = follow
                try:
                    await asyncio.get_running_loop().create_future()  # until cancelled
                finally:
                    unlisten()
                    if self._duty is not None:
                        self._duty.changed = lambda: None
        finally:
            self._watches.clear()

    def _follow(self, group: asyncio.TaskGroup) -> None:
        """One watch for each backend that is to be probed, on the terms that hold now."""
        wanted: dict[Backend, Terms] = {
            backend: (pool.settings.health, pool.settings.tls, _header(pool.settings))
            for pool in self._topology.pools.values()
            if probe_kind(pool.settings.health) != "none"
            for backend in pool.backends
            if self._duty is None or self._duty.mine(pool, backend)
        }
        for backend, (terms, watch) in tuple(self._watches.items()):
            if wanted.get(backend) != terms:
                watch.cancel()
                del self._watches[backend]
        for backend, terms in wanted.items():
            if backend not in self._watches:
                watch = group.create_task(self._watch(backend, terms), name=f"probe {backend.pool}/{backend.id}")
                self._watches[backend] = terms, watch

    async def _watch(self, backend: Backend, terms: Terms) -> None:
        probe = Probe(backend, *terms)
        health = backend.health
        first = True
        while True:
            async with self._room:
                started = self._clock()
                failure = await probe.ask()
            now = self._clock()
            before = health.word
            if failure is not None and self._topology.observe(backend, failure, now):
                _tell(backend)
            if probe.load and (pool := self._topology.pools.get(backend.pool)) is not None:
                pool.report(backend, probe.load, now)
            if self._duty is not None:
                self._duty.tell(backend, before, probe.load)
            due = health.plan(started, self._rng, first=first)
            first = False
            await asyncio.sleep(max(due - now, 0.0))


def _header(settings: PoolSettings) -> bytes:
    """What a probe begins with, where connections to the backends begin with a PROXY header; not at another port."""
    version = settings.proxy_header.version
    return LOCAL[version] if version and settings.health.port is None else b""


def _tell(backend: Backend) -> None:
    health = backend.health
    if health.state is State.UP:
        log.info("pool %s: backend %s is UP", backend.pool, backend.id)
    else:
        log.warning("pool %s: backend %s is DOWN: %s", backend.pool, backend.id, health.reason)
