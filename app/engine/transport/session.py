"""One HTTP/2 connection to a backend: many exchanges at a time, each a stream. RFC 9113.

    connecting --SETTINGS--> open --GOAWAY, doubt(), leave()--> leaving --its last stream ends--> closed
      what may not come: broken, which is a GOAWAY of ours, and closed

While leaving it takes no new stream. It is long because windows, streams and what frames do to them are one state
machine.

Nobody else waits for a stream whose client is slow: what comes is credited to the connection at once, and to the stream
when it is taken. Frames leave together, those of all exchanges of one turn of the event loop in one write.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from app.domain.errors import ConnectFailed, ProxyError, ResponseIdle, ResponseInvalid, StreamRefused
from app.domain.headers import Fields
from app.domain.http2 import frames
from app.domain.http2.frames import Broken
from app.domain.http2.heads import request_block, trailer_block
from app.domain.http2.hpack import NO_TABLE, OVERHEAD, BadBlock, Decoder
from app.domain.http2.reader import Reader
from app.engine.transport.stream import Stream

if TYPE_CHECKING:
    from app.engine.transport.sessions import Sessions

OUTGOING: Final = 256 * 1024
"""Bytes of ours that may wait for one write; then bodies wait for the next."""
CALM: Final = 1000
"""Frames in a second that bring nothing, of any kind, above which a backend is cut off."""
SLACK: Final = 4
"""How many times the limits of a response head a block may be: that is decoded, since the next one builds on it."""


class Session:
    """A connection, owned by the `Sessions` of its backend: an `asyncio.Protocol` by its methods.

    Attributes:
        limit: streams that it may have at a time, as both sides want it.

        count: that are taken, from `take` to their end.

        leaving: it takes no new one.

        heard: monotonic seconds, when something came last; 0.0 before the first SETTINGS.

        news: those to whom something has come.

        deadline: monotonic seconds, at which an idle one is closed, and a busy one pinged or given up.
    """

    __slots__ = (
        "_blocked", "_calm_since", "_decoder", "_flushing", "_frame", "_initial", "_noise", "_out", "_out_size",
        "_owed", "_pinged", "_reader", "_ready", "_unacked", "_window", "_writable", "count", "deadline", "fresh",
        "heard", "leaving", "limit", "loop", "lost", "news", "next_id", "owner", "streams", "transport", "why",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, owner: Sessions, loop: asyncio.AbstractEventLoop) -> None:
        self.owner = owner
        self.loop = loop
        self.streams: dict[int, Stream] = {}
        self.count = 0
        self.limit = owner.max_streams
        self.next_id = 1
        self.leaving = False
        self.lost = False
        self.fresh = True
        self.heard = 0.0
        self.why: ProxyError | None = None
        self.news: dict[Stream, None] = {}
        self.deadline = inf
        self._ready: asyncio.Future[None] | None = None
        self._decoder = Decoder()
        self._reader = Reader(owner.max_header_bytes * SLACK)
        self._out: list[bytes] = []
        self._out_size = 0
        self._flushing = False
        self._writable = True
        self._blocked: dict[int, Stream] = {}
        self._window = frames.DEFAULT_WINDOW
        self._initial = frames.DEFAULT_WINDOW
        self._frame = frames.DEFAULT_FRAME
        self._unacked = 0
        self._owed = 0
        self._noise = 0
        self._calm_since = 0.0
        self._pinged = False

    async def ready(self) -> None:
        """Wait for the backend's first SETTINGS: before it nothing is asked. Raises ConnectFailed."""
        if self.heard == 0.0 and not self.lost:
            self._ready = self.loop.create_future()
            await self._ready
        if self.lost:
            if self.why is None:
                raise ConnectFailed("the backend closed the connection before its SETTINGS")
            raise ConnectFailed(f"the backend does not speak HTTP/2: {self.why}")

    # Exchanges...

    def take(self) -> Stream | None:
        """A place for an exchange; None where there is none."""
        if self.leaving or self.count >= self.limit:
            return None
        self.count += 1
        stream = Stream(self, self.loop, self.owner.window)
        stream.idle_timeout = self.owner.idle_timeout
        stream.write_timeout = self.owner.write_timeout
        return stream

    def open(self, stream: Stream, head: bytes) -> None:
        """Begin *stream* with the request *head*, and send what is pending of its body."""
        if self.leaving:
            stream.lose(StreamRefused("the connection is about to end"))
            self._vacate()
            return
        stream.id = self.next_id
        self.next_id += 2
        if self.next_id > frames.LAST_STREAM:
            self.leave()
        stream.window = self._initial
        self.streams[stream.id] = stream
        self.owner.live(stream)
        stream.opened = self.heard
        self.deadline = monotonic() + self.owner.ping if self.owner.ping else inf
        block = request_block(head, self.owner.scheme)
        if stream.id == 1:
            block = NO_TABLE + block
        whole = stream.end is not None and not stream.end and not stream.pending
        self.send(frames.headers(block, stream.id, frames.END_STREAM if whole else 0, self._frame))
        if whole:
            stream.ended = True
        else:
            self.pump(stream)

    def pump(self, stream: Stream) -> None:
        """Send what is pending on *stream*, as far as windows and the connection take it."""
        pending, sent, size = stream.pending, stream.sent, len(stream.pending)
        while sent < size:
            room = min(size - sent, stream.window, self._window, self._frame)
            if room <= 0 or not self._writable or self._out_size > OUTGOING:
                stream.sent = sent
                self._blocked[stream.id] = stream
                return
            piece = pending[sent : sent + room]
            sent += room
            stream.window -= room
            self._window -= room
            self._noise = 0
            ends = sent == size and stream.end is not None and not stream.end
            self.send(frames.head(room, frames.DATA, frames.END_STREAM if ends else 0, stream.id) + piece)
            stream.ended = ends
        stream.pending, stream.sent = b"", 0
        self._blocked.pop(stream.id, None)
        if stream.end is not None and not stream.ended:
            stream.ended = True
            if stream.end:
                self.send(frames.headers(trailer_block(stream.end), stream.id, frames.END_STREAM, self._frame))
            else:
                self.send(frames.head(0, frames.DATA, frames.END_STREAM, stream.id))
        stream.drained()
        if stream.ended and stream.done:
            self._forget(stream)

    def cancel(self, stream: Stream, code: int) -> None:
        """Nobody wants *stream* any more."""
        if self.streams.get(stream.id) is stream:
            if not self.lost:
                self.send(frames.reset(stream.id, code))
                if not stream.done:
                    self._owed += stream.credit  # which may be on its way
            self._forget(stream)
            stream.drained()
        elif stream.id == 0 and stream.reusable:
            stream.reusable = False
            self._vacate()

    def doubt(self, stream: Stream) -> None:
        """*stream* is out of time: when nothing has come at all since it began, the others are warned."""
        if self.heard == stream.opened:
            self.leave()

    def leave(self) -> None:
        """Take no new stream; close with the last one."""
        self.leaving = True
        self.owner.forget(self)
        if not self.count:
            self.close()

    def close(self) -> None:
        """Say goodbye and close."""
        self.leaving = True
        self.owner.forget(self)
        self.deadline = inf
        if not self.lost and not self.transport.is_closing():
            self.send(frames.goaway(frames.NO_ERROR))
            self._flush()
            self.transport.close()

    @property
    def buffered(self) -> int:
        """See `Swept`; what waits of a stream is its own."""
        return self._out_size + self.transport.get_write_buffer_size()

    def cut(self) -> None:
        """Close at once."""
        self.leaving = True
        self.transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed: it is idle for too long, or it is time to ask whether anybody is there."""
        if not self.count:
            self.close()
        elif self._pinged:
            self._end(ResponseIdle("the backend does not answer PING"), frames.NO_ERROR)
        elif now < self.heard + self.owner.ping:
            self.deadline = self.heard + self.owner.ping
        else:
            self._pinged = True
            self.deadline = now + self.owner.ping_timeout
            self.send(frames.ping(bytes(8), 0))

    def _vacate(self) -> None:
        """A stream has ended."""
        self.count -= 1
        if not self.count:
            if self.leaving:
                self.close()
            else:
                self.owner.idle(self)

    def _forget(self, stream: Stream) -> None:
        del self.streams[stream.id]
        self._blocked.pop(stream.id, None)
        self.owner.dead(stream)
        stream.deadline = inf
        self._vacate()

    # What leaves...

    def send(self, data: bytes) -> None:
        """Have *data* leave with what else leaves in this turn of the event loop."""
        self._out.append(data)
        self._out_size += len(data)
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._out:
            return
        data = b"".join(self._out)
        full = self._out_size > OUTGOING
        self._out = []
        self._out_size = 0
        if not self.lost:
            self.transport.write(data)
            if full:
                self._go_on()

    def _go_on(self) -> None:
        """There is room for those that wait: each in its turn, who goes first is last the next time."""
        for stream in list(self._blocked.values()):
            if self._window <= 0 or not self._writable or self._out_size > OUTGOING:
                return
            if stream.window > 0:
                self._blocked.pop(stream.id, None)
                self.pump(stream)

    # asyncio.Protocol...

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and with TLS shaken hands: our preface."""
        self.transport = cast(asyncio.Transport, transport)
        owner = self.owner
        said = {
            frames.ENABLE_PUSH: 0,
            frames.INITIAL_WINDOW_SIZE: owner.window,
            frames.MAX_HEADER_LIST_SIZE: owner.max_header_bytes + OVERHEAD * owner.max_headers,
        }
        preface = frames.PREFACE + frames.settings(said)
        if (more := owner.connection_window - frames.DEFAULT_WINDOW) > 0:
            preface += frames.window_update(0, more)
        self.transport.write(preface)

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self.lost:
            return
        some = False
        try:
            for kind, flags, number, payload in self._reader.feed(data, self._known):
                some = True
                self._take(kind, flags, number, payload)
                if self.lost:
                    break
        except Broken as broken:
            self._wake()
            self._end(ResponseInvalid(f"not HTTP/2: {broken.detail}"), broken.code)
            return
        if some or self.heard:
            self._hear()
        self._wake()

    def eof_received(self) -> bool:
        """It is over."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody how far it got."""
        self._lose(None)

    def pause_writing(self) -> None:
        """The backend reads slower than we send."""
        self._writable = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable = True
        self._go_on()

    def _wake(self) -> None:
        """Those to whom something has come, once all of it is there."""
        if self.news:
            news, self.news = self.news, {}
            for stream in news:
                stream.wake()

    def _hear(self) -> None:
        self.heard = monotonic()
        if self._pinged:
            self._pinged = False
            self.deadline = self.heard + self.owner.ping
        if self._ready is not None:
            ready, self._ready = self._ready, None
            if not ready.done():
                ready.set_result(None)

    def _end(self, error: ProxyError, code: int) -> None:
        """Close at once, for all streams fail with *error*."""
        if self.lost:
            return
        self.why = error
        self.send(frames.goaway(code))
        self._flush()
        transport = self.transport
        self._lose(error)
        transport.close()
        self.loop.call_later(1.0, transport.abort)

    def _lose(self, error: ProxyError | None) -> None:
        if self.lost:
            return
        self.lost = self.leaving = True
        self._out = []
        self._blocked.clear()
        self.owner.forget(self)
        self.owner.dead(self)
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            self.owner.dead(stream)
            stream.lose(type(error)(error.detail) if error is not None else None)

    # Frames...

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """One frame. Raises Broken."""
        if kind == frames.DATA:
            self._take_data(flags, number, payload)
        elif kind == frames.HEADERS:
            self._take_block(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._take_window(number, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(number, payload)
        else:
            self._note()
            if kind == frames.SETTINGS:
                self._take_settings(flags, number, payload)
            elif kind == frames.PING:
                if len(payload) != 8 or number:
                    raise Broken(frames.FRAME_SIZE_ERROR, "a PING that is none")
                if not flags & frames.ACK:
                    self.send(frames.ping(payload, frames.ACK))
            elif kind == frames.GOAWAY:
                self._take_goaway(number, payload)
            elif kind == frames.PUSH_PROMISE:
                raise Broken(frames.PROTOCOL_ERROR, "a push that was not allowed")

    def _note(self) -> None:
        """A frame that brings nothing. Raises Broken when there are too many."""
        self._noise += 1
        if self._noise == 1:
            self._calm_since = monotonic()
        elif self._noise > CALM:
            if monotonic() - self._calm_since < 1.0:
                raise Broken(frames.ENHANCE_YOUR_CALM, "too many frames that bring nothing")
            self._noise = 0

    def _take_block(self, flags: int, number: int, block: bytes) -> None:
        owner = self.owner
        most = (owner.max_header_bytes + OVERHEAD * owner.max_headers) * SLACK
        try:
            fields: Fields = self._decoder.decode(block, most)
        except BadBlock as fault:
            raise Broken(frames.COMPRESSION_ERROR, str(fault)) from None
        stream = self._known(number)
        if stream is None:
            self._note()
            return
        ends = bool(flags & frames.END_STREAM)
        if stream.done:
            raise Broken(frames.STREAM_CLOSED, "fields behind the end of a stream")
        try:
            stream.take_head(fields, ends)
        except ProxyError as error:
            self._spoil(stream, error)
            return
        if ends:
            self._finish(stream)
        elif stream.head_done:
            self._noise = 0

    def _take_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        data = frames.unpadded(payload, flags)
        self._credit(size)
        stream = self._known(number)
        if stream is None or stream.done:
            self._owed -= size
            if self._owed < 0 or not size:
                self._note()
            if self._owed < 0:
                raise Broken(frames.STREAM_CLOSED, "more on closed streams than can have been on its way")
            return
        if data:
            self._noise = 0
        elif not flags & frames.END_STREAM:
            self._note()
        ends = bool(flags & frames.END_STREAM)
        try:
            stream.take_data(data, size, ends)
        except ProxyError as error:
            self._spoil(stream, error)
            return
        if ends:
            self._finish(stream)

    def _credit(self, size: int) -> None:
        """*size* bytes have come; the connection's window never waits for anybody."""
        self._unacked += size
        if self._unacked >= self.owner.connection_window >> 1:
            self.send(frames.window_update(0, self._unacked))
            self._unacked = 0

    def _finish(self, stream: Stream) -> None:
        """The response is whole; where the request is not, it is for whoever takes the response to say what of it."""
        self._noise = 0
        if self.fresh:
            self.fresh = False
            self.owner.remember(self)
        if stream.ended and self.streams.get(stream.id) is stream:
            self._forget(stream)

    def _spoil(self, stream: Stream, error: ProxyError) -> None:
        """What came on *stream* cannot be trusted."""
        self.send(frames.reset(stream.id, frames.PROTOCOL_ERROR))
        self._owed += max(stream.credit, 0)
        self._forget(stream)
        stream.lose(error)

    def _known(self, number: int) -> Stream | None:
        """The stream of that number; None for one that has ended. Raises Broken for one that has not begun."""
        stream = self.streams.get(number)
        if stream is None and (number >= self.next_id or not number & 1):
            raise Broken(frames.PROTOCOL_ERROR, "a stream that nobody has opened")
        return stream

    def _take_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Broken(frames.FRAME_SIZE_ERROR, "a WINDOW_UPDATE that is none")
        more = int.from_bytes(payload, "big") & frames.MOST_WINDOW
        self._note()
        if not number:
            self._window += more
            if not more or self._window > frames.MOST_WINDOW:
                raise Broken(frames.FLOW_CONTROL_ERROR if more else frames.PROTOCOL_ERROR, "a window that cannot be")
            self._go_on()
            return
        stream = self._known(number)
        if stream is None:
            return
        stream.window += more
        if not more or stream.window > frames.MOST_WINDOW:
            self._spoil(stream, ResponseInvalid("not HTTP/2: a window of a stream that cannot be"))
        elif stream.id in self._blocked:
            self.pump(stream)

    def _take_reset(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Broken(frames.FRAME_SIZE_ERROR, "a RST_STREAM that is none")
        stream = self._known(number)
        if stream is None:
            self._note()
            return
        self._forget(stream)
        stream.refuse(int.from_bytes(payload, "big"))
        stream.drained()

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number or (flags & frames.ACK and payload):
            raise Broken(frames.PROTOCOL_ERROR, "SETTINGS of a stream, or an answer that says something")
        if flags & frames.ACK:
            return
        for key, value in frames.settings_of(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                more = value - self._initial
                self._initial = value
                for stream in self.streams.values():
                    stream.window += more
                    if stream.window > frames.MOST_WINDOW:
                        raise Broken(frames.FLOW_CONTROL_ERROR, "a window that cannot be")
                if more > 0:
                    self._go_on()
            elif key == frames.MAX_FRAME_SIZE:
                self._frame = min(value, OUTGOING)
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self.limit = min(value, self.owner.max_streams)
        self.send(frames.head(0, frames.SETTINGS, frames.ACK, 0))

    def _take_goaway(self, number: int, payload: bytes) -> None:
        """What the backend has not looked at, goes elsewhere; the rest goes on here."""
        if number or len(payload) < 8:
            raise Broken(frames.PROTOCOL_ERROR, "a GOAWAY that is none")
        last = int.from_bytes(payload[:4], "big") & frames.LAST_STREAM
        self.leaving = True
        self.owner.forget(self)
        for stream in [stream for stream in self.streams.values() if stream.id > last]:
            self._forget(stream)
            said = frames.named(int.from_bytes(payload[4:8], "big"))
            stream.lose(StreamRefused(f"the backend ends the connection: {said}"))
        if not self.count:
            self.close()
