"""Ends a response under hypercorn while its client still sends, or where it cannot be completed.

ASGI has a word for neither. Elsewhere an exception cuts a stream; hypercorn lets go of it then, and its client waits
for ever. After a response that ends before its request, what still comes of that is an error to hypercorn which costs
the whole connection; and a client whose gRPC call has failed may send for long. So such a stream is ended and reset, as
RFC 9113 section 8.1 has it, by what hypercorn has for that itself; `tests/e2e/test_fronts.py` fails when it moves.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from app.engine.asgi import Receive, Send

HIGH_WATER = 65536
"""Bytes of a response that wait for the client."""
NO_ERROR, INTERNAL_ERROR = 0, 2
"""RFC 9113 section 7."""


class Ended:
    """What stands for a stream that was ended so, for whatever still comes of it."""

    idle = True

    async def handle(self, event: object) -> None:
        """Nobody wants it."""


_ENDED = Ended()


class Http2Stream:
    """One HTTP/2 stream of hypercorn's."""

    def __init__(self, stream: Any, protocol: Any, queue: asyncio.Queue[Any]) -> None:
        self._stream = stream
        self._protocol = protocol
        self._queue = queue

    @classmethod
    def of(cls, receive: Receive, send: Send) -> Http2Stream | None:
        """The stream that these belong to; None under another server, and for HTTP/1.1."""
        stream: Any = getattr(send, "__self__", None)
        if type(stream).__module__ != "hypercorn.protocol.http_stream":
            return None
        protocol: Any = getattr(stream.send, "__self__", None)
        queue: Any = getattr(receive, "__self__", None)
        return cls(stream, protocol, queue) if type(protocol).__module__ == "hypercorn.protocol.h2" else None

    async def passed(self) -> None:
        """Wait until not much is left to be sent. hypercorn 0.18 waits, too, but only until it can send nothing."""
        buffer = self._protocol.stream_buffers.get(self._stream.stream_id)
        if buffer is not None and len(buffer.buffer) > HIGH_WATER:
            await buffer.drain()

    async def forget(self) -> None:
        """The client has gone: who waits until it has read something is to know. hypercorn leaves it waiting."""
        buffer = self._protocol.stream_buffers.get(self._stream.stream_id)
        if buffer is not None:
            await buffer.close()

    async def reset(self) -> None:
        """Have the client know that there is an error."""
        await self._leave(INTERNAL_ERROR)

    async def end(self, trailers: Fields) -> None:
        """End the response, whose body was sent, with *trailers*, and have the client stop sending."""
        protocol, number = self._protocol, self._stream.stream_id
        buffer = protocol.stream_buffers.get(number)
        if buffer is not None:
            await buffer.drain()
        with suppress(*_gone()):
            if trailers:
                protocol.connection.send_headers(number, trailers, end_stream=True)
            else:
                protocol.connection.end_stream(number)
        await self._leave(NO_ERROR)

    async def _leave(self, code: int) -> None:
        protocol, number = self._protocol, self._stream.stream_id
        if number not in protocol.streams:  # the client has gone
            return
        with suppress(*_gone()):  # it has ended, too, which only our app has not seen yet
            protocol.connection.reset_stream(number, error_code=code)
        protocol.streams[number] = _ENDED
        self._stream.closed = True
        await protocol._flush()  # noqa: SLF001  # it has no other way
        await protocol._window_updated(number)  # noqa: SLF001  # its buffer goes
        while not self._queue.empty():  # else who hands over the body waits for ever, and the connection with it
            self._queue.get_nowait()
            await asyncio.sleep(0)
        idle = protocol.idle
        if idle and protocol.context.terminated.is_set():
            protocol.connection.close_connection()
            await protocol._flush()  # noqa: SLF001  # it has no other way
        await protocol.send(_updated(idle))


# What is there when hypercorn runs us...


def _gone() -> tuple[type[Exception], ...]:
    from h2.exceptions import ProtocolError  # noqa: PLC0415  # here only under hypercorn

    return (ProtocolError, KeyError)


def _updated(idle: bool) -> object:
    from hypercorn.events import Updated  # noqa: PLC0415  # as above

    return Updated(idle=idle)
