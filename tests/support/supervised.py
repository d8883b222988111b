"""The workers of a balancer that was started with `--workers`."""

from __future__ import annotations

from pathlib import Path

from tests.support.server import Balancer


def several(count: int) -> tuple[str, ...]:
    """
    The flags for so many workers.

    A machine that is busy with other tests may take longer to start one than the 5 s after which uvicorn gives up.
    Where one is killed just as uvicorn asks it whether it is well, it takes that long to be missed.
    """
    return ("--workers", str(count), "--timeout-worker-healthcheck", "20")


def children(pid: int) -> list[int]:
    """Processes that it started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def serving(balancer: Balancer) -> list[int]:
    """Its workers: children other than the resource tracker."""

    def command(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            return ""

    return [pid for pid in children(balancer.process.pid) if "spawn_main" in command(pid)]
