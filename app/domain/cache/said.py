"""What a response says to a shared cache: read once, when it has come."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.cache.dates import date
from app.domain.cache.directives import Directives, directives, members, surrogate, targeted
from app.domain.cache.stored import MUST_REVALIDATE, NO_CACHE
from app.domain.headers import Fields

TAGS = frozenset({b"cache-tag", b"surrogate-key"})
SURROGATE = b"surrogate-control"
LONGEST_VARY = 16
"""Fields in `Vary`; a response with more is not stored."""
NEVER_STALE = (b"must-revalidate", b"proxy-revalidate")

READ = TAGS | {
    b"cache-control", b"content-encoding", b"content-range", b"date", b"etag", b"expires", b"last-modified",
    b"set-cookie", b"vary",
}  # fmt: skip
"""Fields that matter, beside the targeted ones."""


class Said:
    """What a response says to a cache.

    Attributes:
        values: of the fields that matter, by name.

        control: the directives that are for us.

        targeted: they are of a field that speaks to us instead of Cache-Control.

        vary: names in `Vary`; None for `*`, or for too many.
    """

    __slots__ = ("control", "targeted", "values", "vary")

    def __init__(self, fields: Fields, targets: Sequence[bytes]) -> None:
        self.values: dict[bytes, list[bytes]] = {}
        values = self.values
        for name, value in fields:
            if name in READ or name in targets:
                values.setdefault(name, []).append(value)
        self.targeted = False
        for name in targets:
            if name in values and (found := (surrogate if name == SURROGATE else targeted)(values[name])):
                self.control: Directives = found
                self.targeted = True
                break
        else:
            self.control = directives(values.get(b"cache-control", ()))
        self.vary = _vary(values.get(b"vary", ()))

    @property
    def flags(self) -> int:
        """Those of `Stored`."""
        control = self.control
        flags = NO_CACHE if control.bare(b"no-cache") else 0
        strict = b"s-maxage" in control or any(name in control for name in NEVER_STALE)
        return flags | MUST_REVALIDATE if strict else flags

    @property
    def tags(self) -> tuple[bytes, ...]:
        """Those of Cache-Tag, parted by commas, and of Surrogate-Key, parted by spaces."""
        tags = [tag for value in self.values.get(b"cache-tag", ()) for tag in members(value)]
        tags += [tag for value in self.values.get(b"surrogate-key", ()) for tag in value.split()]
        return tuple(dict.fromkeys(tags))

    def date(self, name: bytes, now: float) -> float | None:
        """The first date of a field; None without a readable one."""
        return date(self.values[name][0], now) if name in self.values else None


def _vary(values: Sequence[bytes]) -> tuple[bytes, ...] | None:
    names = dict.fromkeys(name.lower() for value in values for name in members(value))
    return None if b"*" in names or len(names) > LONGEST_VARY else tuple(sorted(names))
