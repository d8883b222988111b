"""Takes the record of every finished exchange, and hands them on in batches, off the way of the request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from app.domain.exchange import Exchange

Observer = Callable[[Sequence[Exchange], float], None]
"""Called with a batch, and with what makes wall-clock time of an exchange's monotonic times when added to them."""

BATCH: Final = 256
TICK: Final = 0.1
"""Seconds that a record waits at most."""

_log = logging.getLogger("l7lb")


class Journal:
    """A list of finished exchanges, emptied when it is long enough, and by a timer that runs only while it needs one.

    *observers* get every exchange; *refusals* only those which the edge answered by itself.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        refusals: Sequence[Observer] = (),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._observers = tuple(observers)
        self._refusals = tuple(refusals)
        self._monotonic = monotonic
        self._wall = wall
        self._records: list[Exchange] = []
        self._refused: list[Exchange] = []
        self._tick: asyncio.TimerHandle | None = None

    def append(self, exchange: Exchange) -> None:
        """Take a finished exchange."""
        records = self._records
        records.append(exchange)
        if self._tick is None:
            self._arm()
        if len(records) >= BATCH:
            self.flush()

    def refuse(self, exchange: Exchange) -> None:
        """Take an exchange that the edge answered by itself; it ends now unless it says when."""
        exchange.ended = exchange.ended or self._monotonic()
        self._refused.append(exchange)
        self.append(exchange)

    def flush(self) -> None:
        """Hand on what waits."""
        records, self._records = self._records, []
        refused, self._refused = self._refused, []
        offset = self._wall() - self._monotonic()  # measured each time, so that a clock that was set is followed
        for batch, observers in ((records, self._observers), (refused, self._refusals)):
            for observer in observers if batch else ():
                try:
                    observer(batch, offset)
                except Exception:
                    _log.exception("an observer failed, and missed %d exchanges", len(batch))

    def close(self) -> None:
        """Hand on what waits, and leave no timer."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        self.flush()

    def _arm(self) -> None:
        try:
            self._tick = asyncio.get_running_loop().call_later(TICK, self._tock)
        except RuntimeError:  # no loop any more: an exchange dropped while the process ends
            return

    def _tock(self) -> None:
        self._tick = None
        self.flush()
