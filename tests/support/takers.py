"""Processes that spend from one bucket: `python -m tests.support.takers PLACE TAKES BURST [WORKERS]`.

Prints how many of TAKES tokens were allowed. A line on standard input starts it, so that several begin together. With
WORKERS it is a supervisor of that many workers, which share what its own environment says.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from random import Random
from time import monotonic
from typing import Any

from app.domain.bucket import TokenBucket
from app.engine.state import open_state
from settings.root import Settings
from settings.state import StateSettings
from settings.units import Rate

AT_ONCE = 50


async def spend(place: str, takes: int, burst: int, ready: Any, lease: int = 1) -> int:
    """Take as often as that, fifty at once. *ready* is called when everything is there."""
    state: Any = open_state(Settings(state=StateSettings(place=place, lease=lease, timeout=5.0)), Random())
    rule = TokenBucket("default", Rate(burst, 1e6), burst)
    job = asyncio.create_task(state.run()) if hasattr(state, "run") else None
    if job is not None:
        await state.settle(5.0)
        assert not state.away
    ready()

    async def some(number: int) -> int:
        allowed = 0
        for _ in range(number):
            now = monotonic()
            decision = state.take("default", "a", rule, now)
            allowed += (decision or await state.ask("default", "a", rule, now)).allowed
        return allowed

    allowed = sum(await asyncio.gather(*(some(takes // AT_ONCE) for _ in range(AT_ONCE))))
    assert not getattr(state, "alone", 0) + getattr(state, "failed", 0)
    if job is not None:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    return allowed


def wait() -> None:
    """For the line that starts it."""
    print("ready", flush=True)
    sys.stdin.readline()


def work(place: str, takes: int, burst: int, barrier: Any, found: Any) -> None:
    """One worker."""
    found.put(asyncio.run(spend(place, takes, burst, barrier.wait)))


def main(place: str, takes: int, burst: int, workers: int = 0, *, lease: int = 1) -> int:
    """Of this process, or of that many workers."""
    if not workers:
        return asyncio.run(spend(place, takes, burst, wait, lease))
    spawn = multiprocessing.get_context("spawn")
    barrier, found = spawn.Barrier(workers), spawn.SimpleQueue()
    processes = [spawn.Process(target=work, args=(place, takes, burst, barrier, found)) for _ in range(workers)]
    for process in processes:
        process.start()
    allowed = [found.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(allowed)


if __name__ == "__main__":
    print(main(sys.argv[1], *map(int, sys.argv[2:])))
