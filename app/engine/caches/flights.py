"""The fetches of one group: what each asks the backend for, who else it can answer, what becomes of what it brings."""

from __future__ import annotations

from functools import partial
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from app.domain.cache.lookup import CONDITIONAL
from app.domain.cache.reuse import FAILED
from app.domain.cache.said import SURROGATE
from app.domain.cache.storing import Policy
from app.domain.cache.validation import validators
from app.domain.exchange import Exchange
from app.engine.caches.fetch import Fetch
from app.engine.caches.fetches import Fetches, Marks
from app.engine.caches.store import Kept, Purge, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.domain.cache.stored import Stored
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, Scope
    from app.engine.caches.keys import Keys
    from app.engine.caches.visit import Visit
    from settings.cache import CacheSettings

REFRESHES: Final = ("validated", "replaced", "failed")
"""What becomes of validations beside requests: what is stored is good, another response came, or none that counts."""
CAPABILITY: Final = (b"surrogate-capability", b'l7lb="Surrogate/1.0"')

Flight = tuple[bytes, bytes | None, bytes, int]
"""Requests that one fetch can answer: key, what else is part of it, the range asked for, the stamp of what is stale."""


class Flights:
    """All fetches of one group.

    Args:
        group: its name.

        app: forwards; it sees fetches in place of clients.

        store: where responses are kept.

        fetches: of all groups.

        rng: draws the stamps of what is stored.

        clock: wall-clock seconds.
    """

    def __init__(
        self,
        group: str,
        app: ASGIApp,
        *,
        settings: CacheSettings,
        keys: Keys,
        policy: Policy,
        store: Store,
        fetches: Fetches,
        rng: Random,
        clock: Callable[[], float],
    ) -> None:
        self._group = group
        self._app = app
        self._settings = settings
        self._keys = keys
        self._policy = policy
        self._store = store
        self._fetches = fetches
        self._rng = rng
        self._clock = clock
        self._surrogate = SURROGATE in policy.targets
        self._under_way: dict[Flight, Fetch] = {}
        self._passed = Marks()
        """Until when requests for a key do not wait for each other."""
        self._uses = Marks()
        for result in REFRESHES:
            fetches.refreshes[group, result] += 0  # there from the first scrape on

    def passed(self, key: bytes) -> bool:
        """Whether what *key* brought lately could not be stored, so that nobody is to wait for another's."""
        return self._passed.get(key) > monotonic()

    def joinable(self, visit: Visit, kept: Kept | None) -> Fetch | None:
        """The fetch of another request that may answer this one, too."""
        fetch = self._under_way.get(_flight(visit, kept))
        if fetch is None or not fetch.joinable or self._purged(fetch, visit.key, fetch.stored):
            return None
        return fetch

    def begin(self, visit: Visit, kept: Kept | None, *, alone: bool = False, beside: bool = False) -> Fetch:
        """Begin a fetch.

        Args:
            visit: the request that it is for.

            kept: what it validates.

            alone: it is for this request only, and nobody else may join it.

            beside: the request is answered already.
        """
        theirs = visit.exchange
        exchange = Exchange(monotonic(), theirs.peer, theirs.scheme, "GET", theirs.host, theirs.path)
        exchange.client, exchange.group = theirs.client, theirs.group
        exchange.user, exchange.pages = theirs.user, theirs.pages
        if not beside:
            exchange.attempts = theirs.attempts
        requested = self._clock()
        fetch = Fetch(exchange, visit.target, partial(self._headed, visit, kept, requested))
        fetch.purges = self._fetches.purges.count
        flight = None if alone else _flight(visit, kept)
        if flight is not None:
            self._under_way[flight] = fetch
        path, _, query = visit.target.partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": theirs.scheme,
            "path": theirs.path, "raw_path": path, "query_string": query, "client": None, "server": None,
            "headers": self._asked(visit, kept, alone), "lb.exchange": exchange,
            "extensions": {"lb.edge": fetch},
        }  # fmt: skip
        self._fetches.start(self._run(fetch, scope, flight, beside))
        return fetch

    def refresh(self, visit: Visit, kept: Kept) -> None:
        """Validate a stale response that is being served, once."""
        if _flight(visit, kept) not in self._under_way:
            self.begin(visit, kept, beside=True)

    async def _run(self, fetch: Fetch, scope: Scope, flight: Flight | None, beside: bool) -> None:
        try:
            await fetch.run(self._app, scope)
        finally:
            if flight is not None and self._under_way.get(flight) is fetch:
                del self._under_way[flight]
            if beside:
                failed = fetch.error is not None or fetch.exchange.error is not None or fetch.status in FAILED
                result = "failed" if failed else "validated" if fetch.kept is not None else "replaced"
                self._fetches.refreshes[self._group, result] += 1

    def _asked(self, visit: Visit, kept: Kept | None, alone: bool) -> Fields:
        """The fields of a fetch: those of the client, but for its conditions, which are about what it has itself.

        A fetch for itself alone keeps them, for what comes back is probably not stored.
        """
        left = self._keys.unkeyed if self._keys.removes else frozenset[bytes]()
        if not alone or kept is not None:
            left |= CONDITIONAL if not (visit.lookup.range and kept is None) else CONDITIONAL - {b"if-range"}
        if kept is not None:
            left |= {b"range"}
        fields = [field for field in visit.lookup.headers if field[0] not in left]
        if kept is not None:
            fields += validators(kept.stored)
        if self._surrogate:
            fields.append(CAPABILITY)
        return fields

    async def _headed(self, visit: Visit, kept: Kept | None, requested: float, fetch: Fetch) -> None:
        """A response head has come: decide what becomes of it."""
        now = self._clock()
        if fetch.exchange.error is not None:  # an answer of ours in place of a backend's
            fetch.why = "error"
        elif kept is not None and fetch.status == 304:
            await self._validated(visit, kept, requested, now, fetch)
        else:
            await self._judged(visit, requested, now, fetch)

    async def _validated(self, visit: Visit, kept: Kept, requested: float, now: float, fetch: Fetch) -> None:
        fetch.kept = kept
        fetch.stored = self._policy.freshened(kept.stored, fetch.fields, requested, now)
        if fetch.stored is None:
            await self._store.purge(Purge("key", visit.key), now)
            return
        await self._store.update(visit.key, fetch.stored)
        if self._purged(fetch, visit.key, fetch.stored):
            await self._store.update(visit.key, fetch.stored.purged(now))

    async def _judged(self, visit: Visit, requested: float, now: float, fetch: Fetch) -> None:
        stamp = self._rng.getrandbits(63)
        found = self._policy.judge(
            visit.lookup, fetch.status, fetch.fields,
            extra=visit.extra, stamp=stamp, requested=requested, received=now,
        )  # fmt: skip
        if isinstance(found, str):
            fetch.why = found
        elif not self._often(visit.key):
            fetch.why = "min-uses"
            return
        else:
            writer = await self._store.write(visit.key, found, length_of(fetch.fields))
            if writer is not None and self._purged(fetch, visit.key, found):  # a later purge, the writer learns itself
                writer.close()
                fetch.why = "purged"
                return
            if writer is not None:
                fetch.keep(found, writer)
                self._passed.drop(visit.key)
                return
            fetch.why = "no room"
        if fetch.status < 500:
            self._passed.put(visit.key, monotonic() + self._settings.hit_for_miss)

    def _purged(self, fetch: Fetch, key: bytes, stored: Stored | None) -> bool:
        """Whether what *fetch* brings was asked for before a purge of it."""
        return self._fetches.purges.since(fetch.purges, key, stored)

    def _often(self, key: bytes) -> bool:
        """Whether a URL was asked for often enough to be stored."""
        least = self._settings.min_uses
        if least == 1:
            return True
        uses = self._uses.get(key) + 1
        self._uses.put(key, uses)
        return uses >= least


def _flight(visit: Visit, kept: Kept | None) -> Flight:
    if kept is not None:
        return visit.key, visit.extra, b"", kept.stored.stamp
    return visit.key, visit.extra, visit.lookup.range, 0


def length_of(fields: Fields) -> int | None:
    """Content-Length of a response; None without one."""
    return next((int(value) for name, value in fields if name == b"content-length"), None)
