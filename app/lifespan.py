"""Starting and stopping: what runs beside the requests, and in which order it begins and ends."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from app.edge.adopt import adopt
from app.edge.link import STATE_KEY, Link
from app.engine.client import Client
from app.engine.jobs import Jobs
from app.engine.prober import Prober
from app.engine.telemetry.access_log import AccessLog
from app.engine.telemetry.journal import Journal
from app.planes import Planes
from settings import Settings

_log = logging.getLogger("l7lb")


@dataclass(frozen=True, slots=True)
class Running:
    """What has a beginning and an end, made by compose."""

    settings: Settings
    client: Client
    prober: Prober
    journal: Journal
    access_log: AccessLog | None
    link: Link
    jobs: Jobs


@asynccontextmanager
async def lifespan(app: Planes, running: Running) -> AsyncIterator[dict[str, Any]]:
    """Start, hand the edge its link, and stop.

    Nothing here waits for a backend: the listener opens at once, and `/-/ready` says when requests may come. At the end
    uvicorn has closed its listeners and let the requests finish before we are told.
    """
    for warning in running.settings.warnings:
        _log.warning("%s", warning)
    running.client.upstream.start()
    if running.access_log is not None:
        running.access_log.start()
    running.jobs.start("prober", running.prober.run)
    assert app.lifespan_receive is not None
    adopted = adopt(
        app.lifespan_receive,
        link=running.link,
        drain=running.settings.drain,
        tls=running.settings.tls,
    )
    if adopted is not None and adopted.certificate is not None:
        running.jobs.start("certificate", adopted.certificate)
    _settle()
    try:
        yield {STATE_KEY: running.link}
    finally:
        if adopted is not None:
            adopted.release()
        await running.jobs.stop()
        await running.client.aclose()
        running.journal.close()
        if running.access_log is not None:
            await running.access_log.stop()


def _settle() -> None:
    """What is there now stays: spare the collector looking at it again and again, for that is what shows at the p99."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
