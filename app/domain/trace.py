"""The names by which one request is found again: X-Request-ID, and W3C trace context."""

from __future__ import annotations

import re
from binascii import hexlify
from random import Random

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def accepted_request_id(value: bytes) -> str:
    """A client's request id as it is, when it is 1 to 128 visible ASCII characters; else ""."""
    return value.decode() if _REQUEST_ID.fullmatch(value) else ""


def new_request_id(rng: Random) -> bytes:
    """128 random bits in hexadecimal: as long as a trace id, and taken for one where both are made."""
    return hexlify((rng.getrandbits(128) | 1).to_bytes(16, "big"))  # all zeros is no trace id


def valid_traceparent(value: bytes) -> bool:
    """Whether a `traceparent` may be passed on (W3C Trace Context section 3.2)."""
    return _TRACEPARENT.fullmatch(value) is not None


def new_traceparent(trace_id: bytes, rng: Random) -> bytes:
    """A new trace of that id, marked as sampled.

    Not sampled would switch tracing off in backends that follow their parent, which is the default of OpenTelemetry.
    """
    return b"00-" + trace_id + b"-" + hexlify((rng.getrandbits(64) | 1).to_bytes(8, "big")) + b"-01"
