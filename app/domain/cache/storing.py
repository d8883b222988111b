"""Whether a response is stored, and what as: RFC 9111 sections 3 and 4.2.

It is stored when it may be shared, and when something can be done with it later: it is fresh, or will be of use stale,
or can be validated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.cache.directives import LONGEST, Directives
from app.domain.cache.key import chosen
from app.domain.cache.ranges import content_range
from app.domain.cache.said import NEVER_STALE, Said
from app.domain.cache.stored import MUST_REVALIDATE, NO_CACHE, Stored
from app.domain.headers import HOP_BY_HOP, Fields

if TYPE_CHECKING:
    from app.domain.cache.lookup import Lookup
    from settings.cache import CacheSettings

HEURISTIC = frozenset({200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501})
"""Statuses that are cacheable without a word: RFC 9110 section 15.1; a part (206) is only by its own word."""
UNDERSTOOD = HEURISTIC | {206, 302, 303, 307, 400, 401, 403, 500, 502, 503, 504}
"""Statuses whose caching requirements we meet, for `must-understand`."""
_EXPLICIT = (b"public", b"max-age", b"s-maxage", b"no-cache")
_UNKEPT = HOP_BY_HOP | {b"age", b"proxy-authentication-info"}
"""RFC 9111 section 3.1; and the age, which is told anew."""


class Policy:
    """How one group stores, prepared.

    Args:
        settings: of its cache.
    """

    def __init__(self, settings: CacheSettings) -> None:
        self.targets = tuple(name.encode() for name in settings.targets)
        self.lifetimes = dict(settings.lifetimes)
        self.share = settings.heuristic
        self.longest = settings.heuristic_max
        self.set_cookie = settings.set_cookie
        self.shares_cookies = settings.cookie == "shared"
        self.stale_revalidate = settings.stale_while_revalidate
        self.stale_error = settings.stale_if_error
        self.stale_down = settings.stale_if_down
        self.keep = settings.keep
        self.negotiate = settings.negotiate

    def judge(
        self,
        lookup: Lookup,
        status: int,
        fields: Fields,
        *,
        extra: bytes | None,
        stamp: int,
        requested: float,
        received: float,
    ) -> Stored | str:
        """What is stored of a response to *lookup*, its end-to-end *fields* and *status*; or why nothing is.

        *extra* is what the settings make part of the key, *stamp* that of what is stored. At *requested* the request
        left and at *received* the head had come, in wall-clock seconds.
        """
        said = Said(fields, self.targets)
        if (why := self._refusal(lookup, status, said)) is not None:
            return why
        stored = self._stored(lookup, status, fields, said, extra, stamp, received)
        if isinstance(stored, str):
            return stored
        stored = self._aged(stored, said, requested, fields)
        return stored if stored.until > received else "no lifetime"

    def freshened(self, stored: Stored, fields: Fields, requested: float, received: float) -> Stored | None:
        """*stored* after the backend has said, by a 304 or to a HEAD, that it is still the one: section 3.2.

        *fields* of the answer replace those of the same name, but for the ones that describe the body that we have.
        None where it may not be stored any more.
        """
        new = [field for field in fields if field[0] not in _OF_THE_BODY]
        names = {name for name, _ in new}
        whole = [field for field in stored.fields if field[0] not in names] + new
        said = Said(whole, self.targets)
        if b"no-store" in said.control or said.control.bare(b"private"):
            return None
        stored = replace(stored, fields=self._kept(whole, said), received=received, flags=said.flags, tags=said.tags)
        return self._aged(stored, said, requested, fields)

    def _refusal(self, lookup: Lookup, status: int, said: Said) -> str | None:
        """Why a response is not stored: section 3."""
        control = said.control
        if status < 200 or status == 304:
            return "status"
        understood = b"must-understand" in control
        if understood and status not in UNDERSTOOD:
            return "must-understand"
        if lookup.no_store or (b"no-store" in control and not understood):
            return "no-store"
        if control.bare(b"private"):
            return "private"
        if b"set-cookie" in said.values and self.set_cookie == "refuse":
            return "set-cookie"
        shared = b"public" in control or b"s-maxage" in control
        if lookup.authorization and not shared and b"must-revalidate" not in control:
            return "authorization"  # section 3.5
        if lookup.cookie and not (shared or self.shares_cookies or said.targeted or b"cookie" in (said.vary or ())):
            return "cookie"
        explicit = any(name in control for name in _EXPLICIT) or b"expires" in said.values or status in self.lifetimes
        if not explicit and (status not in HEURISTIC or lookup.method == "POST"):  # POST: RFC 9110 section 9.3.3
            return "status"
        return "vary" if said.vary is None else None

    def _stored(
        self, lookup: Lookup, status: int, fields: Fields, said: Said, extra: bytes | None, stamp: int, received: float
    ) -> Stored | str:
        """The head to store of a response that may be."""
        assert said.vary is not None
        vary = said.vary
        if b"content-encoding" in said.values and b"accept-encoding" not in vary:
            vary = (*vary, b"accept-encoding")  # a backend that forgot to say so
        part = None
        if status == 206:
            part = content_range(said.values.get(b"content-range", ()))
            if part is None or not lookup.range:
                return "partial"
        kept, chosen_by = self._kept(fields, said), chosen(vary, lookup.headers, extra)
        stored = Stored(stamp, status, kept, received, flags=said.flags, vary=chosen_by, tags=said.tags)
        return stored if part is None else replace(stored, start=part.start, end=part.end, total=part.total)

    def _kept(self, fields: Fields, said: Said) -> tuple[tuple[bytes, bytes], ...]:
        left = _UNKEPT | said.control.fields(b"no-cache") | said.control.fields(b"private")
        if self.set_cookie != "store":
            left |= {b"set-cookie"}
        return tuple(field for field in fields if field[0] not in left)

    def _aged(self, stored: Stored, said: Said, requested: float, fields: Fields) -> Stored:
        """*stored*, just received, with its age, its lifetime and what follows: sections 4.2.1 to 4.2.3."""
        received = stored.received
        dated = said.date(b"date", received)
        apparent = max(0.0, received - dated) if dated is not None else 0.0
        age = max(apparent, _age(fields) + max(0.0, received - requested))
        lifetime = self._lifetime(stored.status, said, dated if dated is not None else received)
        revalidate, error, down = self._beyond(stored, said.control)
        usable = lifetime - age + max(revalidate, error, down) if not stored.flags & NO_CACHE else 0.0
        if b"etag" in said.values or b"last-modified" in said.values:
            usable = max(usable, lifetime - age + self.keep)
        return replace(
            stored, age=age, lifetime=lifetime, stale_revalidate=revalidate, stale_error=error, until=received + usable
        )

    def _beyond(self, stored: Stored, control: Directives) -> tuple[float, float, float]:
        """Seconds after its lifetime: while it is validated, in place of an error, while there is no backend.

        What a response says itself of RFC 5861 holds beside `s-maxage`, which alone forbids all use when stale; beside
        `must-revalidate` and its like nothing does.
        """
        if any(name in control for name in NEVER_STALE) or control.bare(b"no-cache"):
            return 0.0, 0.0, 0.0
        revalidate, error = control.seconds(b"stale-while-revalidate"), control.seconds(b"stale-if-error")
        strict = bool(stored.flags & MUST_REVALIDATE)
        if revalidate is None:
            revalidate = 0.0 if strict else self.stale_revalidate
        if error is None:
            error = 0.0 if strict else self.stale_error
        return revalidate, error, 0.0 if strict else self.stale_down

    def _lifetime(self, status: int, said: Said, dated: float) -> float:
        """Seconds of freshness: section 4.2.1, and 4.2.2 where nothing is said."""
        control = said.control
        for name in (b"s-maxage", b"max-age"):
            if (seconds := control.seconds(name)) is not None:
                return seconds
        if not said.targeted and b"expires" in said.values:
            expires = said.date(b"expires", dated)
            return expires - dated if expires is not None else 0.0
        if status in self.lifetimes:
            return self.lifetimes[status]
        if status in HEURISTIC or b"public" in control:
            modified = said.date(b"last-modified", dated)
            if modified is not None and self.share:
                return min(max(0.0, dated - modified) * self.share, self.longest)
        return 0.0


def _age(fields: Fields) -> float:
    """Seconds that a response had in caches before us: the first that it says, or 0 for what is no number: 5.1."""
    value = next((value for name, value in fields if name == b"age"), b"0")
    digits = value.partition(b",")[0].partition(b";")[0].strip()
    return min(float(digits[:12]), LONGEST) if digits.isdigit() else 0.0


_OF_THE_BODY = frozenset(
    {b"content-encoding", b"content-length", b"content-md5", b"content-range", b"etag", b"age", b"via"}
) | HOP_BY_HOP  # fmt: skip
"""Section 3.2: what a 304 never changes; ETag, for we only asked about the one that we have. Via is its own way's."""
