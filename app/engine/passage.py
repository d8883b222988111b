"""One exchange carried by callbacks: from the prepared request to the answer, or back to the general path."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from app.domain.errors import ClientGone, StaleConnection
from app.domain.exchange import Exchange
from app.engine.client import UpstreamRequest, UpstreamResponse
from app.engine.forward import IDEMPOTENT, Forwarder

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, Receive, Scope, Send
    from app.engine.transport.connection import Connection


class Edge(Protocol):
    """What the client's connection offers."""

    client: tuple[str, int] | None
    scheme: str

    def begin(self, passage: Passage) -> None:
        """Make *passage* what this connection is busy with."""

    def answer(self, passage: Passage, status: int, fields: Fields, body: bytes) -> None:
        """Write a whole response, and go on to the next request."""

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
        "_around", "_close", "_edge", "_forwarder", "_request", "exchange", "headers", "http11", "keep_alive", "target",
    )  # fmt: skip

    body_done = True
    _forwarder: Forwarder
    _request: UpstreamRequest

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

    def start(self, forwarder: Forwarder, request: UpstreamRequest) -> None:
        """Send the request over a kept connection."""
        self._forwarder = forwarder
        self._request = request
        connection = request.connection = request.connections.take()
        if connection is None:
            self.resume(partial(forwarder.carry, request))
            return
        attempt = request.attempt
        attempt.reused = True
        attempt.connected = attempt.started
        connection.listener = self.progress
        deadline = attempt.started + request.connections.response_timeout
        connection.start(request.wire, request.method == "HEAD", deadline, request.until, False)

    def progress(self) -> None:
        """The response has come as far as its head, or it will not come."""
        request = self._request
        connection = request.connection
        assert connection is not None
        connection.listener = None
        if connection.head_done:
            if connection.done and connection.sized and connection.status != 204 and connection.error is None:
                self._answer(request, connection)
            else:
                response = UpstreamResponse(request, connection, request.connections)
                self.resume(partial(self._forwarder.carry, request, response=response))
            return
        error = connection.error
        assert error is not None
        if isinstance(error, StaleConnection) and request.method in IDEMPOTENT:
            request.connection = None
            self.resume(partial(self._forwarder.carry, request))
        else:
            self._forwarder.finish(request, error, monotonic())
            self.resume(raising(error))

    def _answer(self, request: UpstreamRequest, connection: Connection) -> None:
        now = monotonic()
        attempt = request.attempt
        attempt.first_byte = now
        status = attempt.status = connection.status
        self._forwarder.finish(request, None, now)
        exchange = self.exchange
        fields = self._forwarder.relay.fields(exchange, connection)
        body = connection.take()
        exchange.status = status
        exchange.first_byte = exchange.ended = now
        exchange.bytes_out = len(body)
        request.connections.give(connection, now)
        self._edge.answer(self, status, fields, body)
        self._close(exchange)

    def resume(self, app: ASGIApp) -> None:
        """Go on along the general path."""
        self._edge.resume(self, self._around(app))

    def disconnect(self) -> None:
        """The client has gone."""
        error = ClientGone("the client went away before the response was complete")
        connection = self._request.connection
        if connection is not None:
            connection.listener = None
            connection.fail(error)
        now = monotonic()
        self._forwarder.finish(self._request, error, now)
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
