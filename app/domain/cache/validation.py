"""Validators: what the backend is asked with, and what a client's own condition says of a stored response.

Sources: RFC 9110 sections 8.8 and 13, RFC 9111 sections 4.3.1, 4.3.2 and 4.3.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.cache.dates import date
from app.domain.cache.directives import members
from app.domain.headers import Fields

if TYPE_CHECKING:
    from app.domain.cache.lookup import Lookup
    from app.domain.cache.stored import Stored


def validators(stored: Stored) -> Fields:
    """The fields that make a request conditional on *stored*; none where it cannot be validated."""
    found: Fields = []
    if etag := _first(stored, b"etag"):
        found.append((b"if-none-match", etag))
    if modified := _first(stored, b"last-modified"):
        found.append((b"if-modified-since", modified))
    return found


def not_modified(lookup: Lookup, stored: Stored) -> bool:
    """Whether a client that has what its request names has *stored*: it gets 304."""
    if lookup.if_none_match:
        tags = [_opaque(tag) for tag in members(lookup.if_none_match)]
        etag = _first(stored, b"etag")
        return b"*" in tags or (etag != b"" and _opaque(etag) in tags)
    if not lookup.if_modified_since:
        return False
    since = date(lookup.if_modified_since, stored.received)
    modified = date(_first(stored, b"last-modified") or _first(stored, b"date"), stored.received)
    return since is not None and modified is not None and modified <= since


def in_range(lookup: Lookup, stored: Stored) -> bool:
    """Whether the part that is asked for may be of *stored*: If-Range names it, strongly, or is not there."""
    if not lookup.if_range:
        return True
    if lookup.if_range.startswith((b'"', b"W/")):
        return lookup.if_range.startswith(b'"') and lookup.if_range == _first(stored, b"etag")
    return lookup.if_range == _first(stored, b"last-modified")


def same(stored: Stored, fields: Fields) -> bool:
    """Whether the answer to a HEAD with *fields* is about *stored*, as far as can be seen."""
    seen = dict(fields)
    return all(
        name not in seen or seen[name] == _first(stored, name)
        for name in (b"etag", b"last-modified", b"content-length")
    )


def _first(stored: Stored, name: bytes) -> bytes:
    return next((value for field, value in stored.fields if field == name), b"")


def _opaque(tag: bytes) -> bytes:
    """For the weak comparison, which is the one of If-None-Match."""
    return tag[2:] if tag.startswith((b"W/", b"w/")) else tag
