"""The names by which one request is found again: X-Request-ID, and W3C trace context."""

from __future__ import annotations

import re
from binascii import hexlify
from random import Random

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_NOT_ZERO = 1 << 64 | 1  # neither of the two ids, which would then be none
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def accepted_request_id(value: bytes) -> str:
    """A client's request id as it is, when it is 1 to 128 visible ASCII characters; else ""."""
    return value.decode() if _REQUEST_ID.fullmatch(value) else ""


def new_ids(rng: Random) -> bytes:
    """A trace id of 128 random bits, which serves as request id, too, and a span id of 64, in one: 48 digits."""
    return hexlify((rng.getrandbits(192) | _NOT_ZERO).to_bytes(24, "big"))


def new_request_id(rng: Random) -> bytes:
    """128 random bits in hexadecimal."""
    return new_ids(rng)[:32]


def valid_traceparent(value: bytes) -> bool:
    """Whether a `traceparent` may be passed on (W3C Trace Context section 3.2)."""
    return _TRACEPARENT.fullmatch(value) is not None


def new_traceparent(ids: bytes) -> bytes:
    """A new trace of these `new_ids`, marked as sampled.

    Not sampled would switch tracing off in backends that follow their parent, which is the default of OpenTelemetry.
    """
    return b"00-%b-%b-01" % (ids[:32], ids[32:])
