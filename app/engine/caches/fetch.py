"""One response on its way from the backend into a store, and to whoever reads along.

    WAITING --head--> KEEPING --end--> stored
                 |       | over the limits
                 +-> PASSING --end--> not stored          an error ends each of them

A fetch is the client of the group's app: a task of its own, so that no client that goes away, or reads slowly, is in
the way of another. While KEEPING, the store has what has come, and readers take it from there, each at its own pace.
While PASSING, pieces wait for the slowest reader, and the backend waits with them. Nobody joins then.
It is long because what comes in and those who read it along share one state, which has to be seen in one piece.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from app.domain.errors import ClientGone, InternalError, ProxyError

if TYPE_CHECKING:
    from app.domain.cache.stored import Stored
    from app.domain.exchange import Exchange
    from app.domain.headers import Field, Fields
    from app.engine.asgi import ASGIApp, ClientConnection, Message, Scope
    from app.engine.caches.store import Kept, Writer

WINDOW = 256 * 1024
"""Bytes that may wait for the slowest reader of what is not stored."""
PIECE = 64 * 1024
"""Bytes that are read from a store at once."""

_log = logging.getLogger("l7lb")


class Fetch:
    """A request that goes to the backend in place of those of its readers.

    Args:
        exchange: its own record, which nobody logs.

        target: the request target.

        headed: called when the response head has come, before anybody sees it; it may call `keep` or `refer`.

    Attributes:
        status, fields: of the response, once there is one; 0 before.

        stored: its head in the store, whether or not its end will be stored; None for what may not be shared.

        why: why it may not be.

        kept: what was validated, and is to be served instead of the response.

        size: bytes of the body so far.

        done: the response is complete.

        error: why it will not be.

        purges: how many there had been when it began.
    """

    concurrent = True
    ready = True
    upgrade: tuple[bytes, ...] = ()
    expects = False
    tls = None

    def __init__(self, exchange: Exchange, target: bytes, headed: Callable[[Fetch], Awaitable[None]]) -> None:
        self.exchange = exchange
        self.target = target
        self._headed = headed
        self.status = 0
        self.fields: Fields = []
        self.stored: Stored | None = None
        self.why = ""
        self.kept: Kept | None = None
        self.size = 0
        self.done = False
        self.error: ProxyError | None = None
        self.committed = False
        self.purges = 0
        self._head = False
        self._writer: Writer | None = None
        self._written = 0
        self._overflown = False
        self._passing: deque[tuple[int, bytes]] = deque()
        self._readers: set[Reader] = set()
        self._first: Reader | None = None
        self._trailers: Sequence[Field] = ()
        self._waiting: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None
        self._gone: Callable[[], None] | None = None
        self._over = False

    @property
    def headed(self) -> bool:
        """Whether it is known what the response is, or that there is none."""
        return self._head or self.error is not None

    @property
    def joinable(self) -> bool:
        """Whether who comes now can have it from its first byte on."""
        return not self._over and not self._overflown and (not self._head or self._writer is not None)

    def keep(self, stored: Stored, writer: Writer) -> None:
        """Store it while it comes in."""
        self.stored = stored
        self._writer = writer

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Fetch, to the end."""
        try:
            await app(scope, self.receive, self.send)
            if not self.done:
                self.error = ClientGone("nobody wanted it any more")
        except ProxyError as error:
            self.error = error
        except Exception as fault:
            _log.exception("a defect of ours, please report it")
            self.error = InternalError(type(fault).__name__)
        except asyncio.CancelledError:
            self.error = ClientGone("cancelled")
            raise
        finally:
            if self.error is not None:
                self.error.__traceback__ = self.error.__cause__ = self.error.__context__ = None
            self._over = True
            self._wake()
            self._let_go()

    # In place of a client...

    async def receive(self) -> Message:
        """There is no body."""
        return {"type": "http.request", "body": b"", "more_body": False}

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Call *gone* when nobody wants the response any more."""
        self._gone = gone

    def hint(self, status: int, fields: Fields) -> None:
        """Pass a 1xx response to the first reader; it is not stored."""
        if self._first is not None:
            self._first.hint(status, fields)

    def abort(self) -> None:
        """It is incomplete, which `error` says."""

    async def send(self, message: Message) -> None:
        """Take a part of the response."""
        if message["type"] == "http.response.start":
            fields: Fields = message["headers"]
            own = len(self.exchange.fields)  # what the way added for this client alone: whoever has it shall tell it
            self.fields = fields[:-own] if own else fields
            self.status = message["status"]
            await self._headed(self)
            self._head = True
            self._wake()
            return
        if piece := message.get("body", b""):
            await self._take(piece)
        if not message.get("more_body", False):
            self._trailers = message.get("lb.trailers", ())
            await self._end()

    async def _take(self, piece: bytes) -> None:
        if self._writer is not None and not self._overflown:
            if await self._writer.write(piece):
                self._written += len(piece)
                self.size = self._written
                self._wake()
                return
            self._overflown = True
        self._passing.append((self.size, piece))
        self.size += len(piece)
        self._wake()
        while self.size - self._slowest() > WINDOW:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        if not self._readers:
            self._forget()

    async def _end(self) -> None:
        stored = self.stored
        if self._writer is not None and not self._overflown and stored is not None:
            whole = not stored.partial or self.size == stored.end - stored.start
            self.committed = whole and await self._writer.commit()
        self.done = True
        self._wake()

    # Its readers...

    def join(self, reader: Reader) -> None:
        """Someone reads along."""
        self._readers.add(reader)
        self._first = self._first or reader

    def leave(self, reader: Reader) -> None:
        """Someone does not any more."""
        self._readers.discard(reader)
        if self._first is reader and not self._head:  # no hint for who is not there
            self._first = None
        self._give_room()
        if not self._readers and not self._over and not (self._writer is not None and not self._overflown):
            self._over = True  # what is being stored goes on
            self._forget()
        self._let_go()

    def trailers_of(self, reader: Reader) -> Sequence[Field]:
        """The trailers, for the first reader, whose request it was that said that it takes them."""
        return self._trailers if reader is self._first else ()

    async def changed(self, waiter: asyncio.Future[None]) -> None:
        """Wait until something has come, or *waiter* is ended from outside."""
        self._waiting.append(waiter)
        await waiter

    async def read(self, offset: int) -> bytes:
        """What has come from *offset* on, some of it; it is below `size`. Raises Lost."""
        if offset < self._written:
            assert self._writer is not None
            return await self._writer.read(offset, PIECE)
        for start, piece in self._passing:
            if offset < start + len(piece):
                return piece[offset - start :] if offset > start else piece
        raise AssertionError("nobody who reads is behind what is kept")

    def passed(self) -> None:
        """A reader has had a piece."""
        if self._passing:
            slowest = self._slowest()
            while self._passing and self._passing[0][0] + len(self._passing[0][1]) <= slowest:
                self._passing.popleft()
            self._give_room()

    def _slowest(self) -> int:
        return min((reader.offset for reader in self._readers), default=self.size)

    def _give_room(self) -> None:
        if self._room is not None and not self._room.done() and self.size - self._slowest() <= WINDOW:
            self._room.set_result(None)

    def _forget(self) -> None:
        """Nobody wants it."""
        self._passing.clear()
        if self._gone is not None:
            gone, self._gone = self._gone, None
            gone()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _let_go(self) -> None:
        if self._over and not self._readers and self._writer is not None:
            self._writer.close()


class Reader:
    """One client that takes what a fetch brings, from *offset* on.

    Attributes:
        offset: how much of the body it has had.
    """

    __slots__ = ("_fetch", "_gone", "_waiter", "_watched", "offset")

    def __init__(self, fetch: Fetch, watched: ClientConnection) -> None:
        self.offset = 0
        self._fetch = fetch
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None
        self._watched = watched
        fetch.join(self)
        watched.watch(self.client_gone)

    def client_gone(self) -> None:
        """Its client has gone."""
        self._gone = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def head(self, patience: float) -> bool:
        """Wait for the response head; False when it does not come in *patience* seconds. Raises ClientGone."""
        fetch = self._fetch
        if not fetch.headed:
            try:
                async with asyncio.timeout(patience):
                    while not fetch.headed:
                        await self._wait()
            except TimeoutError:
                return False
        return True

    async def read(self) -> bytes:
        """The next piece; b"" at the end. Raises ClientGone, Lost, and what the fetch failed with."""
        fetch = self._fetch
        while self.offset >= fetch.size:
            if fetch.done:
                return b""
            if fetch.error is not None:
                raise again(fetch.error)
            await self._wait()
        if self._gone:
            raise ClientGone("the client went away before the response was complete")
        piece = await fetch.read(self.offset)
        self.offset += len(piece)
        fetch.passed()
        return piece

    @property
    def trailers(self) -> Sequence[Field]:
        """What its client gets behind the body."""
        return self._fetch.trailers_of(self)

    def hint(self, status: int, fields: Fields) -> None:
        """Pass a 1xx response on."""
        if not self._gone:
            self._watched.hint(status, fields)

    @property
    def last(self) -> bool:
        """Whether it has had everything."""
        return self._fetch.done and self.offset >= self._fetch.size

    def leave(self) -> None:
        """Read no further."""
        self._watched.watch(None)
        self._fetch.leave(self)

    async def _wait(self) -> None:
        if not self._gone:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._fetch.changed(self._waiter)
            self._waiter = None
        if self._gone:
            raise ClientGone("the client went away before the response was complete")


def again(error: ProxyError) -> ProxyError:
    """The same error, to be raised for another client."""
    copy = type(error)(error.detail, sent=error.sent, retry_after=error.retry_after)
    copy.begun = error.begun
    return copy
