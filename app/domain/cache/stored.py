"""A stored response without its body: what reuse is decided by, and its bytes in a store.

What its fields say about reuse is worked out once, when it is stored or validated; a lookup compares numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from struct import Struct, error
from typing import Final

from app.domain.headers import Field

NO_CACHE: Final = 1
"""Every use has to be validated: RFC 9111 section 5.2.2.4."""
MUST_REVALIDATE: Final = 2
"""Never used stale: RFC 9111 sections 5.2.2.2, 5.2.2.8 and 5.2.2.10."""
PURGED: Final = 4
"""A soft purge has made it stale."""

_FORMAT: Final = 1
_HEAD: Final = Struct("!BBHQddddddqqqHHH")
_SIZE: Final = Struct("!I")


SKEW: Final = 60.0
"""Seconds by which the clocks of machines that share a store may differ."""


class Unreadable(ValueError):
    """The bytes are of another version of ours, or have been damaged: as good as not there."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The head of a stored response. Times are wall-clock seconds since the epoch, so that machines can share them.

    Attributes:
        stamp: names this very body, in every store; a validation keeps it, another response has another.

        status: code.

        fields: as they go to a client, but for `Age` and what is added on the way.

        received: when the response, or the last word on it that a validation brought, came.

        age: seconds, that it had then: the corrected initial age of RFC 9111 section 4.2.3.

        lifetime: seconds of age up to which it is fresh.

        stale_revalidate: seconds beyond, for which it may be used while it is validated: RFC 5861 section 3.

        stale_error: seconds beyond, for which it may be used in place of an error: RFC 5861 section 4.

        until: when a store may forget it, for nothing could be done with it any more.

        start, end: of a partial response: its first byte in the whole representation, and the one after its last.

        total: bytes of the whole representation; -1 where the body is the whole.

        flags: NO_CACHE, MUST_REVALIDATE, PURGED.

        vary: names that `Vary` gave, and the values that the request had; None for a field that was not there.

        tags: to purge it by.
    """

    stamp: int
    status: int
    fields: tuple[Field, ...]
    received: float
    age: float = 0.0
    lifetime: float = 0.0
    stale_revalidate: float = 0.0
    stale_error: float = 0.0
    until: float = 0.0
    start: int = 0
    end: int = 0
    total: int = -1
    flags: int = 0
    vary: tuple[tuple[bytes, bytes | None], ...] = ()
    tags: tuple[bytes, ...] = ()

    def age_at(self, now: float) -> float:
        """The current age of RFC 9111 section 4.2.3.

        What came later than now, by a clock that was set back, is as old as it may be while it is fresh: nobody knows
        how old it really is. By up to SKEW, the clocks of machines that share it may only differ: it has just come.
        """
        passed = now - self.received
        if passed > 0:
            return self.age + passed
        return self.age if passed >= -SKEW else max(self.age, self.lifetime)

    def purged(self, now: float) -> Stored:
        """The same, stale from *now* on: of use while it is validated, and in place of an error."""
        return replace(self, lifetime=min(self.lifetime, self.age_at(now)), flags=self.flags | PURGED)

    @property
    def partial(self) -> bool:
        """Whether the body is a part of the representation only."""
        return self.total >= 0

    def encoded(self) -> bytes:
        """All of it as bytes; `decoded` reads them again."""
        head = _HEAD.pack(
            _FORMAT, self.flags, self.status, self.stamp, self.received, self.age, self.lifetime, self.stale_revalidate,
            self.stale_error, self.until, self.start, self.end, self.total,
            len(self.fields), len(self.vary), len(self.tags),
        )  # fmt: skip
        pieces = [head]
        for text in self._texts():
            pieces += (_SIZE.pack(len(text)), text)
        return b"".join(pieces)

    def _texts(self) -> Iterator[bytes]:
        for field in self.fields:
            yield from field
        for name, value in self.vary:
            yield name
            yield b"-" if value is None else b"+" + value
        yield from self.tags


def decoded(data: bytes) -> Stored:
    """What `Stored.encoded` made. Raises Unreadable."""
    try:
        version, flags, status, stamp, *numbers, fields, vary, tags = _HEAD.unpack_from(data)
        if version != _FORMAT:
            raise Unreadable(f"format {version}")
        texts = _texts(data, 2 * (fields + vary) + tags)
        pairs = list(zip(texts[0 : 2 * (fields + vary) : 2], texts[1 : 2 * (fields + vary) : 2], strict=True))
    except (error, ValueError) as fault:
        raise Unreadable(str(fault)) from None
    chosen = tuple((name, value[1:] if value.startswith(b"+") else None) for name, value in pairs[fields:])
    received, age, lifetime, stale_revalidate, stale_error, until, start, end, total = numbers
    return Stored(
        stamp, status, tuple(pairs[:fields]), received, age, lifetime, stale_revalidate, stale_error, until, start,
        end, total, flags, chosen, tuple(texts[2 * (fields + vary) :]),
    )  # fmt: skip


def _texts(data: bytes, count: int) -> list[bytes]:
    texts, at = [], _HEAD.size
    for _ in range(count):
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size + size
        if at > len(data):
            raise Unreadable("cut short")
        texts.append(data[at - size : at])
    if at != len(data):
        raise Unreadable("something follows")
    return texts


def variant(stored: Stored, others: Iterable[Stored]) -> Stored | None:
    """That of *others* which *stored* takes the place of: it was chosen by the same fields with the same values."""
    return next((other for other in others if other.vary == stored.vary), None)
