"""What was found out about a secret, so that it need not be for a while; the secret itself is not kept."""

from __future__ import annotations

from hashlib import blake2b
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """A bounded table from digests to what is known, each until its time. Times are seconds.

    Args:
        key: of the digests, which nobody else knows: 16 to 64 bytes.

        most: of what is kept; the oldest is forgotten first.
    """

    __slots__ = ("_key", "_known", "_most")

    def __init__(self, key: bytes, most: int = 10_000) -> None:
        self._key = key
        self._most = most
        self._known: dict[bytes, tuple[T, float]] = {}

    def digest(self, secret: bytes) -> bytes:
        """What *secret* is kept by. Without the key, nothing can be learnt from it, nor can two be made to collide."""
        return blake2b(secret, key=self._key, digest_size=16).digest()

    def get(self, digest: bytes, now: float) -> T | None:
        """What is known, None when that is nothing any more."""
        found = self._known.get(digest)
        if found is None:
            return None
        if found[1] <= now:
            del self._known[digest]
            return None
        return found[0]

    def put(self, digest: bytes, value: T, until: float) -> None:
        """Keep *value* until then."""
        if len(self._known) >= self._most and digest not in self._known:
            del self._known[next(iter(self._known))]
        self._known[digest] = (value, until)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
