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

        trailers: names of those that go on.
    """

    __slots__ = ("_chunked", "_exchange", "_keep", "_kept", "_limit", "_receive", "complete", "trailers")

    def __init__(self, receive: Receive, exchange: Exchange, *, chunked: bool, limit: int, keep: int) -> None:
        self._receive = receive
        self._exchange = exchange
        self._chunked = chunked
        self._limit = limit
        self._keep = keep
        self.complete = False
        self.trailers: frozenset[bytes] = frozenset()
        self._kept: list[bytes] | None = []

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
            piece = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            if self.complete:
                fields = message.get("lb.trailers", ()) if self.trailers else ()
                lines = [b"%b: %b\r\n" % field for field in fields if field[0] in self.trailers]
                piece += b"0\r\n%b\r\n" % b"".join(lines)
        if self._kept is not None and piece:
            if self._kept and exchange.bytes_in > self._keep:
                self._kept = None
            else:
                self._kept.append(piece)
        return piece

    def replayable(self, *, sent: bool) -> bool:
        """Whether all of it can go again: up to *keep* bytes, or what was taken of a longer one and not *sent*."""
        return self._kept is not None and (not sent or self._exchange.bytes_in <= self._keep)

    @property
    def taken(self) -> bytes | None:
        """All of it so far, as it goes on the wire; None where that is over *keep* bytes, and not one piece alone."""
        return None if self._kept is None else b"".join(self._kept)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self.complete:
            if piece := await self.take():
                yield piece
