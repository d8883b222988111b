"""Takes connections whose first bytes are a PROXY header, before TLS and HTTP begin.

accepted --peer is trusted--> header read, in time --> handed over, as from the client that it names
|                              |
|                              +-- malformed, late, cut short --> closed
+--peer is not--> handed over, as from the peer: a header from there is nothing that HTTP knows
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Any, cast

from app.domain.client import TrustedProxies
from app.domain.proxy_header import LONGEST_2, Ends, Malformed, ends, length
from app.edge.connection import Connection

RECOVERY = 1.0
"""Seconds until it is tried again after the system had no more descriptors or memory."""

log = logging.getLogger("l7lb.edge")


class Acceptor:
    """A listener on *sock*, as an `asyncio.Server` is one for uvicorn: it can be closed.

    Args:
        protocol: makes the protocol of a connection.

        trusted: networks of the proxies that send a header.

        timeout: seconds that a header may take, and a TLS handshake.

        tls: None for plain HTTP.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], Connection],
        *,
        trusted: tuple[IPv4Network | IPv6Network, ...],
        backlog: int,
        timeout: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._protocol = protocol
        self._trusted = TrustedProxies(trusted)
        self._timeout = timeout
        self._tls: dict[str, Any] = {"ssl": tls, "ssl_handshake_timeout": timeout} if tls is not None else {}
        self._loop = asyncio.get_running_loop()
        self._tasks = set[asyncio.Task[None]]()
        sock.setblocking(False)
        sock.listen(backlog)
        self._accepting = self._loop.create_task(self._accept(sock))

    def close(self) -> None:
        """Take no more."""
        self._accepting.cancel()
        for task in tuple(self._tasks):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until that is done."""
        await asyncio.gather(self._accepting, *self._tasks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                sock, peer = await self._loop.sock_accept(listening)
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("no connection can be taken: %s", error.strerror)
                    await asyncio.sleep(RECOVERY)
                continue
            task = self._loop.create_task(self._take(sock, str(peer[0])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, sock: socket.socket, peer: str) -> None:
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            said = await asyncio.wait_for(self._read(sock), self._timeout) if peer in self._trusted else None
            protocol = self._protocol()
            protocol.ends = said
            await self._loop.connect_accepted_socket(lambda: cast(asyncio.Protocol, protocol), sock, **self._tls)
        except Malformed as error:
            log.warning("a connection from %s was closed: %s", peer, error)
            sock.close()
        except (OSError, TimeoutError):  # it has gone, is too slow, or does not speak TLS
            sock.close()
        except asyncio.CancelledError:
            sock.close()
            raise

    async def _read(self, sock: socket.socket) -> Ends | None:
        """The header, and no byte of what follows it. Raises Malformed, OSError."""
        header = b""
        wanted = 1
        while len(header) < wanted:
            await self._readable(sock)
            # looked at first: of what is there, only what belongs to the header may be taken
            seen = sock.recv(LONGEST_2, socket.MSG_PEEK)
            if not seen:
                raise ConnectionResetError
            wanted = length(header + seen)
            header += sock.recv(min(len(seen), wanted - len(header)))
        return ends(header)

    async def _readable(self, sock: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(sock, _wake, ready)
        try:
            await ready
        finally:
            self._loop.remove_reader(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
