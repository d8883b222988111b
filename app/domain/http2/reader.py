"""Whole frames out of the bytes of a connection, each block of fields as one. RFC 9113 sections 4 and 6.10."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.domain.http2 import frames
from app.domain.http2.frames import Broken

MOST_PIECES = 128
"""Frames that one block of fields may come in."""


class Reader:
    """What a server sends, from its first SETTINGS on.

    Args:
        most: bytes of one block of fields, when it comes in pieces.
    """

    __slots__ = ("_begun", "_flags", "_most", "_pieces", "_rest", "_size", "_stream")

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = False
        self._rest = b""
        self._pieces: list[bytes] = []
        self._size = 0
        self._stream = 0
        self._flags = 0

    def feed(self, data: bytes, begins: Callable[[int], object]) -> Iterator[tuple[int, int, int, bytes]]:
        """The frames that *data* completes: type, flags, stream and payload of each.

        HEADERS come with all of their block, and without padding and priority; CONTINUATION do not come. *begins* is
        told the stream of a block that comes in pieces with the first of them, and may raise.

        Raises:
            Broken: the first frame is not SETTINGS, one is longer than we allow, or a block of fields is interrupted,
                begins with a CONTINUATION, or does not end.
        """
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= frames.HEAD_SIZE:
            high, low, kind, flags, stream = frames.HEAD.unpack_from(data, at)
            length = high << 8 | low
            if not self._begun:
                if kind != frames.SETTINGS or flags & frames.ACK or stream or length > frames.DEFAULT_FRAME:
                    raise Broken(frames.PROTOCOL_ERROR, "no SETTINGS in the beginning")
                self._begun = True
            if length > frames.DEFAULT_FRAME:
                raise Broken(frames.FRAME_SIZE_ERROR, "a frame that is too long")
            end = at + frames.HEAD_SIZE + length
            if end > size:
                break
            stream &= frames.LAST_STREAM
            payload = data[at + frames.HEAD_SIZE : end]
            at = end
            if self._stream and (kind != frames.CONTINUATION or stream != self._stream):
                raise Broken(frames.PROTOCOL_ERROR, "a frame in the middle of a block of fields")
            if kind == frames.HEADERS:
                payload = _block(payload, flags)
                if not flags & frames.END_HEADERS:
                    begins(stream)
                    self._stream, self._flags, self._size, self._pieces = stream, flags, len(payload), [payload]
                    continue
            elif kind == frames.CONTINUATION:
                self._go_on(payload)
                if not flags & frames.END_HEADERS:
                    continue
                kind, flags, payload = frames.HEADERS, self._flags, b"".join(self._pieces)
                self._stream, self._pieces = 0, []
            yield kind, flags, stream, payload
        self._rest = data[at:]

    def _go_on(self, payload: bytes) -> None:
        if not self._stream:
            raise Broken(frames.PROTOCOL_ERROR, "a CONTINUATION of nothing")
        self._pieces.append(payload)
        self._size += len(payload)
        if self._size > self._most or len(self._pieces) > MOST_PIECES:
            raise Broken(frames.ENHANCE_YOUR_CALM, "a block of fields that does not end")


def _block(payload: bytes, flags: int) -> bytes:
    """What a HEADERS frame has of its block."""
    payload = frames.unpadded(payload, flags)
    if not flags & frames.PRIORITIZED:
        return payload
    if len(payload) < 5:
        raise Broken(frames.FRAME_SIZE_ERROR, "a priority that is cut off")
    return payload[5:]
