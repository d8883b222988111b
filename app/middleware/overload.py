"""Refuses new requests while there is a sign of too many, so that those there are come to an end: the loop is behind.

One thread does everything, so the honest sign that it has too much to do is how late it comes to what was due. A job
sleeps for EVERY seconds again and again, and looks at how late it wakes:

    calm      late by over `most` LATE times in a row           -> shedding
    shedding  late by less than half of that CALM times in a row   -> calm

Two in a row, because a single stop (the collector, a machine that was suspended) is over when it is seen. Half, and
several times, because shedding itself makes the loop quick again: without that it would be on and off by turns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from app.domain.errors import ProxyError
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send

EVERY = 0.05
"""Seconds from one look to the next."""
LATE = 2
"""Looks in a row that begin it."""
CALM = 5
"""Looks in a row that end it."""

_log = logging.getLogger("l7lb")


class Shed(ProxyError):
    """There is too much to do, or too much that waits."""

    status = 503
    error_type = "http_request_denied"
    retry_after = 1.0


class Sign(Protocol):
    """Says whether new requests are refused, and is told how many were."""

    shedding: bool
    refused: int


class Overload:
    """Raises Shed while *sign* says so."""

    def __init__(self, app: ASGIApp, *, sign: Sign) -> None:
        self.app = app
        self._sign = sign

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, _: Exchange, __: Fields) -> None:
        """Look."""
        sign = self._sign
        if sign.shedding:
            sign.refused += 1
            raise Shed("too much to do")


class Lag:
    """How late the event loop is.

    Args:
        most: seconds; over that is too late.

    Attributes:
        seconds: as of the last look.

        shedding: whether new requests are refused.

        refused: how many were.
    """

    __slots__ = ("_clock", "_most", "_row", "_sleep", "refused", "seconds", "shedding")

    def __init__(
        self,
        most: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._row = 0
        self.seconds = 0.0
        self.shedding = False
        self.refused = 0

    async def run(self) -> None:
        """The job: look for ever."""
        while True:
            due = self._clock() + EVERY
            await self._sleep(EVERY)
            self.look(max(0.0, self._clock() - due))

    def look(self, late: float) -> None:
        """Take one look's lateness, in seconds."""
        self.seconds = late
        counts = late < self._most / 2 if self.shedding else late > self._most
        self._row = self._row + 1 if counts else 0
        if self._row >= (CALM if self.shedding else LATE):
            self._row = 0
            self.shedding = not self.shedding
            if self.shedding:
                _log.warning("the event loop is %.0f ms late: new requests are answered 503", late * 1000)
            else:
                _log.info("the event loop is in time again: %d requests were refused so far", self.refused)
