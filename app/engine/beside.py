"""Tasks beside the requests that began them: none of them is waited for, and all of them are cut at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Beside:
    """A set of tasks, each of which is forgotten when it ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Do *work*, beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel those that are going on, and wait for their ends."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
