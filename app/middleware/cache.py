"""Answers from stored responses, and stores what comes back: RFC 9111, for one group.

    request --Lookup--> store --reuse--> FRESH, STALE: served; STALE is validated beside it
                                         VALIDATE, MISS: a Fetch, which others with the same key read along with
                                         another method, or a bypass: straight through

What is decided is in app.domain.cache; how a response comes in is in app.engine.caches.fetch. A request that goes
straight through keeps its own `send`, but for an unsafe one, whose response head says what is stale now (decision 11).
It is longer than most, for what may be answered, awaited and begun for one request is one piece.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import inf
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from app.domain.affinity import affinity_of
from app.domain.cache import cache_status
from app.domain.cache.invalidation import SAFE, invalidated, speaks_for
from app.domain.cache.key import Query, origin
from app.domain.cache.lookup import CONDITIONAL, Lookup
from app.domain.cache.reuse import FAILED, Reuse, Verdict, bears, reuse
from app.domain.cache.said import SURROGATE
from app.domain.cache.served import Served, served
from app.domain.cache.storing import Policy
from app.domain.cache.validation import same, validators
from app.domain.errors import ClientGone, NoBackend, NotStored
from app.domain.exchange import Exchange
from app.domain.matching import Asked, Value
from app.engine.asgi import connection_of
from app.engine.caches.fetch import Fetch, Reader, again
from app.engine.caches.fetches import Fetches, Marks
from app.engine.caches.serve import dressed, finished, send_kept, send_read
from app.engine.caches.store import Kept, Lost, Purge, Store, Writer
from app.engine.caches.visit import NOTHING, Visit

if TYPE_CHECKING:
    from app.domain.cache.stored import Stored
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, ClientConnection, Message, Receive, Scope, Send
    from settings.cache import CacheSettings

_REMEMBERED = 4096
CAPABILITY = (b"surrogate-capability", b'l7lb="Surrogate/1.0"')

RESULTS = ("hit", "stale", "validated", "miss", "collapsed", "bypass")
"""What becomes of requests: answered from the store, fresh or not; the backend was asked, and said that what is stored
is good, or sent a response, or sent one to another request for the same; the store was not asked."""

Flight = tuple[bytes, bytes | None, bytes, int]
"""Requests that one fetch can answer: key, what else is part of it, the range asked for, the stamp of what is stale."""
Answer = tuple[int, "Fields", bytes]


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
        self._identified = identified
        self.policy = Policy(settings)
        self._group = group
        self._settings = settings
        self._fetches = fetches
        self._rng = rng
        self._clock = clock
        self._key = affinity_of(settings.key)
        self._query = Query(settings.query, settings.ignore_query) if settings.query or settings.ignore_query else None
        self._unkeyed = frozenset(name.encode() for name in settings.unkeyed_fields)
        self._removes = settings.unkeyed == "remove"
        self._headers, self._parameters = bypasses(settings)
        self._bypasses = bool(self._headers or self._parameters)
        self._deaf = not settings.client_directives
        self._extras = self._key is not None or (not self._removes and bool(self._unkeyed))
        self._origins: dict[tuple[str, str], bytes] = {}
        """What keys begin with, by scheme and host."""
        self._surrogate = SURROGATE in self.policy.targets
        self._says = settings.cache_status
        self._flights: dict[Flight, Fetch] = {}
        self._passed = Marks()
        """Until when requests for a key do not wait for each other."""
        self._uses = Marks()
        for result in RESULTS:
            fetches.counts[group, result] += 0  # there from the first scrape on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or forward it."""
        visit = self.visit(scope["lb.exchange"], scope["headers"], connection_of(scope, receive).target)
        answer = self.at_hand(visit)
        if answer is None:
            await self._go_on(visit, scope, receive, send)
        else:
            status, fields, body = answer
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
        elif lookup.body or lookup.precise or lookup.no_store or (self._bypasses and self._bypassed(headers, target)):
            visit.why = "bypass"
        else:
            if self._deaf:
                lookup.ignore_directives()
            visit.key = self.key_of(exchange.scheme, exchange.host, target)
            if self._extras:
                visit.extra = self._extra(exchange, headers, target)
            self._look(visit)
        return visit

    def _look(self, visit: Visit) -> None:
        visit.found = found = self.store.peek(visit.key)
        if found:
            visit.use = self._reuse(visit)

    def at_hand(self, visit: Visit) -> Answer | None:
        """The whole answer, noted on the exchange, where it is stored, usable and in memory."""
        kept = visit.kept
        if kept is None or visit.use.verdict is Verdict.VALIDATE:
            return None
        body = kept.body
        if body is None:
            return None
        exchange, stored = visit.exchange, kept.stored
        age = stored.age_at(self._clock())
        status, fields, start, end = served(visit.lookup, stored, kept.size)
        dressed(exchange, fields, age, self._hit(visit, stored.lifetime - age))
        if end - start != len(body):
            body = body[start:end]
        exchange.status = status
        exchange.first_byte = monotonic()
        exchange.bytes_out = len(body)
        return status, fields, body

    def _hit(self, visit: Visit, left: float) -> bytes:
        """Count and note that a stored response is served, with *left* seconds to its being stale; its Cache-Status."""
        if visit.use.verdict is Verdict.STALE:
            kept = visit.kept
            assert kept is not None
            self._refresh(visit, kept)
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
        flight = self._flight(visit, kept)
        until = monotonic() + self._settings.lock_timeout
        alone = self._passed.get(visit.key) > monotonic()
        answered = False
        while not answered:
            fetch = None if alone else self._flights.get(flight)
            collapsed = fetch is not None and fetch.joinable and not self._purged(fetch, visit.key, fetch.stored)
            if fetch is None or not collapsed:
                fetch = self._begin(visit, kept, None if alone else flight)
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
        return reuse(visit.lookup, [stored], self._clock(), extra=visit.extra, negotiate=self.policy.negotiate).at == 0

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
        down = self.policy.stale_down if isinstance(fetch.error or own.error, NoBackend) else 0.0
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

    # A fetch...

    def _begin(self, visit: Visit, kept: Kept | None, flight: Flight | None, *, beside: bool = False) -> Fetch:
        """Begin a fetch, for all requests of *flight*, or for this one alone."""
        theirs = visit.exchange
        exchange = Exchange(monotonic(), theirs.peer, theirs.scheme, "GET", theirs.host, theirs.path)
        exchange.client, exchange.group = theirs.client, theirs.group
        exchange.user, exchange.pages = theirs.user, theirs.pages
        if not beside:
            exchange.attempts = theirs.attempts
        requested = self._clock()
        fetch = Fetch(exchange, visit.target, partial(self._headed, visit, kept, requested))
        fetch.purges = self._fetches.purges.count
        if flight is not None:
            self._flights[flight] = fetch
        path, _, query = visit.target.partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": theirs.scheme,
            "path": theirs.path, "raw_path": path, "query_string": query, "client": None, "server": None,
            "headers": self._asked(visit, kept, flight is None and not beside), "lb.exchange": exchange,
            "extensions": {"lb.edge": fetch},
        }  # fmt: skip
        self._fetches.start(self._run(fetch, scope, flight))
        return fetch

    async def _run(self, fetch: Fetch, scope: Scope, flight: Flight | None) -> None:
        try:
            await fetch.run(self.app, scope)
        finally:
            if flight is not None and self._flights.get(flight) is fetch:
                del self._flights[flight]

    def _asked(self, visit: Visit, kept: Kept | None, alone: bool) -> Fields:
        """The fields of a fetch: those of the client, but for its conditions, which are about what it has itself.

        A fetch for itself alone keeps them, for what comes back is probably not stored.
        """
        left = self._unkeyed if self._removes else frozenset[bytes]()
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
            return
        if kept is not None and fetch.status == 304:
            fetch.kept = kept
            fetch.stored = self.policy.freshened(kept.stored, fetch.fields, requested, now)
            if fetch.stored is None:
                await self.store.purge(Purge("key", visit.key), now)
            else:
                await self.store.update(visit.key, fetch.stored)
                if self._purged(fetch, visit.key, fetch.stored):
                    await self.store.update(visit.key, fetch.stored.purged(now))
            return
        stamp = self._rng.getrandbits(63)
        found = self.policy.judge(
            visit.lookup, fetch.status, fetch.fields,
            extra=visit.extra, stamp=stamp, requested=requested, received=now,
        )  # fmt: skip
        if isinstance(found, str):
            fetch.why = found
        elif not self._often(visit.key):
            fetch.why = "min-uses"
            return
        else:
            writer = await self.store.write(visit.key, found, length_of(fetch.fields))
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

    def _refresh(self, visit: Visit, kept: Kept) -> None:
        """Validate a stale response that is being served, once."""
        flight = self._flight(visit, kept)
        if flight not in self._flights:
            self._begin(visit, kept, flight, beside=True)

    def _flight(self, visit: Visit, kept: Kept | None) -> Flight:
        if kept is not None:
            return visit.key, visit.extra, b"", kept.stored.stamp
        return visit.key, visit.extra, visit.lookup.range, 0

    # Past the store...

    async def _past(self, visit: Visit, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that is not answered from the store."""
        self._note(visit, "bypass")
        if self._says:
            visit.exchange.fields += ((b"cache-status", cache_status.forwarded(visit.why)),)
        if self._removes:
            kept = [field for field in scope["headers"] if field[0] not in self._unkeyed]
            scope = {**scope, "headers": kept}
        if visit.lookup.method in SAFE:
            await self.app(scope, receive, send)
            return
        unsafe = Unsafe(self, visit, send, self._clock())
        try:
            await self.app(scope, receive, unsafe.send)
        finally:
            unsafe.close()

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
                new = self.policy.freshened(stored, message["headers"], requested, now) if is_same else None
                await self.store.update(visit.key, new if new is not None else stored.purged(now))
            await send(message)

        if self._says:
            visit.exchange.fields += ((b"cache-status", cache_status.forwarded(visit.use.why)),)
        await self.app(scope, receive, updating)

    async def changed(self, visit: Visit, requested: float, status: int, fields: Fields) -> Writer | None:
        """An unsafe request has been answered: forget what it may have changed.

        Gives what the answer is to be written to, where it is that to a POST which says that a GET would have the same:
        RFC 9110 section 9.3.3.
        """
        exchange, now = visit.exchange, self._clock()
        for url in invalidated(exchange.scheme, exchange.host, visit.target, status, fields):
            await self.store.purge(Purge("key", self.key_of(exchange.scheme, exchange.host, url)), now)
        if visit.lookup.method != "POST" or not speaks_for(exchange.scheme, exchange.host, visit.target, fields):
            return None
        extra = self._extra(exchange, visit.lookup.headers, visit.target)
        stamp = self._rng.getrandbits(63)
        stored = self.policy.judge(
            visit.lookup, status, fields, extra=extra, stamp=stamp, requested=requested, received=now
        )
        if isinstance(stored, str) or stored.partial:
            return None
        return await self.store.write(
            self.key_of(exchange.scheme, exchange.host, visit.target), stored, length_of(fields)
        )

    # What a request is...

    def _reuse(self, visit: Visit) -> Reuse:
        stored = [kept.stored for kept in visit.found or ()]
        return reuse(visit.lookup, stored, self._clock(), visit.extra, self.policy.negotiate)

    def key_of(self, scheme: str, host: str, target: bytes) -> bytes:
        """What the responses of a URL are stored under."""
        if self._query is not None:
            target = self._query.apply(target)
        found = self._origins.get((scheme, host))
        if found is None:
            if len(self._origins) >= _REMEMBERED:
                self._origins.clear()
            found = self._origins[scheme, host] = origin(self._group, scheme, host)
        return found + target

    def _extra(self, exchange: Exchange, headers: Fields, target: bytes) -> bytes | None:
        """What else tells its response from others: parts that settings name, and fields that backends may go by."""
        parts = [self._key(exchange, headers, target)] if self._key is not None else []
        if not self._removes:
            unkeyed = self._unkeyed
            parts += [b"%b=%b" % field for field in headers if field[0] in unkeyed]
        return b"\0".join(parts) or None if parts else None

    def _bypassed(self, headers: Fields, target: bytes) -> bool:
        if any(value.met(headers) for value in self._headers):
            return True
        if not self._parameters:
            return False
        parameters = Asked("", "", headers, target.partition(b"?")[2], "").parameters
        return any(value.met(parameters) for value in self._parameters)

    def _note(self, visit: Visit, result: str) -> None:
        visit.exchange.cache = result
        self._fetches.counts[self._group, result] += 1


class Unsafe:
    """The client of an unsafe request, whose answer says what is not to be used any more, or is one to a GET, too."""

    __slots__ = ("_cache", "_requested", "_send", "_visit", "_writer")

    def __init__(self, cache: Cache, visit: Visit, send: Send, requested: float) -> None:
        self._cache = cache
        self._visit = visit
        self._send = send
        self._requested = requested
        self._writer: Writer | None = None

    async def send(self, message: Message) -> None:
        """Pass on; before that, forget what the request has changed, or store."""
        if message["type"] == "http.response.start":
            found = self._cache.changed(self._visit, self._requested, message["status"], message["headers"])
            self._writer = await found
        elif self._writer is not None:
            await self._store(self._writer, message.get("body", b""), message.get("more_body", False))
        await self._send(message)

    async def _store(self, writer: Writer, piece: bytes, more: bool) -> None:
        if piece and not await writer.write(piece):
            self.close()
        elif not more:
            await writer.commit()
            self.close()

    def close(self) -> None:
        """Whatever was not stored is given up."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def length_of(fields: Fields) -> int | None:
    """Content-Length of a response; None without one."""
    return next((int(value) for name, value in fields if name == b"content-length"), None)


def bypasses(settings: CacheSettings) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Fields and parameters that lead a request past the store. Raises Wrong for what is no pattern."""
    return (
        tuple(Value(name.encode(), text, "bypass", name) for name, text in settings.bypass.items()),
        tuple(
            Value(name.encode(errors="surrogateescape"), text, "bypass_query", name)
            for name, text in settings.bypass_query.items()
        ),
    )
