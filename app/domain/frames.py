"""Where the frames of a WebSocket end in what its server sends: RFC 6455 section 5.2.

    HEAD --its last byte--> PAYLOAD --its last byte--> HEAD

Nothing is judged: what is no frame is for the client to refuse.
"""

from __future__ import annotations

CLOSE = 8
"""The opcode of a close frame."""
LONGEST_HEAD = 14


class Frames:
    """Follows one direction of a connection.

    Attributes:
        closed: a close frame has begun, behind which no other may follow.
    """

    __slots__ = ("_head", "_left", "closed")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.closed = False

    @property
    def between(self) -> bool:
        """Whether a frame of ours could follow now."""
        return not self._left and not self._head

    def follow(self, data: bytes) -> None:
        """Go on to the end of *data*."""
        at, size = 0, len(data)
        while at < size:
            at = self.step(data, at)

    def step(self, data: bytes, at: int) -> int:
        """Go on from *at* to the end of the frame, or of *data* when that comes first; where that is."""
        if not self._left:
            known = len(self._head)
            head = self._head + data[at : at + LONGEST_HEAD - known]
            size = _size(head)
            if len(head) < size:
                self._head = head
                return len(data)
            self._head = b""
            at += size - known
            self._left = _length(head)
            self.closed = self.closed or head[0] & 15 == CLOSE
        here = min(self._left, len(data) - at)
        self._left -= here
        return at + here


def _size(head: bytes) -> int:
    """Bytes of the head that begins with *head*: at least 2."""
    if len(head) < 2:
        return 2
    length, masked = head[1] & 127, head[1] >> 7
    return 2 + (2 if length == 126 else 8 if length == 127 else 0) + 4 * masked


def _length(head: bytes) -> int:
    """Bytes of the payload behind a whole *head*."""
    length = head[1] & 127
    if length < 126:
        return length
    return int.from_bytes(head[2 : 4 if length == 126 else 10], "big")


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame; *reason* has at most 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()
    return bytes((0x80 | CLOSE, len(payload))) + payload
