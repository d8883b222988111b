"""From a backend's name to a connection to it: each of its addresses in turn, a PROXY header, a TLS handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from app.domain.errors import CertificateRejected, ConnectFailed, Exhausted, ProxyError, TlsFailed
from app.engine.fault import lack
from app.engine.resolve import Address, addresses, literal
from app.engine.transport import trust

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from settings.pools import BackendTlsSettings

ADDRESS_AGE = 30.0
"""Seconds for which the addresses of a name are used without asking again."""


class Dial:
    """Makes connections to *backend*, over TLS when its URL says https.

    Args:
        port: in place of the backend's own; 0 is that.

    Attributes:
        tls: the context; None over plain TCP.

        server_name: that the backend's certificate has to have; None over plain TCP.
    """

    def __init__(self, backend: Backend, tls: BackendTlsSettings, port: int = 0) -> None:
        self._host, self._port = backend.host, port or backend.port
        self._networks = backend.spec.networks
        self.tls = trust.context(tls) if backend.scheme == "https" else None
        self.server_name = (tls.server_name or backend.host) if self.tls else None
        self._addresses: list[Address] = []
        self._resolved = 0.0

    def ask_again(self) -> None:
        """Have the name looked up with the next connection."""
        if self._resolved != inf:
            self._resolved = 0.0

    async def connect(self, protocol: Callable[[], Any], header: bytes = b"") -> tuple[asyncio.Transport, Any]:
        """A connection, and its protocol, made by *protocol*; before all else *header* was sent.

        Raises:
            ConnectFailed: or one of its kind; no address works.

            Exhausted: it is not the backend's doing.
        """
        try:
            return await self._connect(protocol, header)
        except ProxyError:
            self.ask_again()
            raise

    async def _connect(self, protocol: Callable[[], Any], header: bytes) -> tuple[asyncio.Transport, Any]:
        loop = asyncio.get_running_loop()
        failure: ProxyError = ConnectFailed("the name has no address")
        for address in tuple(await self._resolve()):
            family, host, port = address
            try:
                if header:
                    sock = await _begin(address, header)
                    made = await loop.create_connection(
                        protocol, sock=sock, ssl=self.tls, server_hostname=self.server_name
                    )
                else:
                    made = await loop.create_connection(
                        protocol, host, port, family=family, ssl=self.tls, server_hostname=self.server_name
                    )
            except OSError as fault:  # ssl.SSLError is one, too
                failure = _translate(fault)
                continue
            if address is not self._addresses[0]:  # the one that works comes first next time
                self._addresses.remove(address)
                self._addresses.insert(0, address)
            return made
        raise failure

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
