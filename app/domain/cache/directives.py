"""Directives of Cache-Control, of targeted fields and of Surrogate-Control, read as tolerantly as is safe.

What cannot be read never makes a response fresher: a number that is none is 0 (RFC 9111 section 4.2.1), a directive
with a space in its name is another directive. Of one that is there twice the first counts.

Sources: RFC 9111 section 5.2; RFC 9213 with RFC 8941 for targeted fields; "Edge Architecture Specification" (W3C Note
of 2001) for Surrogate-Control.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from app.domain.answer import PROXY_NAME

LONGEST = 2**31
"""Seconds; more is as much (RFC 9111 section 1.2.2)."""

_MEMBER = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_PART = re.compile(rb'(?:[^;"]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_NUMBERS = frozenset({b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"})
_DIGITS = re.compile(rb"[0-9]+")

_BARE = (
    rb'(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}|"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
    rb"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*|:[A-Za-z0-9+/=]*:|\?[01])"
)
_KEY = rb"[a-z*][a-z0-9_.*-]*"
_PARAMETERS = rb"(?:; *" + _KEY + rb"(?:=" + _BARE + rb")?)*"
_INNER = rb"\( *(?:" + _BARE + _PARAMETERS + rb"(?: +" + _BARE + _PARAMETERS + rb")*)? *\)"
_STRUCTURED = re.compile(rb"(%b)(?:=(%b|%b))?%b" % (_KEY, _BARE, _INNER, _PARAMETERS))
_COMMA = re.compile(rb"[ \t]*,[ \t]*")


class Directives:
    """Directives by name, in lower case. False when there are none."""

    __slots__ = ("_values",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes | None]] = ()) -> None:
        self._values: dict[bytes, list[bytes | None]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def __bool__(self) -> bool:
        return bool(self._values)

    def seconds(self, name: bytes) -> float | None:
        """The number of a directive: 0 for what is no number, None where it is not there."""
        found = self._values.get(name)
        if found is None:
            return None
        value = _unquoted(found[0] or b"")
        return min(float(int(value[:20])), LONGEST) if _DIGITS.fullmatch(value) else 0.0

    def bare(self, name: bytes) -> bool:
        """Whether a directive is there that says it of the whole response, and not of some of its fields."""
        return any(not value or value == b'""' for value in self._values.get(name, ()))

    def fields(self, name: bytes) -> frozenset[bytes]:
        """The fields that a directive is only about."""
        named = b",".join(_unquoted(value) for value in self._values.get(name, ()) if value)
        return frozenset(field.strip().lower() for field in named.split(b",")) - {b""}


def directives(values: Iterable[bytes]) -> Directives:
    """Those of all Cache-Control fields of a message, in their order."""
    return Directives(_pair(member) for value in values for member in members(value))


def targeted(values: Iterable[bytes]) -> Directives:
    """Those of a targeted field; none when it is no dictionary of RFC 8941: then it is as if it were not there.

    A directive of the wrong type is as if it were not there, too (RFC 9213 section 2.1).
    """
    text = b",".join(values).strip(b" ")
    found: dict[bytes, bytes | None] = {}
    at = 0
    while at < len(text):
        match = _STRUCTURED.match(text, at)
        if match is None:
            return Directives()
        name, value = match[1], match[2]
        found.pop(name, None)
        if value != b"?0" and not (name in _NUMBERS and not _DIGITS.fullmatch(value or b"")):
            found[name] = None if value == b"?1" else value
        at = match.end()
        if at < len(text):
            comma = _COMMA.match(text, at)
            if comma is None or comma.end() == len(text):
                return Directives()
            at = comma.end()
    return Directives(found.items())


def surrogate(values: Iterable[bytes]) -> Directives:
    """Those of Surrogate-Control that are for any surrogate, or for us by name."""
    return Directives(pair for value in values for member in members(value) for pair in _for_us(member))


def members(value: bytes) -> Iterator[bytes]:
    """The parts of a list, without the spaces around them and without empty ones; a comma in quotes parts nothing."""
    for found in _MEMBER.finditer(value):
        if member := found[0].strip(b" \t"):
            yield member


def _for_us(member: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    directive, *targets = [part.strip(b" \t") for part in _PART.findall(member)] or [b""]
    if not targets or PROXY_NAME in targets:
        yield _pair(directive)


def _pair(member: bytes) -> tuple[bytes, bytes | None]:
    name, equals, value = member.partition(b"=")
    return name.lower(), value if equals else None


def _unquoted(value: bytes) -> bytes:
    if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
        return re.sub(rb"\\(.)", rb"\1", value[1:-1])
    return value
