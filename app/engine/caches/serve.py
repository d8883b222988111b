"""From a store to the client: the head of a stored response, then its body, piece by piece."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from app.domain.cache.served import Served
from app.domain.errors import ClientGone, ProxyError
from app.engine.caches.fetch import PIECE
from app.engine.caches.store import Kept, Lost
from app.engine.relay import decorate

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from app.engine.asgi import ClientConnection, Message, Send
    from app.engine.caches.fetch import Reader


class Cut(ProxyError):
    """The body of a response was lost, or ended, while it was on its way to the client."""

    error_type = "http_response_incomplete"


def dressed(exchange: Exchange, fields: Fields, age: float, status: bytes) -> Fields:
    """What a client gets for *fields*: with the age, Cache-Status (b"" for none) and what layers on the way add."""
    fields.append((b"age", b"%d" % age))
    if status:
        fields.append((b"cache-status", status))
    decorate(exchange, fields)
    return fields


def finished(exchange: Exchange, fields: Fields, status: bytes) -> Fields:
    """The same of a response that was not stored before."""
    if status:
        fields.append((b"cache-status", status))
    decorate(exchange, fields)
    return fields


async def send_kept(
    exchange: Exchange, kept: Kept, answer: Served, fields: Fields, send: Send, watched: ClientConnection
) -> None:
    """Send a stored response. Raises Lost, when nothing has been sent yet; Cut, later; ClientGone."""
    body, at, end = kept.body, answer.start, answer.end
    piece = b""
    if at < end:
        piece = body[at:end] if body is not None else await kept.read(at, min(PIECE, end - at))
    exchange.status = answer.status
    await send({"type": "http.response.start", "status": answer.status, "headers": fields})
    exchange.first_byte = monotonic()
    at += len(piece)
    if at >= end:
        exchange.bytes_out = len(piece)
        await send({"type": "http.response.body", "body": piece})
        return
    gone: list[bool] = []
    watched.watch(lambda: gone.append(True))
    try:
        while True:
            exchange.bytes_out += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": at < end})
            if at >= end:
                return
            if gone:
                raise ClientGone("the client went away before the response was complete")
            piece = await _next(kept, at, end)
            at += len(piece)
    finally:
        watched.watch(None)


async def send_read(exchange: Exchange, reader: Reader, answer: Served, fields: Fields, send: Send) -> None:
    """Send a response while it comes in; raises as `Reader.read` does."""
    exchange.status = answer.status
    await send({"type": "http.response.start", "status": answer.status, "headers": fields})
    exchange.first_byte = monotonic()
    reader.offset = answer.start
    left = answer.end - answer.start
    while (left > 0 or answer.end < 0) and (piece := await reader.read()):
        if answer.end >= 0:
            piece = piece[:left]
            left -= len(piece)
        exchange.bytes_out += len(piece)
        if reader.last or (left == 0 and answer.end >= 0):
            await send(_final(piece, reader))
            return
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    if left > 0 and answer.end >= 0:
        raise Cut("the response is shorter than it said")
    await send(_final(b"", reader))


def _final(piece: bytes, reader: Reader) -> Message:
    message: Message = {"type": "http.response.body", "body": piece}
    if trailers := reader.trailers:
        message["lb.trailers"] = trailers
    return message


async def _next(kept: Kept, at: int, end: int) -> bytes:
    try:
        return await kept.read(at, min(PIECE, end - at))
    except Lost as lost:
        raise Cut("the stored response was lost while it was being sent") from lost
