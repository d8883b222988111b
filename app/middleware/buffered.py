"""How many bytes wait in this process for someone to read them: another sign that new requests are too much.

Each exchange holds some hundred KiB at most, whoever is slow in it; there may be many. A job adds up, every EVERY
seconds, what waits for clients and for backends, and for whom nobody has asked yet:

    calm      over `most`             -> shedding
    shedding  under half of that      -> calm
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

EVERY = 0.2
"""Seconds from one look to the next: a look at 10 000 exchanges takes 5 ms."""

_log = logging.getLogger("l7lb")


class Buffered:
    """What waits, as of the last look.

    Args:
        most: bytes; over that is too much.

        measure: adds them up.

    Attributes:
        bytes: as of the last look.

        shedding: whether new requests are refused.

        refused: how many were.
    """

    __slots__ = ("_measure", "_most", "_sleep", "bytes", "refused", "shedding")

    def __init__(
        self, most: int, measure: Callable[[], int], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._most = most
        self._measure = measure
        self._sleep = sleep
        self.bytes = 0
        self.shedding = False
        self.refused = 0

    async def run(self) -> None:
        """The job: look for ever."""
        while True:
            self.look()
            await self._sleep(EVERY)

    def look(self) -> None:
        """Add up."""
        waiting = self.bytes = self._measure()
        if not self.shedding and waiting > self._most:
            self.shedding = True
            _log.warning("%.1f MiB wait to be read: new requests are answered 503", waiting / 2**20)
        elif self.shedding and waiting < self._most / 2:
            self.shedding = False
            _log.info("little waits to be read again: %d requests were refused so far", self.refused)
