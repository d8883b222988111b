"""The HTTP/1.1 connections to one backend: the idle ones last in, first out; new ones on demand."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, cast

from app.engine.transport.carriers import Carriers
from app.engine.transport.connection import Connection
from app.engine.transport.dial import Dial

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.carriers import Swept
    from settings.pools import PoolSettings


class Connections(Carriers):
    """The connections to one backend. See `Carriers`; one with a PROXY header is for those who would begin so."""

    __slots__ = ("_dial", "_idle")

    def __init__(self, backend: Backend, pool: PoolSettings, live: set[Swept]) -> None:
        super().__init__(pool, live)
        self._dial = Dial(backend, pool.tls, timeout=pool.timeouts.connect or None)
        self._idle: dict[bytes, list[Connection]] = {b"": []}  # by header; that for none stays

    def take(self, header: bytes = b"") -> Connection | None:
        """An idle connection that is still open, and began with *header*; None without one."""
        idle = self._idle.get(header)
        while idle:
            connection = idle.pop()
            if connection.reusable and not connection.transport.is_closing():
                return connection
        return None

    def give(self, carrier: Carrier, now: float) -> None:
        """Take a connection back after its exchange: it is kept when it may serve again, else cut."""
        connection = cast(Connection, carrier)
        if connection.fresh:
            connection.fresh = False
            self._dial.remember(connection.transport)
        if connection.done and connection.reusable and self.keep_alive:
            connection.deadline = now + self.keep_alive
            self._idle.setdefault(connection.header, []).append(connection)
        else:
            connection.cut()

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        self._live.discard(connection)
        idle = self._idle.get(connection.header)
        if idle is not None:
            if connection in idle:
                idle.remove(connection)
            if not idle and connection.header:
                del self._idle[connection.header]

    async def connect(self, until: float = inf, header: bytes = b"") -> Connection:
        """See `Carriers.connect`."""
        loop = asyncio.get_running_loop()
        connection = await self._dial.connect(lambda: Connection(self, loop, header), until, header=header)
        self._own(connection)
        return connection

    def add(self, connection: Connection) -> None:
        """Another has made it, to be taken."""
        self._own(connection)
        self._idle[b""].append(connection)

    def _own(self, connection: Connection) -> None:
        connection.idle_timeout = self.idle_timeout
        connection.write_timeout = self.write_timeout
        self._live.add(connection)

    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""
        self.keep_alive = 0.0
        for idle in tuple(self._idle.values()):
            for connection in tuple(idle):
                connection.close()

    def switchable(self) -> Connections:
        """These."""
        return self
