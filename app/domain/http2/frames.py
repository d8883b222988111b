"""Frames of HTTP/2 and what is in them: RFC 9113 sections 4 to 7.

length (24 bits) | type (8) | flags (8) | 0 (1) | stream (31) | payload
"""

from __future__ import annotations

from struct import Struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = Struct(">HBBBL")
"""Of a frame: the length in two parts, type, flags, stream."""
HEAD_SIZE = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED = range(6)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(6, 12)
INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = range(12, 14)

ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(2, 7)

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
MOST_WINDOW = 2**31 - 1
MOST_FRAME = 2**24 - 1
LAST_STREAM = 2**31 - 1

_CODES = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


class Broken(Exception):
    """The other side does not keep to the protocol: the connection, or a stream of it, is over.

    Attributes:
        code: of section 7, for the other side.

        detail: for us.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def named(code: int) -> str:
    """An error code in words."""
    return _CODES[code] if code < len(_CODES) else f"error {code:#x}"


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The head of a frame."""
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return head(len(payload), SETTINGS, 0, 0) + payload


def settings_of(payload: bytes) -> list[tuple[int, int]]:
    """What a SETTINGS frame says, in its order. Raises Broken for what may not be said (section 6.5)."""
    if len(payload) % 6:
        raise Broken(FRAME_SIZE_ERROR, "a SETTINGS frame of a wrong length")
    said = []
    for at in range(0, len(payload), 6):
        key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
        if key == INITIAL_WINDOW_SIZE and value > MOST_WINDOW:
            raise Broken(FLOW_CONTROL_ERROR, "an initial window beyond all windows")
        if (key == MAX_FRAME_SIZE and not DEFAULT_FRAME <= value <= MOST_FRAME) or (key == ENABLE_PUSH and value):
            raise Broken(PROTOCOL_ERROR, "a setting that may not be")
        said.append((key, value))
    return said


def reset(stream: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return head(4, RST_STREAM, 0, stream) + code.to_bytes(4, "big")


def window_update(stream: int, more: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return head(4, WINDOW_UPDATE, 0, stream) + more.to_bytes(4, "big")


def ping(payload: bytes, flags: int) -> bytes:
    """A PING frame."""
    return head(8, PING, flags, 0) + payload


def goaway(code: int) -> bytes:
    """A GOAWAY frame of a client, which the server has opened no stream of."""
    return head(8, GOAWAY, 0, 0) + bytes(4) + code.to_bytes(4, "big")


def headers(block: bytes, stream: int, flags: int, longest: int) -> bytes:
    """A block as HEADERS, and as many CONTINUATION as it takes with frames of *longest* bytes."""
    if len(block) <= longest:
        return head(len(block), HEADERS, flags | END_HEADERS, stream) + block
    frames = [head(longest, HEADERS, flags, stream), block[:longest]]
    for at in range(longest, len(block), longest):
        piece = block[at : at + longest]
        frames += (head(len(piece), CONTINUATION, END_HEADERS if at + longest >= len(block) else 0, stream), piece)
    return b"".join(frames)


def unpadded(payload: bytes, flags: int) -> bytes:
    """What is in a DATA or HEADERS frame. Raises Broken when there is more padding than frame (section 6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
