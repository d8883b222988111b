"""All connections that were upgraded: ends those that are idle, whose backend lets them go, and all when we stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from app.domain.errors import TunnelClosed

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.domain.errors import ProxyError

TICK = 0.25
"""Seconds between two looks: how late an end may be."""


class Kept(Protocol):
    """One of them: a tunnel, or a bridge.

    Attributes:
        backend: where it leads.

        deadline: monotonic seconds at which `expire` is due.
    """

    backend: Backend
    deadline: float

    def expire(self) -> None:
        """The deadline has passed."""

    def end(self, error: ProxyError) -> None:
        """End it for our own reason."""


class Tunnels:
    """They are looked at while there are any."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._all: set[Kept] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._all)

    def keep(self, kept: Kept) -> None:
        """Look at it from now on, until it has ended; not by a context, which would be kept with each."""
        self._all.add(kept)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def ended(self, kept: Kept) -> None:
        """It has ended."""
        self._all.discard(kept)
        if not self._all:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._empty is not None and not self._empty.done():
                self._empty.set_result(None)

    async def close(self) -> None:
        """End all, and wait until they have: each ends by its own deadline, at the latest."""
        for kept in tuple(self._all):
            kept.end(TunnelClosed("we are stopping"))
        if self._all:
            self._empty = asyncio.get_running_loop().create_future()
            await self._empty

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        now = self._clock()
        for kept in tuple(self._all):
            backend = kept.backend
            if kept.deadline <= now:
                kept.expire()
            elif backend.let_go <= now and (backend.draining or backend.leaving):
                kept.end(TunnelClosed("its backend is taken away"))
