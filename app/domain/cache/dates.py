"""Dates of HTTP, in the three formats that a recipient has to know: RFC 9110 section 5.6.7."""

from __future__ import annotations

import re
from calendar import timegm

_MONTHS = {
    month: number
    for number, month in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}  # fmt: skip
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_FORMATS = (
    re.compile(rb"%b, (?P<day>[0-9]{2}) (?P<month>[a-z]{3}) (?P<year>[0-9]{4}) %b gmt" % (_DAY, _TIME)),
    re.compile(rb"[a-z]{6,9}, (?P<day>[0-9]{2})-(?P<month>[a-z]{3})-(?P<year>[0-9]{2}) %b gmt" % _TIME),
    re.compile(rb"%b (?P<month>[a-z]{3}) (?P<day>[0-9 ][0-9]) %b (?P<year>[0-9]{4})" % (_DAY, _TIME)),
)
_YEAR = 365.2425 * 86400
_FAR = 50
"""Years; a date with two digits for its year is never further in the future."""


def date(value: bytes, now: float) -> float | None:
    """Seconds since the epoch; None for what is no date. *now* says which century a year of two digits is of."""
    value = value.strip().lower()
    for form in _FORMATS:
        if (found := form.fullmatch(value)) is not None:
            return _seconds(found, now)
    return None


def _seconds(found: re.Match[bytes], now: float) -> float | None:
    year, month = int(found["year"]), _MONTHS.get(found["month"])
    day, hour, minute, second = (int(found[part]) for part in ("day", "hour", "minute", "second"))
    if len(found["year"]) == 2:
        this = 1970 + int(now // _YEAR)
        year += this - this % 100
        if year > this + _FAR:
            year -= 100
    if month is None or not 1 <= day <= _days(year, month) or hour > 23 or minute > 59 or second > 60:
        return None
    return float(timegm((year, month, day, hour, minute, second)))


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
