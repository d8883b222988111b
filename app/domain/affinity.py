"""What requests have in common that shall reach the same backend: the key that hashing strategies go by.

A part that a request does not have, a cookie on the first visit, is empty; where none of the parts is there, so is the
key, and the request goes anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from app.domain.headers import Fields

if TYPE_CHECKING:
    from app.domain.exchange import Exchange

Affinity = Callable[["Exchange", Fields, bytes], bytes]
"""The key of an exchange, from it, its fields as the client sent them, and its target, the raw path and query."""


def affinity_of(parts: Sequence[str]) -> Affinity | None:
    """The function that tells a request's key; None for no parts.

    Args:
        parts: `client`, `path`, `header:<name>`, `cookie:<name>`, `query:<name>`, or `module:function` of an Affinity
            of the operator's; the values of several are joined by NUL.

    Raises:
        ValueError: there is no such module or function.
    """
    functions = tuple(_part(part) for part in parts)
    if len(functions) < 2:
        return functions[0] if functions else None

    def joined(exchange: Exchange, headers: Fields, target: bytes) -> bytes:
        values = [function(exchange, headers, target) for function in functions]
        return b"\0".join(values) if any(values) else b""

    return joined


def _part(part: str) -> Affinity:
    kind, _, name = part.partition(":")
    if not name:
        return {"client": _client, "path": _path}[kind]
    if kind in _NAMED:
        return partial(_NAMED[kind], name.encode())
    try:
        found = getattr(import_module(kind), name)
    except Exception as error:  # whatever a module does while it is imported
        raise ValueError(f"{part!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ValueError(f"{part!r} cannot be called")
    function: Affinity = found
    return function


def _client(exchange: Exchange, headers: Fields, target: bytes) -> bytes:
    return exchange.client.encode()


def _path(exchange: Exchange, headers: Fields, target: bytes) -> bytes:
    return target.partition(b"?")[0]


def _header(name: bytes, exchange: Exchange, headers: Fields, target: bytes) -> bytes:
    """All values of the field, as of one with commas (RFC 9110 section 5.3)."""
    return b",".join([value for field, value in headers if field == name])


def _cookie(name: bytes, exchange: Exchange, headers: Fields, target: bytes) -> bytes:
    """The first of that name (RFC 6265 section 4.2)."""
    for field, line in headers:
        if field == b"cookie":
            for pair in line.split(b";"):
                found, equals, value = pair.partition(b"=")
                if equals and found.strip() == name:
                    return value.strip()
    return b""


def _query(name: bytes, exchange: Exchange, headers: Fields, target: bytes) -> bytes:
    """The first of that name, percent-encoded as it came."""
    for pair in target.partition(b"?")[2].split(b"&"):
        found, _, value = pair.partition(b"=")
        if found == name:
            return value
    return b""


_NAMED = {"header": _header, "cookie": _cookie, "query": _query}
