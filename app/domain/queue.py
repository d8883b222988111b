"""Who is next of those that wait for a backend with room: the oldest, or the newest."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


class Queue(Generic[T]):
    """The order of those that wait; what they wait with, and how long, is not its business. All is O(1).

    Args:
        size: how many may wait; 0: nobody.

        order: fifo: the oldest is next; lifo: the newest, which under overload is the one whose client still waits.
    """

    __slots__ = ("_newest", "_waiting", "size")

    def __init__(self, size: int, order: Literal["fifo", "lifo"] = "fifo") -> None:
        self.size = size
        self._newest = order == "lifo"
        # not a dict: its first is found by walking over all that were taken before it
        self._waiting: OrderedDict[T, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, item: T) -> bool:
        """Begin to wait; False where the queue is full. *item* is hashable, and is not waiting already."""
        if len(self._waiting) >= self.size:
            return False
        self._waiting[item] = None
        return True

    def rejoin(self, item: T) -> None:
        """Wait on, as the next: its turn came, and was of no use."""
        self._waiting[item] = None
        self._waiting.move_to_end(item, last=self._newest)

    def leave(self, item: T) -> bool:
        """Wait no longer; False where *item* was not waiting, since its turn had come: then it has to pass it on."""
        if item not in self._waiting:
            return False
        del self._waiting[item]
        return True

    def next(self) -> T | None:
        """Whose turn it is, who with that waits no longer; None where nobody waits."""
        return self._waiting.popitem(last=self._newest)[0] if self._waiting else None
