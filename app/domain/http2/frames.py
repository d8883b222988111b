"""Frames of HTTP/2 and what is in them: RFC 9113 sections 4 to 7.

length (24 bits) | type (8) | flags (8) | 0 (1) | stream (31) | payload
"""

from __future__ import annotations

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = Struct(">HBBBL")
"""Of a frame: the length in two parts, type, flags, stream."""
HEAD_SIZE: Final = 9

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME: Final = 16_384
MOST_WINDOW: Final = 2**31 - 1
MOST_FRAME: Final = 2**24 - 1
LAST_STREAM: Final = 2**31 - 1

_CODES: Final = (
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
