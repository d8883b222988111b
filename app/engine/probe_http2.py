"""What a probe needs of HTTP/2: one request on a connection of its own, and of its response the status and the body."""

from __future__ import annotations

from app.domain.errors import ProxyError
from app.domain.headers import Fields
from app.domain.http2 import frames
from app.domain.http2.heads import request_block, response_of
from app.domain.http2.hpack import NO_TABLE, BadBlock, Decoder

STREAM = 1


def asking(head: bytes, scheme: str, body: bytes = b"") -> bytes:
    """All that is sent: the preface, and the request that *head* is of, as HTTP/1.1 has it; *body* fits a frame."""
    block = NO_TABLE + request_block(head, scheme)
    said = frames.settings({frames.ENABLE_PUSH: 0})
    flags = 0 if body else frames.END_STREAM
    sent = frames.PREFACE + said + frames.headers(block, STREAM, flags, frames.DEFAULT_FRAME)
    return sent + frames.head(len(body), frames.DATA, frames.END_STREAM, STREAM) + body if body else sent


class NoAnswer(Exception):
    """It is no response of HTTP/2, in words."""


class Http2Answer:
    """What is needed of a response, which may have *limit* bytes of head.

    Attributes:
        status: 0 until its head is complete, interim responses do not count.

        fields: of its head, and its trailers.

        body: as far as it fits into the window that we never enlarge.

        reply: to send before more is read.
    """

    def __init__(self, *, wants_body: bool, limit: int) -> None:
        self.status = 0
        self.fields: Fields = []
        self.body = bytearray()
        self.done = False
        self.reply = b""
        self._wants_body = wants_body
        self._limit = limit
        self._decoder = Decoder()
        self._unread = b""
        self._block = b""
        self._ends = False

    def feed(self, data: bytes) -> None:
        """Take frames. Raises NoAnswer when they are none of a response."""
        self.reply = b""
        data = self._unread + data
        while len(data) >= frames.HEAD_SIZE and not self.done:
            high, low, kind, flags, number = frames.HEAD.unpack_from(data)
            end = frames.HEAD_SIZE + (high << 8 | low)
            if end - frames.HEAD_SIZE > frames.DEFAULT_FRAME:
                raise NoAnswer("the response is not HTTP/2")
            if len(data) < end:
                break
            payload, data = data[frames.HEAD_SIZE : end], data[end:]
            try:
                self._take(kind, flags, number, payload)
            except (frames.Broken, BadBlock, ProxyError) as error:
                raise NoAnswer(f"the response is not HTTP/2: {error}") from error
        self._unread = data

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == frames.SETTINGS and not flags & frames.ACK:
            frames.settings_of(payload)
            self.reply += frames.head(0, frames.SETTINGS, frames.ACK, 0)
        elif kind == frames.GOAWAY and int.from_bytes(payload[:4], "big") < STREAM:
            raise NoAnswer("the backend ends the connection")
        elif number != STREAM:
            return
        elif kind == frames.RST_STREAM:
            raise NoAnswer(f"the backend reset the stream: {frames.named(int.from_bytes(payload, 'big'))}")
        elif kind in {frames.HEADERS, frames.CONTINUATION}:
            self._take_fields(kind, flags, payload)
        elif kind == frames.DATA:
            self.body += frames.unpadded(payload, flags)
            self.done = bool(flags & frames.END_STREAM) or len(self.body) >= frames.DEFAULT_WINDOW

    def _take_fields(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.HEADERS:
            payload = frames.unpadded(payload, flags)
            self._block = payload[5:] if flags & frames.PRIORITIZED else payload
            self._ends = bool(flags & frames.END_STREAM)
        else:
            self._block += payload
        if len(self._block) > self._limit:
            raise NoAnswer(f"the response head is over {self._limit} bytes")
        if flags & frames.END_HEADERS:
            fields = self._decoder.decode(self._block, self._limit * 4)
            if not self.status:
                status, fields = response_of(fields)
                self.status = status if status >= 200 else 0
            self.fields += fields
            self.done = self._ends or bool(self.status and not self._wants_body)
