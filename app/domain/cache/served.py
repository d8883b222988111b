"""What a client gets of a stored response: the whole, a part, or that it has it already: RFC 9111 section 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from app.domain.cache.ranges import UNSATISFIABLE, asked
from app.domain.cache.validation import in_range, not_modified
from app.domain.headers import Fields

if TYPE_CHECKING:
    from app.domain.cache.lookup import Lookup
    from app.domain.cache.stored import Stored

_NOT_IN_304: Final = frozenset(
    {b"content-encoding", b"content-language", b"content-length", b"content-md5", b"content-range", b"content-type"}
)
_OF_THE_WHOLE: Final = frozenset({b"content-length", b"content-range"})


class Served(NamedTuple):
    """A response.

    Attributes:
        fields: of the head; `Age` and what else is added on the way are left to who sends it.

        start, end: bytes of the stored body that follow; *end* is -1 where the length is not known yet: all of it.
    """

    status: int
    fields: Fields
    start: int
    end: int


def served(lookup: Lookup, stored: Stored, size: int) -> Served:
    """What the client of *lookup* gets of *stored*, whose body has *size* bytes; -1 where that is not known yet."""
    if lookup.plain or not 200 <= stored.status < 300 or lookup.method not in ("GET", "HEAD"):
        return _whole(lookup, stored, size)
    if not_modified(lookup, stored):
        return Served(304, [field for field in stored.fields if field[0] not in _NOT_IN_304], 0, 0)
    total = stored.total if stored.partial else size
    if not lookup.range or lookup.method == "HEAD" or stored.status not in (200, 206) or total < 0:
        return _whole(lookup, stored, size)
    part = asked(lookup.range, total)
    if part is None or not in_range(lookup, stored):
        return _whole(lookup, stored, size)
    fields = [field for field in stored.fields if field[0] not in _OF_THE_WHOLE]
    if part is UNSATISFIABLE:
        fields = [field for field in fields if field[0] not in _NOT_IN_304]
        return Served(416, [*fields, (b"content-range", b"bytes */%d" % total), (b"content-length", b"0")], 0, 0)
    fields.append((b"content-range", b"bytes %d-%d/%d" % (part.start, part.end - 1, total)))
    fields.append((b"content-length", b"%d" % (part.end - part.start)))
    return Served(206, fields, part.start - stored.start, part.end - stored.start)


def _whole(lookup: Lookup, stored: Stored, size: int) -> Served:
    return Served(stored.status, whole(stored, size), 0, 0 if lookup.method == "HEAD" else size)


def whole(stored: Stored, size: int) -> Fields:
    """The fields of *stored* with all of its body, of *size* bytes; -1 where that is not known yet."""
    fields = list(stored.fields)
    for field in fields:
        if field[0] == b"content-length":
            break
    else:
        if size >= 0 and stored.status != 204:
            fields.append((b"content-length", b"%d" % size))  # it came in chunks, and its length is known now
    return fields
