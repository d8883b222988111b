"""Which URLs an unsafe request makes stale: RFC 9111 section 4.4."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from app.domain.headers import Fields

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 section 9.2.1; a method that we do not know may do anything."""
_NAMED = (b"location", b"content-location")


def invalidated(scheme: str, host: str, target: bytes, status: int, fields: Fields) -> Iterator[bytes]:
    """The targets, on the same host, that are not to be used any more after an answer of *status* with *fields*.

    None after a failure. A response may speak for its own host only, else one site could empty the cache of another.
    """
    if not 200 <= status < 400:
        return
    yield target
    for name, value in fields:
        if name in _NAMED and (named := _named(scheme, host, target, value)) is not None:
            yield named


def speaks_for(scheme: str, host: str, target: bytes, fields: Fields) -> bool:
    """Whether the answer to a POST is what a GET of *target* would get: its Content-Location says so."""
    values = [value for name, value in fields if name == b"content-location"]
    return len(values) == 1 and _named(scheme, host, target, values[0]) == target


def _named(scheme: str, host: str, target: bytes, value: bytes) -> bytes | None:
    """The target that a field names, relative to this one; None on another host."""
    base = f"{scheme}://{host}{target.decode('latin-1')}"
    try:
        parts = urlsplit(urljoin(base, value.decode("latin-1")))
    except ValueError:
        return None
    if parts.scheme != scheme or parts.netloc.lower() != host.lower():
        return None
    path = parts.path or "/"
    return (f"{path}?{parts.query}" if parts.query else path).encode("latin-1")
