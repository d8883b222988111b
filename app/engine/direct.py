"""The second driver: an ordinary exchange carried by callbacks, without a task and without ASGI messages.

The same decisions in the same order as on the general path, by the same functions; only who calls them is different.

    request head --Direct--> layers, route, pick --Passage--> backend's connection --progress()--> answer

What is not ordinary goes on along the general path from the point where it is, and is not begun again: a group that
does not forward, no kept connection at hand, a response that is not whole when its head is there, an error to answer.
A request with a body, and the control plane, take the general path from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from app.domain.errors import ClientGone, StaleConnection
from app.domain.exchange import Exchange
from app.engine.client import UpstreamRequest, UpstreamResponse
from app.engine.forward import IDEMPOTENT, Forwarder

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, Receive, Scope, Send
    from app.engine.transport.connection import Connection

Enter = Callable[[Exchange, "Fields"], None]
"""What a layer does on the way in. Raises ProxyError."""
Find = Callable[[str, bytes, str, "Fields", bytes, str], str]
"""Host, raw path, method, fields, query, client: the name of the group. Raises ProxyError."""


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


class Lane(NamedTuple):
    """A group that forwards.

    Attributes:
        layers: its own.
    """

    layers: Sequence[Enter]
    forwarder: Forwarder


def way_in(app: ASGIApp) -> tuple[Sequence[Enter], ASGIApp]:
    """What the layers around an app do on the way in, outermost first; and the app that they are around."""
    layers: list[Enter] = []
    while (enter := getattr(app, "enter", None)) is not None:
        layers.append(enter)
        app = app.app  # type: ignore[attr-defined]  # every layer has one
    return tuple(layers), app


class Direct:
    """The driver.

    Args:
        below: path prefix of the control plane, with its slash.

        layers: what stands before routing, outermost first.

        find: routes.

        apps: all groups.

        around: what stands around everything on the general path: rescue, and the closing of the record.

        close: hands on the record of a finished exchange.
    """

    def __init__(
        self,
        *,
        below: bytes,
        layers: Sequence[Enter],
        find: Find,
        apps: Mapping[str, ASGIApp],
        around: Callable[[ASGIApp], ASGIApp],
        close: Callable[[Exchange], None],
    ) -> None:
        self._below = below
        self._layers = tuple(layers)
        self._find = find
        self._apps = apps
        ways = {name: way_in(app) for name, app in apps.items()}
        self._lanes = {name: Lane(own, end) for name, (own, end) in ways.items() if isinstance(end, Forwarder)}
        self.around = around
        self.close = close

    def __call__(
        self, edge: Edge, method: bytes, target: bytes, headers: Fields, http11: bool, keep_alive: bool
    ) -> bool:
        """Carry one request without a body. False, and nothing has happened, when it is not for us."""
        path, _, query = target.partition(b"?")
        if path.startswith(self._below) or b"%" in path:  # escapes are for those who decode them anyway
            return False
        host = ""
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1")
                break
        peer = edge.client[0] if edge.client is not None else "unix"
        exchange = Exchange(monotonic(), peer, edge.scheme, method.decode("ascii"), host, path.decode("latin-1"))
        passage = Passage(self, edge, exchange, target, headers, http11, keep_alive)
        edge.begin(passage)
        try:
            for enter in self._layers:
                enter(exchange, headers)
            exchange.group = group = self._find(host, path, exchange.method, headers, query, exchange.client)
            lane = self._lanes.get(group)
            if lane is None:
                passage.resume(self._apps[group])
                return True
            for enter in lane.layers:
                enter(exchange, headers)
            request = lane.forwarder.prepare(exchange, headers, target)
        except Exception as error:  # whatever it is, rescue knows what to make of it
            passage.resume(_raising(error))
        else:
            passage.start(lane.forwarder, request)
        return True


class Passage:
    """One exchange on its way.

    Attributes:
        keep_alive: another request may follow on the client's connection.

        target: the request target in origin form, as sent.
    """

    __slots__ = ("_direct", "_edge", "_forwarder", "_request", "exchange", "headers", "http11", "keep_alive", "target")

    body_done = True
    _forwarder: Forwarder
    _request: UpstreamRequest

    def __init__(
        self,
        direct: Direct,
        edge: Edge,
        exchange: Exchange,
        target: bytes,
        headers: Fields,
        http11: bool,
        keep_alive: bool,
    ) -> None:
        self._direct = direct
        self._edge = edge
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
            self.resume(_raising(error))

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
        self._direct.close(exchange)

    def resume(self, app: ASGIApp | Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]) -> None:
        """Go on along the general path."""
        self._edge.resume(self, self._direct.around(app))

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
        self._direct.close(exchange)


def _raising(error: Exception) -> ASGIApp:
    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    return raises
