"""How long an answer is waited for, as a header field says it: milliseconds, or as gRPC writes it in `grpc-timeout`.

gRPC: 1 to 8 digits and a unit, H M S m u n for hours down to nanoseconds ("Timeout" in PROTOCOL-HTTP2.md of grpc).
Any other field: milliseconds in digits, as Envoy's `x-envoy-expected-rq-timeout-ms`. What is not written so, and 0,
which some mean to be "for ever" and some "too late", is taken as not said.
"""

from __future__ import annotations

import re

GRPC = b"grpc-timeout"

_UNITS = {b"n": 1e-9, b"u": 1e-6, b"m": 1e-3, b"S": 1.0, b"M": 60.0, b"H": 3600.0}
_MOST = 10**8 - 1
_GRPC = re.compile(rb"([0-9]{1,8})([HMSmun])")
_MILLISECONDS = re.compile(rb"[0-9]{1,15}")


def asked(name: bytes, value: bytes) -> float | None:
    """Seconds that the client waits, from its field *name* (in lower case) of *value*; None where it does not say."""
    if name == GRPC:
        found = _GRPC.fullmatch(value)
        seconds = int(found[1]) * _UNITS[found[2]] if found is not None else 0.0
    else:
        seconds = int(value) / 1000.0 if _MILLISECONDS.fullmatch(value) else 0.0
    return seconds or None


def told(name: bytes, seconds: float) -> bytes:
    """The value of field *name* (in lower case) that says *seconds*: never more than that, but 1 where it is less.

    For gRPC it is in the smallest unit that has digits enough, at most 99999999 hours.
    """
    if name != GRPC:
        return b"%d" % max(1, int(seconds * 1000.0))
    for unit, length in _UNITS.items():
        if seconds / length < _MOST + 1:
            return b"%d%b" % (max(1, int(seconds / length)), unit)
    return b"%dH" % _MOST
