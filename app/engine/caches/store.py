"""What a cache keeps its responses in: the protocols that every kind of store implements.

A key has a few stored responses, its variants: those whose `Stored.vary` differs. Of two with the same `vary` the one
that was committed last takes the place of the other. A store knows nothing of HTTP: whether a response may be used, and
how, is decided by app.domain.cache from `Stored`; a store only keeps, finds, forgets.

A key is a group's name, a space and a URL: `api https://example.org/path?query`. So a prefix of keys is a prefix of
URLs; what else tells one response from another is in its `Stored.vary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from app.domain.cache.stored import Stored
from settings.models import Frozen
from settings.units import Size

MOST_VARIANTS = 64
"""Stored responses of one key; the one that was stored first is forgotten for another. No client can fill a key."""


class Lost(Exception):
    """The body of a stored response has gone: it was evicted after it was found, or its store is away."""


class StoreOptions(Frozen):
    """Options that every kind has."""

    max_size: Size = 64 * 2**20
    """Bytes of all stored responses, with their heads and keys."""
    max_object: Size = 8 * 2**20
    """Bytes of one body; a longer one is not stored."""


class Kept(Protocol):
    """A stored response that was found. Whoever has it need not give it back: what is no more used is let go."""

    @property
    def stored(self) -> Stored:
        """Its head."""

    @property
    def size(self) -> int:
        """Bytes of its body."""

    @property
    def body(self) -> bytes | None:
        """All of the body, where it is at hand in memory; None where it has to be read."""

    @property
    def lines(self) -> bytes:
        """The lines of the head that goes with the whole body, where they are made already; b"" where they are not."""

    async def read(self, offset: int, most: int) -> bytes:
        """One to *most* bytes from *offset* on, which is below `size`. Raises Lost."""


class Writer(Protocol):
    """A response that is being stored. Nobody finds it before `commit`.

    Whatever becomes of it, what was written can be read from it until `close`.
    """

    async def write(self, piece: bytes) -> bool:
        """Add to the body. False: there is no room for it, *piece* was not taken, and it will never be stored."""

    async def read(self, offset: int, most: int) -> bytes:
        """One to *most* bytes from *offset* on, which is below what has been written. Raises Lost."""

    async def commit(self) -> bool:
        """The body is complete: store it, whole and all at once. False: it could not be, or a purge came before it."""

    def close(self) -> None:
        """Nobody reads from it any more; what was not committed is given up. Called once at least."""


@dataclass(frozen=True, slots=True)
class Purge:
    """What is to be forgotten.

    Attributes:
        by: `key`: all variants of a key; `prefix`: of all keys that begin so; `tag`: what has this tag.

        value: key, prefix or tag.

        group: with a tag: the group whose responses are meant; "" for all.

        soft: it is made stale (`Stored.purged`) and not forgotten.
    """

    by: Literal["key", "prefix", "tag"]
    value: bytes
    group: str = ""
    soft: bool = False


@dataclass(slots=True)
class Usage:
    """What is in a store, as far as this process knows: for metrics.

    Attributes:
        evicted: responses that had to go for others, so far.

        purged: responses that purges which came to this process have forgotten, or made stale, so far.
    """

    responses: int = 0
    size: int = 0
    evicted: int = 0
    purged: int = 0


class Store(Protocol):
    """A store. Many tasks may call it at once. None of its methods raises but as is said: one that is away is empty.

    Attributes:
        options: at least those of `StoreOptions`.

        usage: kept up to date.
    """

    options: StoreOptions
    usage: Usage

    def peek(self, key: bytes) -> Sequence[Kept] | None:
        """The variants of *key* if that can be told at once; None when `find` has to be awaited."""

    async def find(self, key: bytes) -> Sequence[Kept]:
        """The variants of *key*, in any order; what it gives may be lost before it is read."""

    async def write(self, key: bytes, stored: Stored, length: int | None) -> Writer | None:
        """Begin to store a response under *key*, its body of *length* bytes; None when there is no room for it.

        *length* is None where it is not known before the body's end.
        """

    async def update(self, key: bytes, stored: Stored) -> bool:
        """Replace the head of the response that has the same stamp; False when there is none any more."""

    async def purge(self, purge: Purge, now: float) -> int:
        """Forget, or make stale; how many responses. What is being written, and matches, will not be stored."""

    async def run(self) -> None:
        """The job that keeps it in order, for as long as we run; returns at once where there is none."""

    def close(self) -> None:
        """Let go of everything at the end."""
