"""The httpx transport of the data plane: picks the connection, sends, waits for the head, sweeps the deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING

import httpx

from app.domain.errors import ConnectionTerminated, ProxyError, StaleConnection, StreamRefused
from app.domain.request_head import CHUNKED
from app.engine.client import UpstreamRequest, UpstreamResponse
from app.engine.transport.connection import Connection
from app.engine.transport.connections import Connections

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.domain.headers import Field
    from app.domain.pool import Pool
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.carriers import Carriers, Swept
    from settings.pools import PoolSettings

PATIENCE = 1.0
"""Seconds that a backend has to say that it wants a body, or not; after that it gets it (RFC 9110 section 10.1.1)."""
TICK = 0.05
"""Seconds between two sweeps: how late a deadline may be noticed."""


class UpstreamTransport(httpx.AsyncBaseTransport):
    """All connections to all backends.

    Attributes:
        connections: those of each backend; always the same dictionary, which `follow` fills anew.
    """

    def __init__(self) -> None:
        self._live: set[Swept] = set()
        self.connections: dict[Backend, Carriers] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to sweep; called on the running loop."""
        self._loop = asyncio.get_running_loop()  # kept: asking for it costs a system call on Python 3.11
        self._sweep()

    def follow(self, pools: Iterable[Pool]) -> None:
        """Be ready to connect to the backends of *pools*, as their settings say, and to no other.

        What is idle at a backend that has gone is closed; what is busy ends with its exchange.

        Raises:
            OSError, ssl.SSLError: the file of authorities of a pool cannot be read.
        """
        present = self.connections.copy()
        wanted = {
            backend: kept
            if (kept := present.get(backend)) is not None and kept.settings is pool.settings
            else self._carriers(backend, pool.settings)
            for pool in pools
            for backend in pool.backends
        }
        self.connections.clear()
        self.connections.update(wanted)
        for backend, connections in present.items():
            if wanted.get(backend) is not connections:
                connections.close()

    def outlived(self, backend: Backend, settings: PoolSettings) -> Carriers:
        """Connections to a backend that has gone, for an exchange that began before: none is kept."""
        connections = self._carriers(backend, settings)
        connections.close()
        return connections

    def _carriers(self, backend: Backend, settings: PoolSettings) -> Carriers:
        speaks = backend.scheme == "h2c" or (backend.scheme == "https" and "h2" in settings.tls.alpn)
        if speaks and not settings.proxy_header.version:  # whose header is of one client, and its connection too
            from app.engine.transport.sessions import Sessions  # noqa: PLC0415  # only where a pool asks for it

            return Sessions(backend, settings, self._live)
        return Connections(backend, settings, self._live)

    async def handle_async_request(self, request: httpx.Request) -> UpstreamResponse:
        """Carry out one attempt.

        A kept connection that turns out to be closed is replaced by a new one, once, when that is safe: not one byte
        came back, and the request is idempotent and whole (RFC 9110 section 9.2.2). So it is, whatever the method, when
        the backend says that it has not looked at the request (RFC 9113 section 8.7).

        Raises:
            ProxyError: there is no response.
        """
        assert isinstance(request, UpstreamRequest)
        attempt = request.attempt
        connections = request.connections
        connection = connections.take(request.header)
        attempt.reused = connection is not None  # said anew: a driver may have had one that was stale
        if connection is None:
            connection = await self._connect(request, connections)
        else:
            attempt.connected = attempt.started
        refused = False
        while True:
            request.connection = connection
            until = request.until
            if request.upgrade:
                assert isinstance(connection, Connection)
                connection.ask_switch(request.upgrade)
            if request.body is None:
                deadline = attempt.started + connections.response_timeout
                end: Sequence[Field] | None = request.trailers
            else:
                deadline, end = until, None
            chunked = request.length == CHUNKED
            connection.start(request.head, request.method == "HEAD", deadline, until, request.first, end, chunked)
            if end is None:
                request.upload = self._loop.create_task(_upload(request, connection, connections.response_timeout))
            try:
                while not await connection.responded():
                    request.hint(connection.take_hints())
            except StaleConnection:
                request.connection = None
                if not (request.replayable and attempt.reused):
                    request.abandon()
                    raise
                attempt.reused = False
                connection = await self._connect(request, connections)
            except StreamRefused:
                request.connection = None
                if refused or request.error is not None or not request.again():
                    request.abandon()
                    raise
                refused, attempt.reused = True, False
                connection = connections.take(request.header) or await self._connect(request, connections)
            except BaseException:
                request.abandon()
                raise
            else:
                if connection.hints:
                    request.hint(connection.take_hints())
                return UpstreamResponse(request, connection, connections)

    @property
    def buffered(self) -> int:
        """Bytes that wait on all connections: for a backend to read them, or for a client's turn."""
        return sum(one.buffered for one in self._live)

    async def aclose(self) -> None:
        """Cut everything."""
        if self._timer is not None:
            self._timer.cancel()
        for connections in self.connections.values():
            connections.close()
        for connection in tuple(self._live):
            connection.cut()

    async def _connect(self, request: UpstreamRequest, connections: Carriers) -> Carrier:
        """A new connection, unless the attempt is ended from outside meanwhile."""
        task = request.connecting = self._loop.create_task(connections.connect(request.until, request.header))
        try:
            connection = await task
        except asyncio.CancelledError:
            if request.error is None:  # it is we who are cancelled
                task.cancel()
                task.add_done_callback(_unwanted)
                raise
            raise request.error from None
        finally:
            request.connecting = None
        request.attempt.connected = monotonic()
        if request.error is not None:
            connection.close()
            raise request.error
        if not connection.reusable:  # it closed, or spoke before it was asked, while it was handed over
            raise ConnectionTerminated("the backend did not wait for the request", sent=False)
        return connection

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(TICK, self._sweep)
        now = monotonic()
        for connection in [c for c in self._live if c.deadline <= now]:
            connection.expire(now)


def _unwanted(task: asyncio.Task[Carrier]) -> None:
    """Close a connection that was made in the moment in which nobody wanted it any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _upload(request: UpstreamRequest, connection: Carrier, response_timeout: float) -> None:
    """Send what follows of the request body, once it is wanted; the response may come before its end."""
    body = request.body
    assert body is not None
    if request.expects:
        await connection.wanted(PATIENCE)
        if connection.head_done:  # it did not want it
            return
    try:
        while body.end is None:
            piece = await body.take()
            if piece or body.end is not None:
                await connection.write(piece, body.end, monotonic())
            if connection.done or connection.error is not None:
                return
    except ProxyError as error:  # the client has gone, stalls or sends too much: the attempt ends with that
        request.fail(error)
        return
    connection.uploaded(monotonic() + response_timeout)
