"""What the caches of all groups have in common: the tasks that fetch for them, and what they count."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from app.engine.beside import Beside
from app.engine.caches.purges import PurgeLog

if TYPE_CHECKING:
    from app.domain.metrics import Samples

MOST_MARKS = 16_384
"""Keys that are remembered of one group, beside what is stored: the oldest is forgotten for another."""


class Fetches(Beside):
    """All fetches of all groups.

    Attributes:
        counts: by group and result, how many requests.

        refreshes: by group and result, how many validations beside requests that were answered with what was stale.

        purges: that this worker has heard of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.refreshes: Counter[tuple[str, str]] = Counter()
        self.purges = PurgeLog()

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
