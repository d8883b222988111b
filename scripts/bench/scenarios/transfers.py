"""Scenarios that are one large body at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from scripts.bench.figures import Sample
from scripts.bench.load import SETTLE
from scripts.bench.processes import cpu_ns, rss_kib
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import Build, Peer
from scripts.bench.stage import Stage

BLOCKS = 100  # MiB


@dataclass(frozen=True)
class Transfer:
    """CPU milliseconds for 100 MiB, every byte of which is checked."""

    carry: Callable[[int, str, int], tuple[float, bool]]
    """Port, target, MiB to seconds, and whether all was right."""

    def __call__(self, stage: Stage, rows: dict[str, Build]) -> Result:
        """Raises Unplayable, Missing."""
        blocks = BLOCKS // 10 if stage.asked.quick else BLOCKS

        def check(peer: Peer) -> None:
            _, right = self.carry(peer.port, peer.target, 1)
            if not right:
                raise RuntimeError("changes what it carries")

        def visit(peer: Peer, pid: int) -> Sample:
            before = cpu_ns(pid)
            seconds, right = self.carry(peer.port, peer.target, blocks)
            time.sleep(SETTLE)
            spent = (cpu_ns(pid) - before) / 1e6 * BLOCKS / blocks
            return {
                "cpu_ms": spent,
                "mib_s": blocks / seconds,
                "rss_mib": rss_kib(pid) / 1024,
                "wrong": 0 if right else 1,
            }

        with stage.backend(), contextlib.ExitStack() as ending:
            ready = stage.start_all(stage.set_up(rows, tls=False), check, ending)
            notes = ["nginx puts in files what its buffers do not hold, as it does by itself; nginx-stream does not."]
            return Result(stage.rounds(ready, visit), ("cpu_ms",), ready, notes)
