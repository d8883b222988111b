"""One request at the cache of its group: what it is, where it belongs, what was found for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from app.domain.cache.reuse import Reuse, Verdict

if TYPE_CHECKING:
    from app.domain.cache.lookup import Lookup
    from app.domain.cache.stored import Stored
    from app.domain.exchange import Exchange
    from app.engine.caches.store import Kept

NOTHING: Final = Reuse(Verdict.MISS, -1, "uri-miss")


class Visit:
    """A request.

    Attributes:
        lookup: what it asks for.

        target: the request target, as sent.

        key: where its response is stored; b"" for one that goes by the cache.

        extra: what settings make part of the key.

        why: why it goes by: `method`, or `bypass`.

        found: what is stored under the key; None where that has to be waited for.

        use: what is done with it.
    """

    __slots__ = ("exchange", "extra", "found", "key", "lookup", "target", "use", "why")

    def __init__(self, exchange: Exchange, lookup: Lookup, target: bytes) -> None:
        self.exchange = exchange
        self.lookup = lookup
        self.target = target
        self.key = b""
        self.extra: bytes | None = None
        self.why = ""
        self.found: Sequence[Kept] | None = ()
        self.use = NOTHING

    @property
    def kept(self) -> Kept | None:
        """The stored response that `use` is about."""
        return self.found[self.use.at] if self.found and self.use.at >= 0 else None

    @property
    def stored(self) -> Stored | None:
        """Its head."""
        return None if (kept := self.kept) is None else kept.stored
