"""Answers from stored responses, and stores what comes back: RFC 9111, for one group.

    request --Lookup--> store --reuse--> FRESH, STALE: served; STALE is validated beside it
                                         VALIDATE, MISS: a Fetch, which others with the same key read along with
                                         another method, or a bypass: straight through

What is decided is in app.domain.cache; how a response comes in is in app.engine.caches.fetch. A request that goes
straight through keeps its own `send`, but for an unsafe one, whose response head says what is stale now (decision 11).
It is longer than most, for all ways in which one request may be answered are one piece.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from app.domain.cache import cache_status
from app.domain.cache.invalidation import SAFE
from app.domain.cache.lookup import Lookup
from app.domain.cache.reuse import FAILED, Reuse, Verdict, bears, reuse
from app.domain.cache.served import Served, served
from app.domain.cache.storing import Policy
from app.domain.cache.validation import same
from app.domain.errors import ClientGone, NoBackend, NotStored
from app.domain.exchange import Exchange
from app.engine.asgi import connection_of
from app.engine.caches.fetch import Fetch, Reader, again
from app.engine.caches.fetches import Fetches
from app.engine.caches.flights import Flights, length_of
from app.engine.caches.keys import Keys
from app.engine.caches.serve import dressed, finished, send_kept, send_read
from app.engine.caches.store import Kept, Lost, Store
from app.engine.caches.unsafe import Overheard, Unsafe
from app.engine.caches.visit import NOTHING, Visit

if TYPE_CHECKING:
    from app.domain.cache.stored import Stored
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, ClientConnection, Message, Receive, Scope, Send
    from settings.cache import CacheSettings

RESULTS: Final = ("hit", "stale", "validated", "miss", "collapsed", "bypass")
"""What becomes of requests: answered from the store, fresh or not; the backend was asked, and said that what is stored
is good, or sent a response, or sent one to another request for the same; the store was not asked."""

Answer = tuple[int, bytes, "Fields", bytes]
"""Status, the lines of the fields that are made already, further fields, body."""


class Cache:
    """The cache of one group, around all that forwards.

    Args:
        app: forwards; it sees fetches in place of clients.

        group: its name.

        store: where responses are kept.

        fetches: of all groups.

        rng: draws the stamps of what is stored.

        identified: the group lets nobody in whom it does not know, and may have taken away what told so: each request
            counts as one with Authorization (RFC 9111 section 3.5).

        clock: wall-clock seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        group: str,
        settings: CacheSettings,
        store: Store,
        fetches: Fetches,
        rng: Random,
        identified: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self.store = store
        self.keys = Keys(group, settings)
        self._identified = identified
        self._policy = policy = Policy(settings)
        self._group = group
        self._lock_timeout = settings.lock_timeout
        self._fetches = fetches
        self._clock = clock
        self._flights = Flights(
            group, app,
            settings=settings, keys=self.keys, policy=policy, store=store, fetches=fetches, rng=rng, clock=clock,
        )  # fmt: skip
        self._unsafe = Unsafe(self.keys, policy, store, rng, clock)
        self._deaf = not settings.client_directives
        self._says = settings.cache_status
        for result in RESULTS:
            fetches.counts[group, result] += 0  # there from the first scrape on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or forward it."""
        visit = self.visit(scope["lb.exchange"], scope["headers"], connection_of(scope, receive).target)
        answer = self.at_hand(visit, lines=False)
        if answer is None:
            await self._go_on(visit, scope, receive, send)
        else:
            status, _, fields, body = answer
            await send({"type": "http.response.start", "status": status, "headers": fields})
            await send({"type": "http.response.body", "body": body})

    # At once...

    def visit(self, exchange: Exchange, headers: Fields, target: bytes) -> Visit:
        """Look a request up, as far as the store can tell at once. Raises BadRequest as `Value.met` does."""
        lookup = Lookup(exchange.method, headers)
        if self._identified or exchange.user:
            lookup.authorization = True
        visit = Visit(exchange, lookup, target)
        if lookup.method not in ("GET", "HEAD"):
            visit.why = "method"
        elif (
            lookup.body
            or lookup.precise
            or lookup.no_store
            or (self.keys.bypasses and self.keys.bypassed(headers, target))
        ):
            visit.why = "bypass"
        else:
            if self._deaf:
                lookup.ignore_directives()
            visit.key = self.keys.of(exchange.scheme, exchange.host, target)
            if not self.keys.plain:
                visit.extra = self.keys.extra_of(exchange, headers, target)
            self._look(visit)
        return visit

    def _look(self, visit: Visit) -> None:
        visit.found = found = self.store.peek(visit.key)
        if found:
            visit.use = self._reuse(visit)

    def at_hand(self, visit: Visit, *, lines: bool) -> Answer | None:
        """The whole answer, noted on the exchange, where it is stored, usable and in memory.

        With *lines*, fields may come as lines.
        """
        kept = visit.kept
        if kept is None or visit.use.verdict is Verdict.VALIDATE:
            return None
        body = kept.body
        if body is None:
            return None
        exchange, stored = visit.exchange, kept.stored
        age = stored.age_at(self._clock())
        made = kept.lines if lines and visit.lookup.plain else b""
        status: int = stored.status
        fields: Fields = []
        if not made:
            status, fields, start, end = served(visit.lookup, stored, kept.size)
            if end - start != len(body):
                body = body[start:end]
        dressed(exchange, fields, age, self._hit(visit, stored.lifetime - age))
        exchange.status = status
        exchange.first_byte = monotonic()
        exchange.bytes_out = len(body)
        return status, made, fields, body

    def _hit(self, visit: Visit, left: float) -> bytes:
        """Count and note that a stored response is served, with *left* seconds to its being stale; its Cache-Status."""
        if visit.use.verdict is Verdict.STALE:
            kept = visit.kept
            assert kept is not None
            self._flights.refresh(visit, kept)
            self._note(visit, "stale")
        else:
            self._note(visit, "hit" if left > 0 else "stale")
        return cache_status.hit(left) if self._says else b""

    # Or after some waiting...

    async def go_on(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """The rest of the way of a visit that could not be answered at once, some time after that."""
        if visit.key:  # what was being fetched then may be stored now
            visit.use = NOTHING
            self._look(visit)
        await self._go_on(visit, scope, receive, send)

    async def _go_on(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        watched = connection_of(scope, receive)
        if not visit.key:
            await self._past(visit, scope, receive, send)
            return
        if visit.found is None:
            visit.found = await self.store.find(visit.key)
            if visit.found:
                visit.use = self._reuse(visit)
        kept = visit.kept
        if kept is not None and visit.use.verdict is not Verdict.VALIDATE:
            try:
                await self._serve(visit, kept, kept.stored, send, watched)
            except Lost:
                visit.found, visit.use = (), NOTHING
            else:
                return
        if visit.lookup.only_if_cached:
            self._note(visit, "miss")
            raise NotStored("nothing is stored that could be used, and the client wants nothing else")
        if visit.lookup.method == "HEAD":
            await self._head(visit, scope, receive, send)
        else:
            await self._fetched(visit, send, watched)

    async def _serve(self, visit: Visit, kept: Kept, stored: Stored, send: Send, watched: ClientConnection) -> None:
        age = stored.age_at(self._clock())
        answer = served(visit.lookup, stored, kept.size)
        fields = dressed(visit.exchange, answer.fields, age, self._hit(visit, stored.lifetime - age))
        await send_kept(visit.exchange, kept, answer, fields, send, watched)

    async def _fetched(self, visit: Visit, send: Send, watched: ClientConnection) -> None:
        """Answer by a fetch: one that others have begun, or one of its own."""
        kept = visit.kept if visit.use.verdict is Verdict.VALIDATE else None
        until = monotonic() + self._lock_timeout
        alone = self._flights.passed(visit.key)
        answered = False
        while not answered:
            other = None if alone else self._flights.joinable(visit, kept)
            collapsed = other is not None
            fetch = other or self._flights.begin(visit, kept, alone=alone)
            reader = Reader(fetch, watched)
            try:
                in_time = await reader.head(until - monotonic() if collapsed else inf)
                answered = not collapsed or (in_time and self._fits(visit, fetch))
                if answered:
                    await self._answer(visit, fetch, reader, kept, collapsed, send, watched)
            finally:
                reader.leave()
            alone = not isinstance(fetch.error, ClientGone)  # else its own client, or nobody, wanted it

    def _fits(self, visit: Visit, fetch: Fetch) -> bool:
        """Whether another client's fetch is an answer to this one, too."""
        error = fetch.error
        if error is not None and not fetch.status:
            return error.side == "backend" or isinstance(error, NoBackend)
        stored = fetch.stored
        if stored is None:
            return False
        return reuse(visit.lookup, [stored], self._clock(), extra=visit.extra, negotiate=self._policy.negotiate).at == 0

    async def _answer(
        self,
        visit: Visit,
        fetch: Fetch,
        reader: Reader,
        kept: Kept | None,
        collapsed: bool,
        send: Send,
        watched: ClientConnection,
    ) -> None:
        """Send what came of a fetch."""
        exchange, own = visit.exchange, fetch.exchange
        exchange.pool = own.pool
        if not collapsed:
            exchange.queued, exchange.request_id, exchange.error = own.queued, own.request_id, own.error
            exchange.fields += own.fields
        failed = fetch.status in FAILED or own.error is not None or (not fetch.status and fetch.error is not None)
        down = self._policy.stale_down if isinstance(fetch.error or own.error, NoBackend) else 0.0
        if kept is not None and failed and bears(kept.stored, self._clock(), down=down):
            self._note(visit, "stale")
            await self._send_kept(visit, kept, kept.stored, fetch, collapsed, "stale-if-error", send, watched)
            return
        if not fetch.status:
            self._note(visit, "miss")
            assert fetch.error is not None
            raise again(fetch.error)
        self._note(visit, "collapsed" if collapsed else "validated" if fetch.kept is not None else "miss")
        if fetch.kept is not None:
            stored = fetch.stored or fetch.kept.stored
            await self._send_kept(visit, fetch.kept, stored, fetch, collapsed, "", send, watched)
            return
        lookup, stored_now = visit.lookup, fetch.stored
        said = self._forwarded(visit, fetch, collapsed, fetch.why)
        asks = bool(lookup.range or lookup.if_none_match or lookup.if_modified_since)
        if stored_now is not None and not stored_now.partial and (collapsed or asks):
            size = length_of(fetch.fields)
            answer = served(lookup, stored_now, size if size is not None else -1)
            fields = dressed(exchange, answer.fields, stored_now.age_at(self._clock()), said)
        else:
            answer = Served(fetch.status, fetch.fields, 0, -1)
            fields = finished(exchange, list(fetch.fields), said)
        await send_read(exchange, reader, answer, fields, send)

    async def _send_kept(
        self,
        visit: Visit,
        kept: Kept,
        stored: Stored,
        fetch: Fetch,
        collapsed: bool,
        detail: str,
        send: Send,
        watched: ClientConnection,
    ) -> None:
        answer = served(visit.lookup, stored, kept.size)
        said = self._forwarded(visit, fetch, collapsed, detail)
        fields = dressed(visit.exchange, answer.fields, stored.age_at(self._clock()), said)
        visit.exchange.error = None
        await send_kept(visit.exchange, kept, answer, fields, send, watched)

    def _forwarded(self, visit: Visit, fetch: Fetch, collapsed: bool, detail: str) -> bytes:
        if not self._says:
            return b""
        stored = fetch.stored is not None
        return cache_status.forwarded(visit.use.why, fetch.status, stored=stored, collapsed=collapsed, detail=detail)

    # Past the store...

    async def _past(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that is not answered from the store."""
        self._note(visit, "bypass")
        if self._says:
            visit.exchange.fields += ((b"cache-status", cache_status.forwarded(visit.why)),)
        if self.keys.removes:
            unkeyed = self.keys.unkeyed
            kept = [field for field in scope["headers"] if field[0] not in unkeyed]
            scope = {**scope, "headers": kept}
        if visit.lookup.method in SAFE:
            await self.app(scope, receive, send)
            return
        client = Overheard(self._unsafe, visit, send)
        try:
            await self.app(scope, receive, client.send)
        finally:
            client.close()

    async def _head(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """A HEAD that what is stored does not answer; its answer may say that it is still, or no more, the one."""
        self._note(visit, "miss")
        requested, kept, purges = self._clock(), visit.kept, self._fetches.purges
        count = purges.count

        async def updating(message: Message) -> None:
            is_head = message["type"] == "http.response.start" and message["status"] == 200
            if is_head and kept is not None and not purges.since(count, visit.key, kept.stored):
                now, stored = self._clock(), kept.stored
                is_same = same(stored, message["headers"])
                new = self._policy.freshened(stored, message["headers"], requested, now) if is_same else None
                await self.store.update(visit.key, new if new is not None else stored.purged(now))
            await send(message)

        if self._says:
            visit.exchange.fields += ((b"cache-status", cache_status.forwarded(visit.use.why)),)
        await self.app(scope, receive, updating)

    # What a request is...

    def _reuse(self, visit: Visit) -> Reuse:
        stored = [kept.stored for kept in visit.found or ()]
        return reuse(visit.lookup, stored, self._clock(), visit.extra, self._policy.negotiate)

    def _note(self, visit: Visit, result: str) -> None:
        visit.exchange.cache = result
        self._fetches.counts[self._group, result] += 1
