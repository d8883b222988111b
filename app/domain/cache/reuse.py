"""What is done with a request, given what is stored: RFC 9111 section 4.

| a stored response...                                 |          |                                           |
|------------------------------------------------------|----------|-------------------------------------------|
| none was chosen by what the request has              | MISS     | the backend is asked                      |
| is fresh, as fresh as the request wants              | FRESH    | served                                    |
| the request takes as stale as it is (max-stale)      | FRESH    | served                                    |
| may be used stale while it is validated (RFC 5861)   | STALE    | served, and the backend asked, once       |
| else                                                 | VALIDATE | the backend is asked, with its validators |
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from app.domain.cache import key
from app.domain.cache.ranges import UNSATISFIABLE, asked
from app.domain.cache.stored import MUST_REVALIDATE, NO_CACHE, PURGED, Stored

if TYPE_CHECKING:
    from app.domain.cache.lookup import Lookup

FAILED: Final = frozenset({500, 502, 503, 504})
"""Statuses that are an error for `stale-if-error`: RFC 5861 section 4."""


class Verdict(Enum):
    """See the table above."""

    FRESH = "fresh"
    STALE = "stale"
    VALIDATE = "validate"
    MISS = "miss"


class Reuse(NamedTuple):
    """What is done.

    Attributes:
        at: which of the stored responses it is about; -1 for none.

        why: of a request that goes on: the `fwd` of RFC 9211 section 2.2.
    """

    verdict: Verdict
    at: int = -1
    why: str = ""


_FIRST: Final = Reuse(Verdict.FRESH, 0)
"""What is done most often, made once."""


def reuse(
    lookup: Lookup, stored: Sequence[Stored], now: float, extra: bytes | None = None, negotiate: bool = False
) -> Reuse:
    """What is done with *lookup*.

    Args:
        lookup: the request.

        stored: all that is there under its key.

        now: wall-clock seconds.

        extra: what the settings make part of the key.

        negotiate: as in `key.matches`.
    """
    best, at, part = -inf, -1, False
    for index, one in enumerate(stored):
        if (one.vary or extra) and not key.matches(one, lookup.headers, extra, negotiate):
            continue
        if one.total >= 0 and not covers(one, lookup):
            part = True
        elif one.received > best:  # of several the most recent
            best, at = one.received, index
    if at < 0:
        return Reuse(Verdict.MISS, -1, "partial" if part else "vary-miss" if stored else "uri-miss")
    one = stored[at]
    age = one.age_at(now)
    left = one.lifetime - age
    strict = bool(one.flags & MUST_REVALIDATE)
    if one.flags & NO_CACHE:
        return Reuse(Verdict.VALIDATE, at, "stale")
    if lookup.no_cache or age > lookup.max_age or (left > 0 and left < lookup.min_fresh):
        return Reuse(Verdict.VALIDATE, at, "request")
    if left > 0:
        return _FIRST if at == 0 else Reuse(Verdict.FRESH, at)
    if not strict and not one.flags & PURGED and -left < lookup.max_stale:
        return Reuse(Verdict.FRESH, at)
    if not lookup.min_fresh and -left < one.stale_revalidate:
        return Reuse(Verdict.STALE, at, "stale")
    return Reuse(Verdict.VALIDATE, at, "stale")


def bears(stored: Stored, now: float, *, down: float = 0.0) -> bool:
    """Whether *stored* may be used stale in place of an error at *now*.

    *down* is seconds for which it may be, as well, because no backend is available; 0 where one is.
    """
    over = stored.age_at(now) - stored.lifetime
    if stored.flags & (MUST_REVALIDATE | NO_CACHE):
        down = 0.0
    return over < max(stored.stale_error, down)


def covers(stored: Stored, lookup: Lookup) -> bool:
    """Whether a stored part has all that is asked for."""
    if not lookup.range or lookup.if_range:
        return False
    wanted = asked(lookup.range, stored.total)
    if wanted is None or wanted is UNSATISFIABLE:
        return False
    return stored.start <= wanted.start and wanted.end <= stored.end
