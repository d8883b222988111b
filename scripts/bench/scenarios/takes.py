"""The scenario about limits: what one decision costs in each kind of state, in a tight loop."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from scripts.bench.figures import Sample
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import ROOT, Build, Peer, Site
from scripts.bench.stage import Stage, Unplayable
from scripts.bench.taking import FULL

TAKES = 400_000
SLOWER = {"redis": 20, "lmdb-new": 5}
"""Kinds that do so many times fewer; a new key is new once."""


def taking(kind: str) -> Build:
    """A process that does nothing but take from a state of this kind."""

    def build(site: Site) -> Peer:
        command = [site.python.path, "-m", "scripts.bench.taking", kind]
        return Peer(f"l7lb {kind}", command, 0, str(site.python))

    return build


def takes(stage: Stage, rows: dict[str, Build]) -> Result:
    """Microseconds of CPU, and of time, of one take. Raises Unplayable, Missing."""
    ready = {peer.name: (peer, 0) for peer in stage.set_up(rows, tls=False)}

    def visit(peer: Peer, _: int) -> Sample:
        kind = peer.command[-1]
        number = min(TAKES // SLOWER.get(kind, 1), FULL) if kind in SLOWER else TAKES
        number = number // 20 if stage.asked.quick else number
        with tempfile.TemporaryDirectory(dir=stage.directory) as directory:
            command = [*peer.command, str(number), str(Path(directory) / "state")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unplayable(f"{peer.name} failed: {done.stderr[-500:]}")
        return {**json.loads(done.stdout), "wrong": 0}

    notes = [
        f"100 keys; memory-full has {FULL} in its table, lmdb-new never sees one twice.",
        "redis asks for 50 keys at once, redis-leased up to 1000 tokens in advance: renewals included.",
    ]
    return Result(stage.rounds(ready, visit), ("take_cpu_us", "take_us"), ready, notes)
