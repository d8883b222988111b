"""Parts of a representation: RFC 9110 section 14, for one range of bytes at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_CONTENT_RANGE = re.compile(rb"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Part(NamedTuple):
    """Bytes *start* to *end*, which is not one of them, of *total*."""

    start: int
    end: int
    total: int


UNSATISFIABLE = Part(0, 0, 0)


def asked(value: bytes, total: int) -> Part | None:
    """The part that a Range field means of *total* bytes.

    None where it is to be ignored: it is no range of bytes, or several. UNSATISFIABLE where there is no such part.
    """
    found = _RANGE.fullmatch(value)
    if found is None or found[0].strip().endswith(b"=-"):
        return None
    first, last = found[1], found[2]
    if not first:  # the last bytes
        length = min(int(last), total)
        return Part(total - length, total, total) if length else UNSATISFIABLE
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= total:
        return UNSATISFIABLE
    return Part(start, min(int(last) + 1, total) if last else total, total)


def content_range(values: Sequence[bytes]) -> Part | None:
    """The part that a response says it has; None where that cannot be read, or is not known."""
    found = _CONTENT_RANGE.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None:
        return None
    start, last, total = int(found[1]), int(found[2]), int(found[3])
    return Part(start, last + 1, total) if start <= last < total else None
