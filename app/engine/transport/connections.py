"""The connections to one backend: the idle ones last in, first out; new ones on demand."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from app.domain.errors import ConnectTimeout, TotalTimeout
from app.engine.transport.connection import Connection
from app.engine.transport.dial import Dial

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from settings.pools import PoolSettings


class Connections:
    """The connections to one backend. One that began with a PROXY header is for those only who would begin so, too.

    *live* is the transport's set of all open connections, which its sweep walks.
    """

    __slots__ = (
        "_dial", "_idle", "_live", "connect_timeout", "idle_timeout", "keep_alive", "max_header_bytes", "max_headers",
        "response_timeout", "settings", "write_timeout",
    )  # fmt: skip

    def __init__(self, backend: Backend, pool: PoolSettings, live: set[Connection]) -> None:
        self._dial = Dial(backend, pool.tls)
        self._live = live
        self._idle: dict[bytes, list[Connection]] = {b"": []}  # by header; that for none stays
        self.settings = pool
        timeouts = pool.timeouts
        self.connect_timeout = timeouts.connect or None
        self.response_timeout = min(timeouts.response or inf, timeouts.attempt or inf)
        self.idle_timeout = timeouts.idle or inf
        self.write_timeout = timeouts.write or inf
        self.keep_alive = timeouts.keep_alive
        self.max_header_bytes = pool.max_response_header_bytes
        self.max_headers = pool.max_response_headers

    def take(self, header: bytes = b"") -> Connection | None:
        """An idle connection that is still open, and began with *header*; None without one."""
        idle = self._idle.get(header)
        while idle:
            connection = idle.pop()
            if connection.reusable and not connection.transport.is_closing():
                return connection
        return None

    def give(self, connection: Connection, now: float) -> None:
        """Take a connection back after its exchange: it is kept when it may serve again, else cut."""
        if connection.fresh:
            connection.fresh = False
            dial = self._dial
            if dial.tls is not None and dial.server_name is not None:
                dial.tls.remember(dial.server_name, connection.transport.get_extra_info("ssl_object"))
        if connection.done and connection.reusable and self.keep_alive:
            connection.deadline = now + self.keep_alive
            self._idle.setdefault(connection.header, []).append(connection)
        else:
            connection.reusable = False
            connection.transport.abort()

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
        """A new connection, which begins with *header*.

        Raises:
            TotalTimeout: it was not there at *until*, in monotonic seconds; nothing was sent.

            ConnectFailed: or one of its kind; nothing was sent.
            Exhausted: it is not the backend's doing.
        """
        loop = asyncio.get_running_loop()
        left = max(until - monotonic(), 0.0)
        short = left < (self.connect_timeout or inf)
        try:
            async with asyncio.timeout(left if short else self.connect_timeout):
                made = await self._dial.connect(lambda: Connection(self, loop, header), header)
        except TimeoutError as fault:
            if short:
                raise TotalTimeout("the exchange took too long", sent=False) from fault
            self._dial.ask_again()
            raise ConnectTimeout(f"no connection within {self.connect_timeout} s") from fault
        connection: Connection = made[1]
        connection.idle_timeout = self.idle_timeout
        connection.write_timeout = self.write_timeout
        self._live.add(connection)
        return connection

    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""
        self.keep_alive = 0.0
        for idle in tuple(self._idle.values()):
            for connection in tuple(idle):
                connection.close()
