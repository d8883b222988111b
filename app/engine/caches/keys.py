"""What the responses of one group are stored under, and which requests go by the store: as its settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.domain.affinity import affinity_of
from app.domain.cache.key import Query, origin
from app.domain.matching import Asked, Value

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from settings.cache import CacheSettings

_REMEMBERED: Final = 4096
"""Schemes and hosts whose beginning of a key is remembered."""


class Keys:
    """The keys of one group.

    Attributes:
        unkeyed: names of the fields that a backend may go by, and that are no part of a URL.

        removes: they are taken away; else they are part of what a response is chosen by.

        bypasses: the settings may lead a request past the store.

        plain: nothing but the URL tells one response from another.
    """

    def __init__(self, group: str, settings: CacheSettings) -> None:
        self.unkeyed = frozenset(name.encode() for name in settings.unkeyed_fields)
        self.removes = settings.unkeyed == "remove"
        self._group = group
        self._affinity = affinity_of(settings.key)
        self._query = Query(settings.query, settings.ignore_query) if settings.query or settings.ignore_query else None
        self._headers, self._parameters = bypasses(settings)
        self.bypasses = bool(self._headers or self._parameters)
        self.plain = self._affinity is None and (self.removes or not self.unkeyed)
        self._origins: dict[tuple[str, str], bytes] = {}
        """What keys begin with, by scheme and host."""

    def of(self, scheme: str, host: str, target: bytes) -> bytes:
        """What the responses of a URL are stored under."""
        if self._query is not None:
            target = self._query.apply(target)
        found = self._origins.get((scheme, host))
        if found is None:
            if len(self._origins) >= _REMEMBERED:
                self._origins.clear()
            found = self._origins[scheme, host] = origin(self._group, scheme, host)
        return found + target

    def extra_of(self, exchange: Exchange, headers: Fields, target: bytes) -> bytes | None:
        """What else tells its response from others: parts that settings name, and fields that backends may go by."""
        if self.plain:
            return None
        parts = [self._affinity(exchange, headers, target)] if self._affinity is not None else []
        if not self.removes:
            unkeyed = self.unkeyed
            parts += [b"%b=%b" % field for field in headers if field[0] in unkeyed]
        return b"\0".join(parts) or None if parts else None

    def bypassed(self, headers: Fields, target: bytes) -> bool:
        """Whether the settings lead a request past the store."""
        if any(value.met(headers) for value in self._headers):
            return True
        if not self._parameters:
            return False
        parameters = Asked("", "", headers, target.partition(b"?")[2], "").parameters
        return any(value.met(parameters) for value in self._parameters)


def bypasses(settings: CacheSettings) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Fields and parameters that lead a request past the store. Raises Wrong for what is no pattern."""
    return (
        tuple(Value(name.encode(), text, "bypass", name) for name, text in settings.bypass.items()),
        tuple(
            Value(name.encode(errors="surrogateescape"), text, "bypass_query", name)
            for name, text in settings.bypass_query.items()
        ),
    )
