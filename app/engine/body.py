"""The request body on its way to the backend: framed as it came, counted, never held whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from app.domain.errors import BodyTooLarge, ClientGone

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.engine.asgi import Receive


class Body:
    """A request body as the backend's bytes.

    Attributes:
        complete: all of it was taken from the client.
    """

    __slots__ = ("_chunked", "_exchange", "_limit", "_receive", "complete")

    def __init__(self, receive: Receive, exchange: Exchange, *, chunked: bool, limit: int) -> None:
        self._receive = receive
        self._exchange = exchange
        self._chunked = chunked
        self._limit = limit
        self.complete = False

    async def take(self) -> bytes:
        """The next piece, as it goes on the wire.

        Raises:
            ClientGone: before the end of the body.

            BodyTooLarge: over *limit* bytes.

            BodyTimeout: from `receive`, when the client stalls.
        """
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone("the client went away in the middle of its request body")
        piece: bytes = message.get("body", b"")
        exchange = self._exchange
        exchange.bytes_in += len(piece)
        if self._limit and exchange.bytes_in > self._limit:
            raise BodyTooLarge(f"the request body is over {self._limit} bytes")
        self.complete = not message.get("more_body", False)
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            return framed + b"0\r\n\r\n" if self.complete else framed
        return piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.complete:
            if piece := await self.take():
                yield piece
