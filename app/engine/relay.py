"""From the backend to the client: the point of no return, then piece by piece. And our own small answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from time import monotonic
from typing import TYPE_CHECKING, Final

from app.domain import grpc
from app.domain.answer import proxy_status
from app.domain.headers import Field, Fields, takes_trailers
from app.engine.encoders import encode, encoder

if TYPE_CHECKING:
    from app.domain.coding import Coding
    from app.domain.errors import ProxyError
    from app.domain.exchange import Exchange
    from app.domain.fields import FieldRules
    from app.engine.asgi import Message, Scope, Send
    from app.engine.client import UpstreamResponse
    from app.engine.transport.carrier import Carrier


_ABOUT_THE_BODY: Final = (b"content-", b"etag", b"last-modified", b"accept-ranges", b"date")


class _Clock:
    """The Date field, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._field: Field = (b"date", b"")

    def field(self) -> Field:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._field = (b"date", formatdate(second, usegmt=True).encode())
        return self._field


_DATE: Final = _Clock()


class Relay:
    """How the responses of one group go on, prepared."""

    __slots__ = ("_fields", "_via")

    def __init__(self, via: str, fields: FieldRules | None) -> None:
        self._via: Fields = [(b"via", b"1.1 " + via.encode())] if via else []
        self._fields = fields

    async def send(self, exchange: Exchange, response: UpstreamResponse, send: Send, asked: Fields) -> None:
        """Hand the response on; its trailers, where the request *asked* for them.

        Raises:
            ProxyError: after the point of no return, when the response does not come to its end.
        """
        connection = response.connection
        fields = self.fields(exchange, connection)
        exchange.status = connection.status
        if exchange.coding is not None:
            whole = connection.waiting if connection.done and exchange.method != "HEAD" else None
            fields, compressed = exchange.coding.apply(connection.status, fields, whole)
            if compressed and exchange.method != "HEAD":
                await _compress(exchange, exchange.coding, fields, response, send)
                return
        await send({"type": "http.response.start", "status": connection.status, "headers": fields})
        exchange.first_byte = monotonic()
        if connection.done:
            piece = connection.take()
            exchange.bytes_out = len(piece)
            message: Message = {"type": "http.response.body", "body": piece}
            if connection.trailers:
                _trail(message, connection.trailers, asked)
            response.release()
            await send(message)
            return
        while piece := await connection.more(monotonic()):
            exchange.bytes_out += len(piece)
            if connection.finished:  # the last piece and the end leave together
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        message = {"type": "http.response.body", "body": piece}
        if connection.trailers:
            _trail(message, connection.trailers, asked)
        response.release()
        await send(message)

    async def show(self, scope: Scope, response: UpstreamResponse, shown: tuple[bytes, bytes], send: Send) -> None:
        """Answer with the page *shown* in place of the body of a response, and of what its head says about that."""
        fields = [field for field in response.connection.fields if not field[0].startswith(_ABOUT_THE_BODY)]
        fields += self._via
        if self._fields is not None:
            fields = self._fields.apply(fields)
        await respond(scope, send, response.status_code, [*fields, (b"content-type", shown[0])], shown[1])

    def fields(self, exchange: Exchange, connection: Carrier) -> Fields:
        """What the client gets of the response head on *connection*, with what we add."""
        fields = connection.fields
        fields += self._via
        if not connection.dated:
            fields.append(_DATE.field())
        if self._fields is not None:
            fields = self._fields.apply(fields)
        decorate(exchange, fields)
        return fields


async def _compress(exchange: Exchange, coding: Coding, fields: Fields, response: UpstreamResponse, send: Send) -> None:
    """Hand on a response whose body is compressed as it comes; all of each piece, so that events do not wait."""
    connection = response.connection
    status = connection.status
    one = encoder(coding)
    if connection.done:
        piece = connection.take()
        response.release()
        piece = await encode(one, piece, True)
        fields.append((b"content-length", b"%d" % len(piece)))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        exchange.first_byte = monotonic()
    else:
        await send({"type": "http.response.start", "status": status, "headers": fields})
        exchange.first_byte = monotonic()
        if not connection.waiting:  # the first event may be long in coming: the head does not wait for it
            await send({"type": "http.response.body", "body": b"", "more_body": True})
        end = False
        while not end:
            piece = await connection.more(monotonic())
            end = not piece or connection.finished
            piece = await encode(one, piece, end)
            if not end:
                exchange.bytes_out += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        response.release()
    exchange.bytes_out += len(piece)
    await send({"type": "http.response.body", "body": piece})


async def respond(scope: Scope, send: Send, status: int, headers: Sequence[Field], body: bytes) -> None:
    """Send a small whole response of our own, and note it on the exchange."""
    exchange: Exchange = scope["lb.exchange"]
    fields = [*headers, (b"content-length", b"%d" % len(body)), _DATE.field()]
    decorate(exchange, fields)
    exchange.status = status
    exchange.first_byte = monotonic()
    if scope["method"] != "HEAD":
        exchange.bytes_out = len(body)
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def refuse_call(scope: Scope, send: Send, error: ProxyError) -> None:
    """Answer a call of gRPC that came to *error*. On the exchange the status is that of the error, as it always is."""
    exchange: Exchange = scope["lb.exchange"]
    fields = grpc.answer(error, proxy_status(error))
    fields.append(_DATE.field())
    decorate(exchange, fields)
    exchange.status = error.status
    exchange.first_byte = monotonic()
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b""})


def _trail(message: Message, trailers: Sequence[Field], asked: Fields) -> None:
    """Have the last message of a response carry its trailers, where the request takes them."""
    if takes_trailers(asked):
        message["lb.trailers"] = trailers


def decorate(exchange: Exchange, fields: Fields) -> None:
    """What the layers on the way in asked for."""
    if exchange.limit is not None:
        fields += exchange.limit.fields()
    if exchange.fields:
        fields += exchange.fields
