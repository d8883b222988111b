"""Scenarios that are slices of many small requests."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass

from scripts.bench.figures import Sample
from scripts.bench.load import Load, check_answer, run_slice
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import Build, Peer
from scripts.bench.stage import Stage


@dataclass(frozen=True)
class Requests:
    """CPU a request, in slices of as many requests as are asked for."""

    tls: bool = False
    body: int = 0
    close: bool = False
    part: float = 1.0
    """Of the requests that are asked for."""
    least: int = 0
    """Requests in a slice, however few are asked for."""
    connections: int = 0
    """However many are asked for; 0 is as many."""

    def __call__(self, stage: Stage, rows: dict[str, Build]) -> Result:
        """Raises Unplayable, Missing, RuntimeError."""
        asked = stage.asked
        requests = max(int(asked.requests * self.part), self.least)
        load = Load(requests, self.connections or asked.connections, self.tls, self.body, self.close)

        def check(peer: Peer) -> None:
            check_answer(peer, self.tls, self.body)

        def visit(peer: Peer, pid: int) -> Sample:
            requests = max(int(load.requests * peer.share), load.connections)
            mine = dataclasses.replace(load, requests=requests)
            return run_slice(peer, pid, mine, stage.load_core, stage.directory)

        with stage.backend(), contextlib.ExitStack() as ending:
            ready = stage.start_all(stage.set_up(rows, self.tls), check, ending)
            return Result(stage.rounds(ready, visit), ("cpu_us",), ready)
