"""A connection that was upgraded: bytes both ways between the client and its backend, whatever they mean.

Each side reads only as fast as the other takes it. Of WebSockets the frames towards the client are followed, so that it
can be told when we have to end it (1001, RFC 6455 section 7.4.1):

    open --a side has said its last--> half closed --the other, too--> ended
      |                                     |
      +---- end() ----> leaving: at the end of the frame that is on its way to the client, a close frame; from then on
                        the backend's bytes are dropped, the client's go on: its answer closes the backend's side, too
      any --a side is lost, or a deadline--> the other is closed, or cut --> ended

What is no WebSocket is cut where a WebSocket is told. A deadline is `timeout` after the last byte, less when half
closed (LAST) or leaving (GOODBYE). It is longer than most, for the two sides share one state.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast

from app.domain.errors import ClientGone, ConnectionTerminated, ProxyError, TunnelClosed, TunnelIdle
from app.domain.frames import Frames, close_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.domain.backend import Backend
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from app.engine.asgi import Switchable
    from app.engine.transport.connection import Connection

LAST = 30.0
"""Seconds without a byte, after which a tunnel that has but one side left is cut."""
GOODBYE = 2.0
"""Seconds that both sides have to end a tunnel that we close."""
GOING_AWAY = 1001


class Side:
    """One side of a tunnel: an `asyncio.Protocol` by its methods. What comes goes to the other."""

    __slots__ = ("_lost", "_tunnel", "count", "finished", "gone", "other", "paused", "transport")

    other: Side
    transport: asyncio.Transport
    _lost: Callable[[Exception | None], None]

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.count = 0
        self.finished = False
        self.paused = False
        self.gone = False

    def take(self, transport: asyncio.Transport, lost: Callable[[Exception | None], None]) -> None:
        """Be the protocol of *transport*; *lost* was so far."""
        self.transport = transport
        self._lost = lost

    # What the event loop calls...

    def data_received(self, data: bytes) -> None:
        """Hand on."""
        tunnel = self._tunnel
        self.count += len(data)
        if not tunnel.leaving:
            tunnel.deadline = monotonic() + tunnel.timeout
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        """This side has said its last; where the other can be told so, it may still answer."""
        self.finished = True
        return self._tunnel.half_close(self)

    def pause_writing(self) -> None:
        """It reads slower than the other sends."""
        self.other.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        self.other.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.gone = True
        self._lost(exc)
        self._tunnel.lose(self, exc)

    # What the other side calls...

    def pause(self) -> None:
        """Read no more for now."""
        if not self.paused and not self.transport.is_closing():
            self.paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()


class Far(Side):
    """The backend's side of a WebSocket."""

    __slots__ = ("_frames",)

    def __init__(self, tunnel: Tunnel, frames: Frames) -> None:
        super().__init__(tunnel)
        self._frames = frames

    def data_received(self, data: bytes) -> None:
        """Hand on, and note where a frame ends."""
        tunnel = self._tunnel
        if tunnel.leaving:
            tunnel.finish_frame(data)
            return
        self.count += len(data)
        tunnel.deadline = monotonic() + tunnel.timeout
        self.other.transport.write(data)
        self._frames.follow(data)


