"""The connections to one backend: the idle ones last in, first out; new ones on demand."""

from __future__ import annotations

import asyncio
import ssl
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from app.domain.errors import (
    CertificateRejected,
    ConnectFailed,
    ConnectTimeout,
    Exhausted,
    ProxyError,
    TlsFailed,
    TotalTimeout,
)
from app.engine.fault import lack
from app.engine.resolve import Address, addresses, literal
from app.engine.transport import trust
from app.engine.transport.connection import Connection

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from settings.pools import PoolSettings

ADDRESS_AGE = 30.0
"""Seconds for which the addresses of a name are used without asking again."""


class Connections:
    """The connections to one backend.

    *live* is the transport's set of all open connections, which its sweep walks.
    """

    __slots__ = (
        "_addresses", "_host", "_idle", "_live", "_networks", "_port", "_resolved", "_server_name", "_tls",
        "connect_timeout", "idle_timeout", "keep_alive", "max_header_bytes", "max_headers", "response_timeout",
        "settings", "write_timeout",
    )  # fmt: skip

    def __init__(self, backend: Backend, pool: PoolSettings, live: set[Connection]) -> None:
        self._host, self._port = backend.host, backend.port
        self._tls = trust.context(pool.tls) if backend.scheme == "https" else None
        self._server_name = (pool.tls.server_name or backend.host) if self._tls else None
        self._live = live
        self._idle: list[Connection] = []
        self._networks = backend.spec.networks
        self._addresses: list[Address] = []
        self._resolved = 0.0
        self.settings = pool
        timeouts = pool.timeouts
        self.connect_timeout = timeouts.connect or None
        self.response_timeout = min(timeouts.response or inf, timeouts.attempt or inf)
        self.idle_timeout = timeouts.idle or inf
        self.write_timeout = timeouts.write or inf
        self.keep_alive = timeouts.keep_alive
        self.max_header_bytes = pool.max_response_header_bytes
        self.max_headers = pool.max_response_headers

    def take(self) -> Connection | None:
        """An idle connection that is still open; None without one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.reusable and not connection.transport.is_closing():
                return connection
        return None

    def give(self, connection: Connection, now: float) -> None:
        """Take a connection back after its exchange: it is kept when it may serve again, else cut."""
        if connection.fresh:
            connection.fresh = False
            if self._tls is not None and self._server_name is not None:
                self._tls.remember(self._server_name, connection.transport.get_extra_info("ssl_object"))
        if connection.done and connection.reusable and self.keep_alive:
            connection.deadline = now + self.keep_alive
            self._idle.append(connection)
        else:
            connection.reusable = False
            connection.transport.abort()

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        self._live.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def connect(self, until: float = inf) -> Connection:
        """A new connection.

        Raises:
            TotalTimeout: it was not there at *until*, in monotonic seconds; nothing was sent.

            ConnectFailed: or one of its kind; nothing was sent.
            Exhausted: it is not the backend's doing.
        """
        left = max(until - monotonic(), 0.0)
        short = left < (self.connect_timeout or inf)
        try:
            async with asyncio.timeout(left if short else self.connect_timeout):
                connection = await self._connect()
        except TimeoutError as fault:
            if short:
                raise TotalTimeout("the exchange took too long", sent=False) from fault
            self._ask_again()
            raise ConnectTimeout(f"no connection within {self.connect_timeout} s") from fault
        except ProxyError:
            self._ask_again()
            raise
        connection.idle_timeout = self.idle_timeout
        connection.write_timeout = self.write_timeout
        self._live.add(connection)
        return connection

    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""
        self.keep_alive = 0.0
        for connection in tuple(self._idle):
            connection.close()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        failure: ProxyError = ConnectFailed("the name has no address")
        for address in tuple(await self._resolve()):
            family, host, port = address
            try:
                _, protocol = await loop.create_connection(
                    lambda: cast(asyncio.Protocol, Connection(self, loop)),
                    host,
                    port,
                    family=family,
                    ssl=self._tls,
                    server_hostname=self._server_name,
                )
            except OSError as fault:  # ssl.SSLError is one, too
                failure = _translate(fault)
                continue
            if address is not self._addresses[0]:  # the one that works comes first next time
                self._addresses.remove(address)
                self._addresses.insert(0, address)
            return cast(Connection, protocol)
        raise failure

    def _ask_again(self) -> None:
        if self._resolved != inf:
            self._resolved = 0.0

    async def _resolve(self) -> list[Address]:
        """The addresses of the host, asked for when they are old. Raises NameNotResolved, AddressProhibited."""
        now = monotonic()
        if not self._addresses or now - self._resolved > ADDRESS_AGE:
            self._addresses = await addresses(self._host, self._port, self._networks)
            self._resolved = inf if literal(self._host, self._port) else now  # an address is not asked for again
        return self._addresses


def _translate(fault: OSError) -> ProxyError:
    """What the operating system or OpenSSL said, in our words."""
    if words := lack(fault):
        return Exhausted(words)
    if isinstance(fault, ssl.SSLCertVerificationError):
        return CertificateRejected(f"certificate: {fault.verify_message}")
    if isinstance(fault, ssl.SSLError):
        return TlsFailed(f"TLS: {fault.reason or fault}")
    if isinstance(fault, ConnectionRefusedError):
        return ConnectFailed("connection refused")
    return ConnectFailed(f"cannot connect: {fault.strerror or fault}")
