"""One coarse tick for the deadlines of all connections of an event loop, instead of a timer for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

TICK: Final = 0.05
"""Seconds. A deadline is kept at most this late."""
NEVER: Final = float("inf")
AT_ONCE: Final = 0.0


class Timed(Protocol):
    """What the sweep looks at: two times of the loop's clock, `NEVER` when nothing is waited for."""

    read_deadline: float
    write_deadline: float

    def expire(self, now: float) -> None:
        """One of the deadlines has passed: move it, or end the connection."""


class Sweep:
    """Runs while there are connections, and stops with the last one, so that no timer outlives them."""

    __slots__ = ("_connections", "_timer", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._connections: set[Timed] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Timed) -> None:
        """Look at *connection* from now on."""
        self._connections.add(connection)
        if self._timer is None:
            self._timer = self.loop.call_later(TICK, self._tick)

    def discard(self, connection: Timed) -> None:
        """Look at it no more."""
        self._connections.discard(connection)
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._connections)

    def _tick(self) -> None:
        now = self.loop.time()
        late = [c for c in self._connections if c.read_deadline <= now or c.write_deadline <= now]
        self._timer = self.loop.call_later(TICK, self._tick)
        for connection in late:
            connection.expire(now)
