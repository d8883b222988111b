"""The scenario about WebSockets: small messages over connections that stay."""

from __future__ import annotations

import contextlib
import time

from scripts.bench.figures import Sample
from scripts.bench.load import SETTLE
from scripts.bench.processes import cpu_ns, rss_kib
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import Build, Peer
from scripts.bench.stage import Stage
from scripts.bench.talk import talk

PART = 5  # a message costs less than a request


def messages(stage: Stage, rows: dict[str, Build]) -> Result:
    """CPU microseconds of a message and its answer, handshakes included. Raises Unplayable, Missing."""
    asked = stage.asked

    def check(peer: Peer) -> None:
        if talk(peer.port, peer.target, 1, 1)[2]:
            raise RuntimeError("changes what it carries")

    def visit(peer: Peer, pid: int) -> Sample:
        count = asked.requests * PART // asked.connections * asked.connections
        before = cpu_ns(pid)
        seconds, p50, wrong = talk(peer.port, peer.target, count, asked.connections)
        time.sleep(SETTLE)
        spent = (cpu_ns(pid) - before) / 1000 / count
        return {"cpu_us": spent, "rps": count / seconds, "p50_ms": p50, "rss_mib": rss_kib(pid) / 1024, "wrong": wrong}

    with stage.backend(), contextlib.ExitStack() as ending:
        ready = stage.start_all(stage.set_up(rows, tls=False), check, ending)
        notes = ["A request is a message of 125 bytes and its answer, of the same size."]
        return Result(stage.rounds(ready, visit), ("cpu_us",), ready, notes)
