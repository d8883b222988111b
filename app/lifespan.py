"""Starting and stopping: what runs beside the requests, and in which order it begins and ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.edge.adopt import adopt
from app.edge.link import STATE_KEY, Link
from app.engine.acme.keeper import Keeper
from app.engine.caches.purges import Purges
from app.engine.calls import Calls
from app.engine.client import Client
from app.engine.crew import Crew
from app.engine.discovery.watch import Watcher
from app.engine.duty import Duty
from app.engine.hints import Hints
from app.engine.jobs import Jobs
from app.engine.mirror import Copies
from app.engine.prober import Prober
from app.engine.registrations import Registrations
from app.engine.reload import Reload
from app.engine.state import Boards, RemoteState, State
from app.engine.telemetry.access_log import AccessLog
from app.engine.telemetry.journal import Journal
from app.engine.telemetry.tallies import Tallies
from app.engine.topology import Topology
from app.engine.transport import trust
from app.engine.tunnels import Tunnels
from app.groups.authorities import Authorities
from app.groups.stores import Stores
from app.middleware.buffered import Buffered
from app.middleware.overload import Lag
from app.planes import Planes
from app.renewal import Renewal
from settings import Settings

PATIENCE = 1.0
"""Seconds that we wait for shared state; without it, limits begin as they do while it is away."""

LOOK = 0.02
"""Seconds between two looks whether a worker is ready."""

_log = logging.getLogger("l7lb")


@dataclass(frozen=True, slots=True)
class Running:
    """What has a beginning and an end, made by compose."""

    settings: Settings
    client: Client
    jobs: Jobs
    topology: Topology
    duty: Duty
    prober: Prober
    watcher: Watcher
    state: State | RemoteState
    boards: Boards
    journal: Journal
    access_log: AccessLog | None
    copies: Copies
    tunnels: Tunnels
    stores: Stores
    authorities: Authorities
    lag: Lag | None
    held: Buffered | None
    link: Link
    reload: Reload[Any]
    calls: Calls
    purges: Purges
    registrations: Registrations
    crew: Crew
    tallies: Tallies
    hints: Hints
    renewals: list[Renewal[Any]]
    keeper: Keeper | None


@asynccontextmanager
async def lifespan(app: Planes, running: Running) -> AsyncIterator[dict[str, Any]]:
    """Start, hand the edge its link, and stop.

    Nothing here waits for a backend, and for shared state for a second at most: the listener opens at once, and
    `/-/ready` says when requests may come. Nobody can ask that of one worker among several: such a one begins to listen
    when requests may come to it; until then they go to the others, or wait. At the end uvicorn has closed its listeners
    and let the requests finish before we are told.
    """
    for warning in running.settings.warnings:
        _log.warning("%s", warning)
    running.client.upstream.start()
    if running.access_log is not None:
        running.access_log.start()
    running.jobs.start("prober", running.prober.run)
    running.jobs.start("sources", running.watcher.run)
    shared = {"state": running.state, "board": running.boards.machine, "cluster": running.boards.cluster}
    for name, place in shared.items():
        if (run := getattr(place, "run", None)) is not None:  # it may be away
            running.jobs.start(name, run)
    for place in shared.values():
        if hasattr(place, "settle"):
            await place.settle(PATIENCE)
    for name, store in running.stores.by_name.items():
        running.jobs.start(f"cache {name}", store.run)
    running.jobs.start("crew", running.crew.run)
    running.jobs.start("duty", running.duty.run)
    running.jobs.start("tallies", running.tallies.run)
    running.jobs.start("hints", running.hints.run)
    await running.calls.settle()
    await running.reload.settle()
    running.jobs.start("settings file", running.reload.watch)
    running.jobs.start("reloads", running.calls.run)
    running.jobs.start("purges", running.purges.run)
    await running.registrations.settle()
    running.jobs.start("registrations", running.registrations.run)
    hung_up = _on_hang_up(running)
    if running.lag is not None:
        running.jobs.start("loop lag", running.lag.run)
    if running.held is not None:
        running.jobs.start("buffered", running.held.run)
    assert app.lifespan_receive is not None
    adopted = adopt(
        app.lifespan_receive,
        link=running.link,
        drain=running.settings.drain,
        tls=running.settings.tls,
    )
    interval = running.settings.tls.reload_interval
    if adopted is not None and adopted.names is not None:
        running.renewals.extend(adopted.names.renewals)
        if interval:
            running.jobs.start("certificates", partial(adopted.names.watch, interval))
    if interval:
        running.jobs.start("trust", partial(trust.watch, running.topology, interval))
    if running.keeper is not None:
        running.jobs.start("acme", running.keeper.run)
    _settle()
    if multiprocessing.parent_process() is not None:
        await _ready(running.topology)
    try:
        yield {STATE_KEY: running.link}
    finally:
        hung_up()
        if adopted is not None:
            adopted.release()
        await running.tunnels.close()
        await running.jobs.stop()
        await running.copies.stop()
        await running.stores.stop()
        await running.authorities.stop()
        await running.client.aclose()
        running.journal.close()
        await running.tallies.tell()  # the last of it
        for place in {running.state, *running.boards}:
            if (close := getattr(place, "close", None)) is not None:
                close()
        if running.access_log is not None:
            await running.access_log.stop()


async def _ready(topology: Topology) -> None:
    """Wait until requests may come; for `initial_grace` at most."""
    while True:
        opened, _ = topology.ready(time.monotonic())
        if opened:
            return
        await asyncio.sleep(LOOK)


def _on_hang_up(running: Running) -> Callable[[], None]:
    """Have SIGHUP reload a process that is alone; what comes back ends that.

    That of a supervisor starts its workers anew, one after the other, and they read everything.
    """
    alone = multiprocessing.parent_process() is None and threading.current_thread() is threading.main_thread()
    if not alone or running.settings.config is None:
        return lambda: None
    loop = asyncio.get_running_loop()
    tasks = set[asyncio.Task[None]]()

    def reload() -> None:
        task = loop.create_task(running.reload.attempt())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    before = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, reload)

    def release() -> None:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, before)

    return release


def _settle() -> None:
    """What is there now stays: spare the collector looking at it again and again, for that is what shows at the p99."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
