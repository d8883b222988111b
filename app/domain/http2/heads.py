"""Heads of requests and responses in HTTP/2: RFC 9113 section 8."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from app.domain.errors import ResponseInvalid
from app.domain.headers import Field, Fields
from app.domain.http2.hpack import NAMED, literal, string

CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
"""Names of fields that there are none of in HTTP/2 (section 8.2.2)."""

_METHODS: Final = {b"GET": b"\x82", b"POST": b"\x83"}
_SCHEMES: Final = {"http": b"\x86", "h2c": b"\x86", "https": b"\x87"}
_ROOT: Final = b"\x84"
_PATH: Final = NAMED[b":path"]
_NAMED: Final = NAMED | {b"host": NAMED[b":authority"]} | dict.fromkeys(CONNECTION_SPECIFIC, b"")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NO_VALUE: Final = re.compile(rb"[\x00\r\n]")


def request_block(head: bytes, scheme: str) -> bytes:
    """The block of the request that *head*, as we make it for HTTP/1.1, is of.

    Its Host, which comes first, becomes `:authority`; the target is `:path` as it is.
    """
    first, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first.split(b" ")
    parts = [
        _METHODS.get(method) or literal(b":method", method),
        _SCHEMES[scheme],
        _ROOT if target == b"/" else _PATH + string(target),
    ]
    for line in lines:
        name, _, value = line.partition(b": ")
        begins = _NAMED.get(name)
        if begins is None:
            begins = b"\x00" + string(name)
        elif not begins:
            continue
        length = len(value)
        parts += (begins, bytes((length,)), value) if length < 127 else (begins, string(value))
    return b"".join(parts)


def trailer_block(trailers: Iterable[Field]) -> bytes:
    """The block of *trailers*."""
    return b"".join(literal(name, value) for name, value in trailers)


def response_of(fields: Fields) -> tuple[int, Fields]:
    """Status and fields of a response head. Raises ResponseInvalid when it is malformed (section 8.1.1)."""
    if not fields or fields[0][0] != b":status":
        raise ResponseInvalid("a response head without a status")
    status = fields[0][1]
    if len(status) != 3 or not status.isdigit() or status < b"100":
        raise ResponseInvalid("a status that is none")
    rest = fields[1:]
    check(rest)
    return int(status), rest


def check(fields: Fields) -> None:
    """Raises ResponseInvalid for a field that there may not be in HTTP/2 (section 8.2).

    Blanks around a value are for whoever reads it to take away.
    """
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise ResponseInvalid("the name of a field that is none, or is in capitals")
        if name in CONNECTION_SPECIFIC:
            raise ResponseInvalid(f"a {name.decode()} field, which there is none of in HTTP/2")
        if _NO_VALUE.search(value):
            raise ResponseInvalid("the value of a field that would end its line")
