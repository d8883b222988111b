"""The scenario about latency: requests come at a fixed rate, whatever the answers take."""

from __future__ import annotations

import contextlib
import statistics

from scripts.bench.figures import Sample
from scripts.bench.load import TICK_RPS, Load, check_answer, run_slice
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import Build, Peer
from scripts.bench.stage import Stage, Unplayable

SHARE = 0.6  # of l7lb's own saturation
SATURATING = 3  # slices, of which the median is the saturation
SECONDS = 2.0  # of a slice


def open_loop(saturation: float, seconds: float) -> Load:
    """60 % of it, over so many connections that h2load sends no bursts."""
    rps = SHARE * saturation
    connections = max(int(rps / TICK_RPS), 1)
    return Load(max(int(rps * seconds / connections), 1) * connections, connections, rps=rps)


def rate(stage: Stage, rows: dict[str, Build]) -> Result:
    """p50 and p99 of all at 60 % of the rate at which l7lb (its first row) saturates. Raises Unplayable, Missing."""
    asked = stage.asked

    def saturation(peer: Peer, pid: int) -> float:
        load = Load(asked.requests, asked.connections)
        slices = [run_slice(peer, pid, load, stage.load_core, stage.directory) for _ in range(SATURATING + 1)]
        return statistics.median(one["rps"] for one in slices[1:])

    with stage.backend(), contextlib.ExitStack() as ending:
        ready = stage.start_all(stage.set_up(rows, tls=False), lambda peer: check_answer(peer, tls=False), ending)
        ours = next((row for row in ready if row.startswith("l7lb")), None)
        if not ours:
            raise Unplayable("l7lb is not there, whose rate it is")
        most = saturation(*ready[ours])
        load = open_loop(most, 0.5 if asked.quick else SECONDS)

        def visit(peer: Peer, pid: int) -> Sample:
            return run_slice(peer, pid, load, stage.load_core, stage.directory)

        notes = [
            f"{load.rps:.0f} requests a second over {load.connections} connections: 60 % of the {most:.0f} of {ours}.",
            "req/s is what came of it, the start of the connections included.",
            "h2load counts from when it sends; what waits because its connection still waits counts from later.",
        ]
        return Result(stage.rounds(ready, visit), ("p99_ms", "p50_ms"), ready, notes)
