"""One exchange carried by callbacks: from the prepared request to the answer, or back to the general path."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from app.domain.errors import ClientGone, Full, StaleConnection, StreamRefused
from app.domain.exchange import Exchange
from app.engine.client import UpstreamRequest, UpstreamResponse
from app.engine.dispatch import BUSY
from app.engine.forward import IDEMPOTENT, Forwarder

if TYPE_CHECKING:
    from app.domain.attempt import Attempt
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, Receive, Scope, Send
    from app.engine.outbound import Outbound
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.carriers import Carriers


class Edge(Protocol):
    """What the client's connection offers."""

    client: tuple[str, int] | None
    scheme: str

    def begin(self, passage: Passage) -> None:
        """Make *passage* what this connection is busy with."""

    def answer(self, passage: Passage, status: int, lines: bytes, fields: Fields, body: bytes) -> None:
        """Write a whole response, its head of *lines* and *fields*, and go on to the next request."""

    def hint(self, passage: Passage, status: int, fields: Fields) -> None:
        """Write a 1xx response, where the client understands one."""

    def resume(self, passage: Passage, app: ASGIApp) -> None:
        """Go on along the general path: run *app* for the rest of the exchange."""


class Passage:
    """One exchange on its way.

    Args:
        around: what stands around everything on the general path: rescue, and the closing of the record.

        close: hands on the record of a finished exchange.

    Attributes:
        keep_alive: another request may follow on the client's connection.

        target: the request target in origin form, as sent.
    """

    __slots__ = (
        "_around", "_attempt", "_close", "_connection", "_connections", "_edge", "_forwarder", "_outbound", "exchange",
        "headers", "http11", "keep_alive", "target",
    )  # fmt: skip

    body_done = True
    _forwarder: Forwarder
    _outbound: Outbound
    _attempt: Attempt
    _connections: Carriers
    _connection: Carrier

    def __init__(
        self,
        edge: Edge,
        around: Callable[[ASGIApp], ASGIApp],
        close: Callable[[Exchange], None],
        exchange: Exchange,
        target: bytes,
        headers: Fields,
        http11: bool,
        keep_alive: bool,
    ) -> None:
        self._edge = edge
        self._around = around
        self._close = close
        self.exchange = exchange
        self.target = target
        self.headers = headers
        self.http11 = http11
        self.keep_alive = keep_alive

    def start(self, forwarder: Forwarder, outbound: Outbound) -> None:
        """Send the request over a kept connection. Raises NoBackend."""
        self._forwarder = forwarder
        self._outbound = outbound
        dispatcher = forwarder.dispatcher
        if dispatcher.hedges or dispatcher.waiting:
            self.resume(partial(forwarder.carry, outbound))
            return
        try:
            attempt = self._attempt = dispatcher.begin(outbound, monotonic())
        except Full:
            self.resume(partial(forwarder.carry, outbound))
            return
        connections = self._connections = forwarder.connections[attempt.backend]
        connection = connections.take()
        if connection is None:
            self.resume(partial(forwarder.carry, outbound))
            return
        self._connection = connection
        attempt.reused = True
        attempt.connected = attempt.started
        connection.listener = self.progress
        deadline = attempt.started + connections.response_timeout
        connection.start(outbound.head(attempt), outbound.method == "HEAD", deadline, outbound.until)

    def progress(self) -> None:
        """The response has come as far as its head, or it will not come."""
        connection = self._connection
        connection.listener = None
        outbound = self._outbound
        forwarder = self._forwarder
        error = connection.error
        if connection.head_done:
            if connection.hints:
                self._hint(connection)
            if (
                connection.done
                and connection.sized
                and connection.status != 204
                and error is None
                and connection.status not in forwarder.dispatcher.again_on
                and self.exchange.coding is None
                and (self.exchange.pages is None or not self.exchange.pages.replaces(connection.status))
            ):
                self._answer(outbound, connection)
                return
            attempt, connections = self._attempt, self._connections
            request = UpstreamRequest(outbound.method, attempt, connections, outbound.head(attempt))
            request.connection = connection
            outbound.requests = (request,)
            response = UpstreamResponse(request, connection, connections)
            self.resume(partial(forwarder.carry, outbound, response=response))
        elif error is None:
            self._hint(connection)
            connection.listener = self.progress
        elif isinstance(error, StreamRefused) or (isinstance(error, StaleConnection) and outbound.method in IDEMPOTENT):
            self.resume(partial(forwarder.carry, outbound))
        else:
            self.resume(partial(forwarder.carry, outbound, error=error))

    def _hint(self, connection: Carrier) -> None:
        for status, fields in connection.take_hints():
            self._edge.hint(self, status, fields)

    def _answer(self, outbound: Outbound, connection: Carrier) -> None:
        now = monotonic()
        attempt = self._attempt
        attempt.first_byte = now
        status = attempt.status = connection.status
        forwarder = self._forwarder
        dispatcher = forwarder.dispatcher
        if dispatcher.marks:
            forwarder.mark(outbound, connection)
        dispatcher.finish(attempt, None, now, connection.fields if status in BUSY else None)
        exchange = self.exchange
        fields = forwarder.relay.fields(exchange, connection)
        body = connection.take()
        exchange.status = status
        exchange.first_byte = exchange.ended = now
        exchange.bytes_out = len(body)
        self._connections.give(connection, now)
        self._edge.answer(self, status, b"", fields, body)
        self._close(exchange)

    def answer(self, status: int, lines: bytes, fields: Fields, body: bytes) -> None:
        """Answer with what was at hand, which is noted on the exchange already."""
        exchange = self.exchange
        exchange.ended = exchange.first_byte
        self._edge.answer(self, status, lines, fields, body)
        self._close(exchange)

    def resume(self, app: ASGIApp) -> None:
        """Go on along the general path."""
        self._edge.resume(self, self._around(app))

    def disconnect(self) -> None:
        """The client has gone."""
        error = ClientGone("the client went away before the response was complete")
        connection = self._connection
        connection.listener = None
        connection.fail(error)
        now = monotonic()
        self._forwarder.dispatcher.finish(self._attempt, error, now)
        exchange = self.exchange
        exchange.error = error
        exchange.status = error.status
        exchange.ended = now
        self._close(exchange)


def raising(error: Exception) -> ASGIApp:
    """An app that has only this to say."""

    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return raises
