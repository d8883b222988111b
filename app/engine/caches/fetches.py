"""What the caches of all groups have in common: the tasks that fetch for them, and what they count."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from app.engine.caches.purges import PurgeLog

if TYPE_CHECKING:
    from app.domain.metrics import Samples

MOST_MARKS = 16_384
"""Keys that are remembered of one group, beside what is stored: the oldest is forgotten for another."""


class Fetches:
    """All fetches of all groups.

    Attributes:
        counts: by group and result, how many requests.

        purges: that this worker has heard of.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.purges = PurgeLog()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, fetch: Coroutine[None, None, None]) -> None:
        """Fetch, beside everything else."""
        task = asyncio.get_running_loop().create_task(fetch)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel those that are on their way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def sample(self) -> Samples:
        """Group and result as labels, and how many: what `l7lb_cache_requests_total` says."""
        return tuple(self.counts.items())


class Marks:
    """A number for each of some keys, of which the oldest are forgotten."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[bytes, float] = OrderedDict()

    def get(self, key: bytes) -> float:
        """The number of *key*; 0 without one."""
        return self._numbers.get(key, 0.0)

    def put(self, key: bytes, number: float) -> None:
        """Remember a number."""
        self._numbers[key] = number
        self._numbers.move_to_end(key)
        if len(self._numbers) > MOST_MARKS:
            self._numbers.popitem(last=False)

    def drop(self, key: bytes) -> None:
        """Forget it."""
        self._numbers.pop(key, None)
