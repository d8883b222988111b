"""The request body on its way to the backend: counted, never held whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.domain.errors import BodyTooLarge, ClientGone

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.headers import Field
    from app.engine.asgi import Receive


class Body:
    """A request body; how it is framed is for its carrier to say.

    Attributes:
        end: its trailers, once it is complete; None before.

        trailers: names of those that go on.
    """

    __slots__ = ("_exchange", "_keep", "_kept", "_limit", "_receive", "end", "trailers")

    def __init__(self, receive: Receive, exchange: Exchange, *, limit: int, keep: int) -> None:
        self._receive = receive
        self._exchange = exchange
        self._limit = limit
        self._keep = keep
        self.end: Sequence[Field] | None = None
        self.trailers: frozenset[bytes] = frozenset()
        self._kept: list[bytes] | None = []

    @property
    def complete(self) -> bool:
        """All of it was taken from the client."""
        return self.end is not None

    async def take(self) -> bytes:
        """The next piece.

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
        if not message.get("more_body", False):
            fields = message.get("lb.trailers", ()) if self.trailers else ()
            self.end = [field for field in fields if field[0] in self.trailers]
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
        """All of it so far; None where that is over *keep* bytes, and not one piece alone."""
        return None if self._kept is None else b"".join(self._kept)