class Tunnel:
    """One tunnel.

    Args:
        exchange: gets the bytes, and the error when it is not one of the two that ends it.

        timeout: seconds without a byte either way, after which it ends.

        websocket: frames are to be followed.

    Attributes:
        deadline: monotonic seconds at which `expire` is due.

        leaving: it is to end as soon as the client can be told.
    """

    __slots__ = (
        "_ended", "_exchange", "_far", "_frames", "_near", "_told", "backend", "deadline", "leaving", "timeout",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, backend: Backend, timeout: float, *, websocket: bool) -> None:
        self.backend = backend
        self.timeout = timeout
        self.deadline = monotonic() + timeout
        self.leaving = False
        self._told = False
        self._exchange = exchange
        self._frames = Frames() if websocket else None
        self._near = Side(self)
        self._far = Far(self, self._frames) if self._frames is not None else Side(self)
        self._near.other, self._far.other = self._far, self._near
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, client: Switchable, connection: Connection, fields: Fields) -> None:
        """Join *client*, who gets a 101 with *fields*, and the *connection* whose backend has answered so.

        When the server cancels it, which it does at the end of the grace time, the client is told before it ends.

        Raises:
            ClientGone, ConnectionTerminated: before the client was told anything.
        """
        near, far = self._near, self._far
        if connection.transport.is_closing():
            raise ConnectionTerminated("the backend closed the connection behind its 101")
        switched = await client.switch(fields, connection.upgrade, cast(asyncio.BaseProtocol, near))
        if switched is None:
            raise ClientGone("the client went away before it was answered")
        self._exchange.first_byte = monotonic()
        self._exchange.status = 101
        transport, data, lost = switched
        near.take(transport, lost)
        far.take(connection.transport, connection.connection_lost)
        self._join(connection, data)
        try:
            await self._ended
        except asyncio.CancelledError:
            if not (near.gone and far.gone):
                self._ended = asyncio.get_running_loop().create_future()
                self.end(TunnelClosed("we are stopping"))
                await self._ended
        finally:
            self.cut()
            self._exchange.bytes_in, self._exchange.bytes_out = near.count, far.count

    def _join(self, connection: Connection, data: bytes) -> None:
        near, far = self._near, self._far
        if far.transport.is_closing():  # while the client was told
            self._exchange.error = ConnectionTerminated("the backend closed the connection behind its 101")
            far.gone = True
            near.transport.abort()
            return
        rest, writable = connection.hand_over(cast(asyncio.BaseProtocol, far))
        if not writable:
            near.pause()
        if rest:
            far.data_received(rest)
        if data:
            near.data_received(data)

    def end(self, error: ProxyError) -> None:
        """End it for our own reason, which the client is told where that can be done."""
        if self.leaving:
            return
        self.leaving = True
        self._exchange.error = self._exchange.error or error
        self.deadline = monotonic() + GOODBYE
        if self._frames is None or self._near.gone or self._far.gone:
            self.cut()
        elif self._frames.between:
            self._tell()

    def expire(self) -> None:
        """The deadline has passed."""
        near, far = self._near, self._far
        if self.leaving or near.finished or far.finished or near.gone or far.gone:
            self.cut()
        else:
            self.end(TunnelIdle(f"no byte either way for {self.timeout:g} s"))

    def cut(self) -> None:
        """End both sides now."""
        for side in (self._near, self._far):
            if not side.gone:
                side.transport.abort()

    # What the sides call...

    def half_close(self, side: Side) -> bool:
        """*side* has said its last. Returns whether it may go on reading."""
        other = side.other
        if other.finished or other.gone or not (side.transport.can_write_eof() and other.transport.can_write_eof()):
            return False  # both have, or TLS is between, which knows no half: closing this side closes the other
        other.transport.write_eof()
        self.timeout = min(self.timeout, LAST)
        if not self.leaving:
            self.deadline = monotonic() + self.timeout
        return True

    def lose(self, side: Side, exc: Exception | None) -> None:
        """*side* is over; the other is given what is on its way to it, when this was no accident."""
        other = side.other
        if other.gone:
            if not self._ended.done():
                self._ended.set_result(None)
            return
        if exc is None:
            other.transport.close()
        else:
            who: type[ProxyError] = ClientGone if side is self._near else ConnectionTerminated
            self._exchange.error = self._exchange.error or who("reset in a tunnel")
            other.transport.abort()
        if not self.leaving:
            self.deadline = monotonic() + min(self.timeout, LAST)

    def finish_frame(self, data: bytes) -> None:
        """The backend goes on while it is to end: up to the end of its frame, that is for the client."""
        if self._told or self._frames is None:
            return
        end = self._frames.step(data, 0)
        self._far.count += end
        self._near.transport.write(data[:end])
        if self._frames.between:
            self._tell()

    def _tell(self) -> None:
        self._told = True
        if self._frames is not None and not self._frames.closed:
            self._near.transport.write(close_frame(GOING_AWAY, ""))
