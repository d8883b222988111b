"""Virtual time: what is to happen is done in its order, and the clock jumps from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Clockwork:
    """Events, the earliest first; of several at one time the one that was planned first.

    Attributes:
        now: seconds since the beginning.
    """

    __slots__ = ("_events", "_planned", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Have *event* happen."""
        self._planned += 1
        heappush(self._events, (when, self._planned, event))

    def run(self, until: float) -> None:
        """Let everything before *until* happen."""
        while self._events and self._events[0][0] < until:
            self.now, _, event = heappop(self._events)
            event()
        self.now = until
