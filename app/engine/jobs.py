"""What runs beside the requests: named background tasks, started again when they crash, stopped in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger("l7lb.jobs")

SETTLED = 60.0
"""Seconds that a job must have run for its next crash to count as the first."""


class Jobs:
    """The background tasks of one process.

    Args:
        backoff: seconds before a job that crashed is started again; doubled with each crash in a row.

        longest: seconds that the backoff does not exceed.

        patience: seconds for which a job may clean up when it is stopped.
    """

    def __init__(self, *, backoff: float = 1.0, longest: float = 30.0, patience: float = 5.0) -> None:
        self._backoff = backoff
        self._longest = longest
        self._patience = patience
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The jobs that run, in the order of their start."""
        return tuple(name for name, task in self._tasks.items() if not task.done())

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run *work* as a task: until it returns, or for ever. Raises ValueError when *name* runs already."""
        if name in self.names:
            raise ValueError(f"job {name!r} runs already")
        self._tasks.pop(name, None)  # so that its place in the order is that of its last start
        self._tasks[name] = asyncio.create_task(self._keep(name, work), name=f"job {name}")

    async def stop(self) -> None:
        """Cancel all jobs, the last started first, each when the one before it has ended."""
        while self._tasks:
            name, task = self._tasks.popitem()
            task.cancel()
            await asyncio.wait({task}, timeout=self._patience)
            if not task.done():
                log.error("job %s did not stop within %g s", name, self._patience)

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        wait = self._backoff
        while True:
            started = loop.time()
            try:
                await work()
            except Exception:
                if loop.time() - started > SETTLED:
                    wait = self._backoff
                log.exception("job %s crashed; it starts again in %g s", name, wait)
            else:
                return
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._longest)
