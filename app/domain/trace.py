"""The names by which one request is found again: X-Request-ID, and W3C trace context."""

from __future__ import annotations

import re
from binascii import hexlify
from random import Random
from typing import Final

_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")
_BITS: Final = 64 * 192
_NOT_ZERO: Final = sum((1 << 64 | 1) << at for at in range(0, _BITS, 192))  # no id of either kind, for that is none
_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def accepted_request_id(value: bytes) -> str:
    """A client's request id as it is, when it is 1 to 128 visible ASCII characters; else ""."""
    return value.decode() if _REQUEST_ID.fullmatch(value) else ""


class Ids:
    """Draws ids, many at once, at half the cost of each."""

    __slots__ = ("_at", "_drawn", "_rng")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._drawn = b""
        self._at = 0

    def draw(self) -> bytes:
        """A trace id of 128 random bits, which serves as request id, too, and a span id of 64, in one: 48 digits."""
        at = self._at
        if at == len(self._drawn):
            self._drawn = hexlify((self._rng.getrandbits(_BITS) | _NOT_ZERO).to_bytes(_BITS // 8, "big"))
            at = 0
        self._at = at + 48
        return self._drawn[at : at + 48]


def valid_traceparent(value: bytes) -> bool:
    """Whether a `traceparent` may be passed on (W3C Trace Context section 3.2)."""
    return _TRACEPARENT.fullmatch(value) is not None


def new_traceparent(ids: bytes) -> bytes:
    """A new trace of these `Ids`, marked as sampled.

    Not sampled would switch tracing off in backends that follow their parent, which is the default of OpenTelemetry.
    """
    return b"00-%b-%b-01" % (ids[:32], ids[32:])
