"""Header fields that a group removes, sets and adds, prepared as bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from app.domain.headers import HOP_BY_HOP, NEVER_TRAILERS, Field, Fields, alike
from settings.problems import Wrong

if TYPE_CHECKING:
    from settings.groups import HeaderSettings

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5
_FRAMING: Final = HOP_BY_HOP | {b"content-length"}


class FieldRules:
    """What is done to the fields of a message, either way. Names are lower-cased here, and come lower-cased.

    With a field goes what some backends take for it: `X_User` with `X-User`.
    """

    __slots__ = ("_added", "_dropped")

    def __init__(self, dropped: Iterable[bytes], added: Iterable[Field]) -> None:
        self._dropped = alike(dropped)
        self._added = tuple(added)

    @classmethod
    def of(cls, settings: HeaderSettings, taken: Iterable[bytes] = ()) -> FieldRules | None:
        """The rules, or None when there is nothing to do; what is *taken* goes, too, but for what is set or added.

        Raises:
            Wrong: for a name or a value that cannot be sent, and for fields that say where a message ends.
        """
        taken = tuple(taken)
        if not (settings.remove or settings.set or settings.add or taken):
            return None
        removed = [field_name(name) for name in settings.remove]
        put = [field(name, value) for name, value in settings.set.items()]
        added = [field(name, value) for name, value in settings.add.items()]
        if b"host" in removed or b"host" in dict(added):
            raise Wrong("a request has exactly one Host", "set Host, or use host_header")
        return cls((*taken, *removed, *(name for name, _ in put)), (*put, *added))

    def apply(self, fields: Fields) -> Fields:
        """A new list: *fields* without the removed and the set ones, then what is set and added."""
        dropped = self._dropped
        if not dropped:
            return [*fields, *self._added]
        kept = [field for field in fields if field[0] not in dropped]
        kept += self._added
        return kept


def trailer_names(names: Iterable[str]) -> frozenset[bytes]:
    """*names* in lower case. Raises Wrong for one that may never be in a trailer."""
    keys = {name: field_name(name) for name in names}
    for name, key in keys.items():
        if key in NEVER_TRAILERS:
            raise Wrong(f"{name} would be taken for a field of the head", "leave it out")
    return frozenset(keys.values())


def field_name(name: str) -> bytes:
    """*name* in lower case. Raises Wrong when it is no token, or belongs to the connection and not to the message."""
    if not _NAME.fullmatch(name):
        raise Wrong(f"{name!r} is not the name of a header field", "write letters, digits, - and _ only")
    key = name.lower().encode("ascii")
    if key in _FRAMING:
        raise Wrong(f"{name} belongs to one connection and is made anew for each", "leave it out")
    return key


def field(name: str, value: str) -> Field:
    """One field as bytes, in Latin-1. Raises Wrong when it could end its line, or cannot be sent."""
    if not _VALUE.fullmatch(value):
        fix = "leave out line ends, control characters and what is not in Latin-1"
        raise Wrong(f"the value of {name} cannot be sent in a header field", fix)
    return field_name(name), value.strip(" \t").encode("latin-1")
