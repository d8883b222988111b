"""Connects to one backend: its addresses in turn, a PROXY header, TLS; and what the network says in our words."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, cast

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

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from settings.pools import BackendTlsSettings

ADDRESS_AGE = 30.0
"""Seconds for which the addresses of a name are used without asking again."""

P = TypeVar("P")


class Dial:
    """Connects to *backend*, over TLS when its URL says https.

    Args:
        alpn: the protocols that are offered over TLS.

        timeout: seconds that a connection may take; None is for ever.

        port: in place of the backend's own; 0 is that.
    """

    __slots__ = ("_addresses", "_host", "_networks", "_port", "_resolved", "_server_name", "_timeout", "_tls")

    def __init__(
        self,
        backend: Backend,
        tls: BackendTlsSettings,
        *,
        alpn: tuple[str, ...] = ("http/1.1",),
        timeout: float | None = None,
        port: int = 0,
    ) -> None:
        self._host, self._port = backend.host, port or backend.port
        self._tls = trust.context(tls, alpn) if backend.scheme == "https" else None
        self._server_name = (tls.server_name or backend.host) if self._tls else None
        self._networks = backend.spec.networks
        self._addresses: list[Address] = []
        self._resolved = 0.0
        self._timeout = timeout

    async def connect(
        self,
        protocol: Callable[[], P],
        until: float = inf,
        *,
        header: bytes = b"",
        ready: Callable[[P], Awaitable[None]] | None = None,
    ) -> P:
        """A new connection of *protocol*, an `asyncio.Protocol` by its methods, as soon as it is *ready*.

        Before all else *header* is sent.

        Raises:
            TotalTimeout: it was not there at *until*, in monotonic seconds; nothing was sent.

            ConnectFailed: or one of its kind; nothing was sent.

            Exhausted: it is not the backend's doing.
        """
        left = max(until - monotonic(), 0.0)
        short = left < (self._timeout or inf)
        try:
            async with asyncio.timeout(left if short else self._timeout):
                made = await self._connect(protocol, header)
                if ready is not None:
                    await ready(made)
                return made
        except TimeoutError as fault:
            if short:
                raise TotalTimeout("the exchange took too long", sent=False) from fault
            self._ask_again()
            raise ConnectTimeout(f"no connection within {self._timeout} s") from fault
        except ProxyError:
            self._ask_again()
            raise

    def remember(self, transport: asyncio.Transport) -> None:
        """A response has come over this connection: keep its TLS session."""
        if self._tls is not None and self._server_name is not None:
            self._tls.remember(self._server_name, transport.get_extra_info("ssl_object"))

    async def _connect(self, protocol: Callable[[], P], header: bytes) -> P:
        loop = asyncio.get_running_loop()
        made_by = cast(Callable[[], asyncio.Protocol], protocol)
        failure: ProxyError = ConnectFailed("the name has no address")
        for address in tuple(await self._resolve()):
            family, host, port = address
            try:
                if header:
                    sock = await _begin(address, header)
                    _, made = await loop.create_connection(
                        made_by, sock=sock, ssl=self._tls, server_hostname=self._server_name
                    )
                else:
                    _, made = await loop.create_connection(
                        made_by, host, port, family=family, ssl=self._tls, server_hostname=self._server_name
                    )
            except OSError as fault:  # ssl.SSLError is one, too
                failure = _translate(fault)
                continue
            if address is not self._addresses[0]:  # the one that works comes first next time
                self._addresses.remove(address)
                self._addresses.insert(0, address)
            return cast(P, made)
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


async def _begin(address: Address, header: bytes) -> socket.socket:
    """A connection on which *header* was sent: TLS, where there is any, comes behind it. Raises OSError."""
    family, host, port = address
    loop = asyncio.get_running_loop()
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, header)
    except BaseException:
        sock.close()
        raise
    return sock


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
