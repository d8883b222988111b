"""A WebSocket between another server, which shows messages, and a backend's bytes: carried message by message.

    open --the backend's close frame, its end, or end()--> the client is told --> ended
         --the client has gone--> the backend is told, and has GOODBYE seconds to answer --> ended

Fragments are put together and pings answered on either side, for so it is with ASGI. The codec is the sans-I/O half of
the `websockets` library. It is longer than most, for the two sides share one state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, cast

from websockets.client import ClientProtocol
from websockets.frames import EXTERNAL_CLOSE_CODES, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from app.domain.errors import ClientGone, ConnectionTerminated, ProxyError, ResponseInvalid, TunnelIdle
from app.domain.frames import Frames
from app.engine.tunnel import GOING_AWAY, GOODBYE

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from app.engine.asgi import Message
    from app.engine.door import Door
    from app.engine.transport.connection import Connection

MAX_MESSAGE = 16 * 2**20
"""Bytes of a message from a backend, above which it is closed with 1009; uvicorn has the same for clients."""
HIGH_WATER = 128 * 1024
"""Bytes of messages that may wait for the client before the backend is paused."""

_URI = parse_uri("ws://backend/")  # wanted, and not used once it is open
_at_rest: list[ClientProtocol] = []  # one at most, which serves whoever has something to say or to hear


class Bridge:
    """One WebSocket between a server's messages and a backend's bytes: an `asyncio.Protocol` by its methods.

    Args:
        exchange: gets the bytes of the messages, and the error when it is not one of the two that ends it.

        timeout: seconds without a byte either way, after which it ends.

    Attributes:
        deadline: monotonic seconds at which `expire` is due.
    """

    __slots__ = (
        "_client_gone", "_codec", "_drained", "_exchange", "_frames", "_leaving", "_loop", "_lost", "_news", "_parts",
        "_passed", "_patience", "_paused", "_size", "_text", "_timeout", "_transport", "_waiting", "backend",
        "deadline",
    )  # fmt: skip

    _transport: asyncio.Transport
    _passed: Connection

    def __init__(self, exchange: Exchange, backend: Backend, timeout: float) -> None:
        self.backend = backend
        self.deadline = monotonic() + timeout
        self._timeout = timeout
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._codec: ClientProtocol | None = None
        self._frames = Frames()
        self._parts: list[bytes] = []
        self._text = False
        self._waiting: list[str | bytes] = []
        self._size = 0
        self._paused = False
        self._news: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._patience: asyncio.Timeout | None = None
        self._leaving = False
        self._client_gone = False
        self._lost = False

    async def run(self, door: Door, connection: Connection, fields: Fields) -> None:
        """Carry it to its end.

        Raises:
            ResponseInvalid: what the backend has answered is no handshake.

            ConnectionTerminated: it has gone.
        """
        subprotocol = door.subprotocol(connection.fields)
        if connection.transport.is_closing():
            raise ConnectionTerminated("the backend closed the connection behind its 101")
        self._passed, self._transport = connection, connection.transport
        await door.accept(subprotocol, fields)
        self._exchange.status = 101
        self._exchange.first_byte = monotonic()
        rest, writable = connection.hand_over(cast(asyncio.BaseProtocol, self))
        if not writable:
            self.pause_writing()
        self._lost = self._transport.is_closing()
        if rest:
            self.data_received(rest)
        hearing = self._loop.create_task(self._hear(door))
        try:
            with suppress(ClientGone, TimeoutError):
                async with asyncio.timeout(None) as self._patience:
                    await self._tell(door)
            self._patience = None
            hearing.cancel()
            await self._part()
        except asyncio.CancelledError:
            self._goodbye(GOING_AWAY)
            self._transport.close()
            raise
        except BaseException:
            self._transport.abort()
            raise
        finally:
            hearing.cancel()

    def end(self, error: ProxyError) -> None:
        """End it for our own reason, of which both sides are told."""
        if not self._leaving:
            self._leaving = True
            self._exchange.error = self._exchange.error or error
            self._goodbye(GOING_AWAY)
            self.deadline = monotonic() + GOODBYE
            self._wake()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._leaving or self._client_gone:
            self._transport.abort()
            if self._patience is not None:
                self._patience.reschedule(0.0)  # the client may be one that does not read
        else:
            self.end(TunnelIdle(f"no byte either way for {self._timeout:g} s"))

    # The backend's side, as the event loop calls it...

    def data_received(self, data: bytes) -> None:
        """Take frames, and make messages of them."""
        self._moved()
        codec = self._take_codec()
        codec.receive_data(data)
        self._frames.follow(data)
        for event in codec.events_received():
            if isinstance(event, Frame):
                self._take(event)
        self._give_codec(codec)
        if self._size > HIGH_WATER and not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """What has but one side left is none."""
        return False

    def pause_writing(self) -> None:
        """The backend reads slower than the client sends."""
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._lost = True
        self._passed.connection_lost(exc)
        self.resume_writing()
        self._wake()

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._text = frame.opcode is Opcode.TEXT
        elif frame.opcode is not Opcode.CONT:
            return
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        whole = b"".join(self._parts)
        self._parts = []
        try:
            self._waiting.append(whole.decode() if self._text else whole)
        except UnicodeDecodeError:
            self._goodbye(CloseCode.INVALID_DATA)
            return
        self._size += len(whole)

    def _take_codec(self) -> ClientProtocol:
        """Ours, or any: between two messages of an open connection they know nothing, and one takes 2 KiB."""
        if self._codec is None:
            self._codec = _at_rest.pop() if _at_rest else ClientProtocol(_URI, state=State.OPEN, max_size=MAX_MESSAGE)
        return self._codec

    def _give_codec(self, codec: ClientProtocol) -> None:
        """Send what it has to say; it is kept while it knows something."""
        for piece in codec.data_to_send():
            if piece and not self._transport.is_closing():
                self._transport.write(piece)
        if codec.state is State.OPEN and self._frames.between and not self._parts:
            self._codec = None
            if not _at_rest:
                _at_rest.append(codec)

    @property
    def _closing(self) -> ClientProtocol | None:
        """The codec that knows how it ends, once a close frame has come or gone."""
        return None if self._codec is None or self._codec.state is State.OPEN else self._codec

    def _goodbye(self, code: int | None, reason: str = "") -> None:
        if self._closing is None:
            codec = self._take_codec()
            codec.send_close(code, reason)
            self._give_codec(codec)

    # The client's side...

    async def _tell(self, door: Door) -> None:
        """Hand on the backend's messages, and how it ends."""
        while not self._leaving:
            while self._waiting and not self._client_gone:
                await self._say(door)
            codec = self._closing
            if self._lost or (codec is not None and (codec.close_rcvd is not None or not self._client_gone)):
                break
            self._news = self._loop.create_future()
            await self._news
        if self._client_gone:
            return
        codec = self._closing
        if self._leaving:
            await door.close(GOING_AWAY, "")
        elif codec is not None and (close := codec.close_rcvd) is not None:
            told = close.code != CloseCode.NO_STATUS_RCVD  # ASGI cannot say nothing
            await door.close(close.code if told else CloseCode.NORMAL_CLOSURE, close.reason)
        else:
            self._exchange.error = (
                ConnectionTerminated("reset")
                if codec is None
                else ResponseInvalid(f"not WebSocket: {codec.parser_exc}")
            )
            await door.close(CloseCode.BAD_GATEWAY, "")

    async def _say(self, door: Door) -> None:
        """Hand on what waits: apart from who waits for more, whose frame would keep the last of it."""
        messages, self._waiting = self._waiting, []
        for message in messages:
            size = len(message) if isinstance(message, bytes) else len(message.encode())
            try:
                await door.say(message)
            except ClientGone:
                self._client_gone = True
                break
            self._exchange.bytes_out += size
            self._size -= size
            if self._paused and self._size <= HIGH_WATER and not self._transport.is_closing():
                self._paused = False
                self._transport.resume_reading()
            if self._client_gone:
                break

    async def _part(self) -> None:
        """Wait for the backend to close the connection, which is for it to do (RFC 6455 section 7.1.1)."""
        self._client_gone = True
        self.deadline = monotonic() + GOODBYE
        while not self._lost:
            self._news = self._loop.create_future()
            await self._news

    async def _hear(self, door: Door) -> None:
        """Hand on the client's messages, each only when the backend took the one before; then how it ends."""
        try:
            while (last := self._pass(await door.next())) is None:
                while self._drained is not None:
                    await self._drained
        finally:
            self._client_gone = True
            self.deadline = monotonic() + GOODBYE
            self._wake()
        code = last.get("code", CloseCode.NO_STATUS_RCVD)
        if code == CloseCode.NO_STATUS_RCVD:
            self._goodbye(None)
        elif code in EXTERNAL_CLOSE_CODES or 3000 <= code < 5000:
            self._goodbye(code, last.get("reason") or "")
        else:  # the client said nothing that could be handed on
            self._transport.abort()

    def _pass(self, message: Message) -> Message | None:
        """Hand a message of the client's on; returns that which is none, the last."""
        if message["type"] != "websocket.receive":
            return message
        self._moved()
        if self._closing is None:
            text = message.get("text")
            data: bytes = text.encode() if text is not None else message.get("bytes") or b""
            self._exchange.bytes_in += len(data)
            codec = self._take_codec()
            if text is not None:
                codec.send_text(data)
            else:
                codec.send_binary(data)
            self._give_codec(codec)
        return None

    def _moved(self) -> None:
        if not (self._leaving or self._client_gone):
            self.deadline = monotonic() + self._timeout

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
