"""Prints microseconds a take, in a tight loop: `python -m scripts.bench.taking KIND TAKES DIRECTORY`.

KIND is memory, memory-full, lmdb, lmdb-new, redis or redis-leased; for the last two a server is started in DIRECTORY.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from app.domain.bucket import Rule, TokenBucket
from app.engine.state import open_state
from settings.limits import LimitSettings
from settings.root import Settings
from settings.state import StateSettings
from settings.units import Rate

KINDS = ("memory", "memory-full", "lmdb", "lmdb-new", "redis", "redis-leased")
KEYS = 100
FULL = 100_000


def rule(kind: str) -> Rule:
    """One that lets everything through."""
    slow = kind.endswith(("full", "new"))  # no bucket fills meanwhile, so that none makes room
    return TokenBucket("default", Rate(1_000_000, 1e9 if slow else 1.0), 1_000_000, max_keys=FULL)


def keys_of(kind: str, takes: int) -> list[str]:
    if kind == "lmdb-new":
        return [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(takes)]
    if kind == "memory-full":
        return [f"k{Random(n).randrange(FULL)}" for n in range(takes)]
    return [f"10.0.0.{n % KEYS}" for n in range(takes)]


def timed(work: Callable[[], Any], takes: int) -> dict[str, float]:
    cpu, began = time.process_time(), time.perf_counter()
    work()
    return {
        "take_us": (time.perf_counter() - began) * 1e6 / takes,
        "take_cpu_us": (time.process_time() - cpu) * 1e6 / takes,
    }


def at_hand(kind: str, takes: int, directory: Path) -> dict[str, float]:
    place = f"lmdb:{directory}" if kind.startswith("lmdb") else "memory"
    settings = Settings(state=StateSettings(place=place), rate_limit=LimitSettings(kind="token_bucket", max_keys=FULL))
    state: Any = open_state(settings, Random(1))
    limit, take, now = rule(kind), state.take, time.monotonic()
    if kind == "memory-full":
        for number in range(FULL):
            take("default", f"k{number}", limit, now)
    keys = keys_of(kind, takes)

    def work() -> None:
        for key in keys:
            take("default", key, limit, now)

    return timed(work, takes)


async def far(kind: str, takes: int, directory: Path) -> dict[str, float]:
    from tests.support.redis_server import RedisServer  # noqa: PLC0415  # the tests know how to find and start one

    with RedisServer(directory) as server:
        lease = 1000 if kind == "redis-leased" else 1
        state: Any = open_state(Settings(state=StateSettings(place=server.url, lease=lease, timeout=1.0)), Random(1))
        job = asyncio.create_task(state.run())
        await state.settle(5.0)
        limit = rule(kind)
        keys = keys_of(kind, takes)

        cpu, began = time.process_time(), time.perf_counter()
        for start in range(0, takes, 50):  # as many clients ask at once
            now = time.monotonic()
            left = [key for key in keys[start : start + 50] if state.take("default", key, limit, now) is None]
            await asyncio.gather(*(state.ask("default", key, limit, now) for key in left))
        spent = {
            "take_us": (time.perf_counter() - began) * 1e6 / takes,
            "take_cpu_us": (time.process_time() - cpu) * 1e6 / takes,
        }
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    return spent


def main(kind: str, takes: int, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    spent = asyncio.run(far(kind, takes, directory)) if kind.startswith("redis") else at_hand(kind, takes, directory)
    print(json.dumps(spent))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
