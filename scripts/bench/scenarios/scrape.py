"""The scenario about metrics: what a scrape of one worker costs that answers for all of them."""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from http.client import HTTPConnection

from scripts.bench.figures import Sample
from scripts.bench.load import check_answer
from scripts.bench.peers.ours import full
from scripts.bench.scenarios.scenario import Result
from scripts.bench.site import GROUPS, Build, Peer
from scripts.bench.stage import Stage, Unplayable

TOKEN = "bench-" * 6
SCRAPES = 50  # in a visit
EACH = 40  # requests to each group, over connections of their own, so that every worker has had some of most
PATIENCE = 60.0  # seconds for all workers to be there


def scraped(workers: int) -> Build:
    """So many workers, all of it on, whose metrics may be read."""
    return lambda site: full(site, {"LB_ADMIN__TOKEN": TOKEN}, "--workers", str(workers))


def workers_of(peer: Peer) -> str:
    return peer.command[peer.command.index("--workers") + 1]


def ask(connection: HTTPConnection, path: str) -> tuple[int, str]:
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    return response.status, response.read().decode()


def metrics(peer: Peer) -> str:
    """What a new connection is told."""
    with contextlib.closing(HTTPConnection("127.0.0.1", peer.port, timeout=30)) as connection:
        return ask(connection, "/-/metrics")[1]


def sets(text: str) -> int:
    """Label sets: of a histogram one, however many buckets it has."""
    return len([line for line in text.splitlines() if not re.match(r"#|\w+_(bucket|sum)\b", line)])


def prepare(peer: Peer) -> None:
    """Have every worker answer requests of every group. Raises RuntimeError when they do not come to be there."""
    deadline = time.monotonic() + PATIENCE
    while f"\nl7lb_workers {workers_of(peer)}\n" not in metrics(peer):
        if time.monotonic() > deadline:
            raise RuntimeError(f"has not {workers_of(peer)} workers after {PATIENCE:.0f} s")
        time.sleep(0.2)
    for _ in range(EACH):
        with contextlib.closing(HTTPConnection("127.0.0.1", peer.port, timeout=30)) as connection:
            for group in range(GROUPS):
                ask(connection, f"/g{group:03}/x")


def scrape(stage: Stage, rows: dict[str, Build]) -> Result:
    """Milliseconds of a scrape, over a kept connection, of each row. Raises Unplayable, Missing."""

    def visit(peer: Peer, pid: int) -> Sample:
        took, wrong = [], 0
        with contextlib.closing(HTTPConnection("127.0.0.1", peer.port, timeout=30)) as connection:
            ask(connection, "/-/live")
            for _ in range(SCRAPES):
                began = time.perf_counter()
                status, text = ask(connection, "/-/metrics")
                took.append((time.perf_counter() - began) * 1000)
                wrong += status != 200
        return {"scrape_ms": statistics.median(took), "sets": sets(text), "wrong": wrong}

    with stage.backend(), contextlib.ExitStack() as ending:
        ready = stage.start_all(stage.set_up(rows, tls=False), lambda peer: check_answer(peer, tls=False), ending)
        for peer, _ in ready.values():
            try:
                prepare(peer)
            except (RuntimeError, OSError) as why:
                raise Unplayable(f"{peer.name} {why}") from None
        notes = [f"The median of {SCRAPES} scrapes in each round; a worker tells its metrics before it answers."]
        return Result(stage.rounds(ready, visit), ("scrape_ms",), ready, notes)
