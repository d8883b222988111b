"""What carries one exchange to a backend: a connection of HTTP/1.1, or a stream of HTTP/2. The response as it comes.

    start() --head--> body, taken piece by piece --end--> done
       a deadline, fail(), the connection's end: error

Deadlines are swept by the transport (`expire`): no timer is made for a request.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Final

from app.domain.errors import (
    ConnectionTerminated,
    ProxyError,
    ResponseHeadTooLarge,
    ResponseIdle,
    ResponseIncomplete,
    ResponseTimeout,
    StaleConnection,
    TotalTimeout,
)
from app.domain.headers import NEVER_TRAILERS, Field, Fields

MAX_INTERIM: Final = 32
"""1xx responses before one final response."""


class Carrier(ABC):
    """One exchange on its way.

    Attributes:
        status, fields, sized, dated: the response's end-to-end head, once `head_done`: see `response_head`.

        done: the response is complete.

        listener: called, instead of waking a coroutine, when the head or a piece has come, or the exchange has failed.

        trailers: of the response.

        hints: 1xx responses that nobody has taken yet.

        fresh: no exchange over its connection has ended yet.

        reusable: the connection may serve again after that.

        uploading: more of the request follows by `write`.

        deadline: monotonic seconds at which `expire` is due; of the idle wait, the response or the next piece.
    """

    __slots__ = (
        "_chunks", "_go_on", "_interim", "_quiet", "_received", "_size", "_trailed", "_until", "_waiter",
        "dated", "deadline", "done", "error", "fields", "fresh", "head_done", "hints", "idle_timeout",
        "listener", "loop", "reusable", "sized", "status", "trailers", "uploading", "write_timeout",
    )  # fmt: skip

    status: int
    fields: Fields
    sized: bool
    dated: bool

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.listener: Callable[[], None] | None = None
        self.reusable = True
        self.fresh = True
        self.done = True
        self.head_done = self._received = self.uploading = False
        self.error: ProxyError | None = None
        self.deadline = inf
        self._until = self._quiet = inf
        self.idle_timeout = self.write_timeout = inf
        self._chunks: list[bytes] = []
        self._size = 0
        self._interim = 0
        self.trailers: tuple[Field, ...] = ()
        self._trailed = 0
        self.hints: list[tuple[int, Fields]] = []
        self._go_on: asyncio.Future[None] | None = None

    @abstractmethod
    def start(
        self,
        head: bytes,
        head_only: bool,
        deadline: float,
        until: float,
        body: bytes = b"",
        end: Sequence[Field] | None = (),
        chunked: bool = False,
    ) -> None:
        """Send a request: its head and as much of its body as is there.

        Args:
            head: as HTTP/1.1 has it.

            head_only: the response has no body (HEAD).

            deadline: monotonic seconds for the response head; inf while more of the body follows.

            until: monotonic seconds for the whole exchange.

            body: what is there of it.

            end: its trailers; None when more of it follows by `write`.

            chunked: how long it is was not said.
        """

    @abstractmethod
    async def write(self, piece: bytes, end: Sequence[Field] | None, now: float) -> None:
        """Send a piece of the request body, and wait while the backend does not read; *end* as with `start`."""

    @abstractmethod
    def cut(self) -> None:
        """End what is going on without a word of why: nobody wants it any more."""

    @abstractmethod
    def close(self) -> None:
        """Close without an exchange."""

    @abstractmethod
    def _need(self) -> None:
        """All that has come was taken: let more come."""

    async def responded(self) -> bool:
        """Wait for the response head. False when *hints* came before it. Raises a ProxyError when none comes."""
        if not self.head_done and self.error is None:
            self._waiter = self.loop.create_future()
            await self._waiter
        if not self.head_done:
            if self.error is not None:
                raise self.error
            return False
        return True

    def take_hints(self) -> list[tuple[int, Fields]]:
        """The 1xx responses that have come: statuses and end-to-end fields."""
        hints, self.hints = self.hints, []
        return hints

    async def wanted(self, seconds: float) -> None:
        """Wait until the backend says Continue, for *seconds* at most."""
        self._go_on = self.loop.create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._go_on

    def take(self) -> bytes:
        """What has come of the body and was not taken yet; b"" is nothing."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks = []
        self._size = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    @property
    def finished(self) -> bool:
        """The response is complete and all of it was taken."""
        return self.done and not self._chunks

    @property
    def waiting(self) -> int:
        """Bytes of the body that have come and were not taken yet."""
        return self._size if self._chunks else 0

    async def more(self, now: float) -> bytes:
        """The next piece of the body; b"" at its end. Raises a ProxyError when it does not come to an end."""
        while not self._chunks and not self.done:
            if self.error is not None:
                raise self.error
            self._need()  # not before: what the client has not taken yet is enough to wait in memory
            deadline = now + self.idle_timeout
            self.deadline = self._quiet = deadline if deadline < self._until else self._until
            self._waiter = self.loop.create_future()
            await self._waiter
        self.deadline = self._quiet = self._until  # while the client takes this piece, the backend is not on the clock
        return self.take()

    async def _drain(self, drained: asyncio.Future[None], now: float) -> None:
        """Wait while the backend does not read. Who waits for its response meanwhile does so no longer for that."""
        self.deadline = min(now + self.write_timeout, self._quiet, self._until)
        await drained
        self.deadline = min(self._quiet, self._until)

    def uploaded(self, deadline: float) -> None:
        """The request is sent whole: from now on the response is due."""
        self.uploading = False
        if not self.head_done:
            self.deadline = deadline if deadline < self._until else self._until

    def fail(self, error: ProxyError) -> None:
        """End the exchange from outside: whoever waits gets *error*, and nothing more comes."""
        if self.error is None:
            self.error = error
            error.begun = self._received
        self.reusable = False
        self.cut()
        self._wake()

    def _lost(self) -> ProxyError:
        """What became of an exchange whose connection has gone: that depends on how far it had got."""
        if self.head_done:
            return ResponseIncomplete("the backend closed the connection in the middle of its response")
        if self._received:
            return ConnectionTerminated("the backend closed the connection in the middle of its head")
        return StaleConnection("the backend closed the connection without a response")

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        if self.done:
            self.close()
        elif now >= self._until:
            self.fail(TotalTimeout("the exchange took too long", sent=True))
        elif self.head_done:
            self.fail(ResponseIdle("the backend stopped sending"))
        elif self.uploading:
            self.fail(ResponseIdle("the backend stopped reading"))
        else:
            self.fail(ResponseTimeout("no response in time"))

    def _wake(self) -> None:
        waiter = self._waiter
        if self.listener is not None:
            self.listener()
        elif waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _continue(self) -> None:
        """The backend has said Continue."""
        if self._go_on is not None and not self._go_on.done():
            self._go_on.set_result(None)

    def _trail(self, name: bytes, value: bytes, most: int, most_bytes: int) -> None:
        """Keep a trailer, if it may be one, and there are not too many; whether it goes on is for the relay to say."""
        self._trailed += len(name) + len(value) + 4
        if len(self.trailers) >= most or self._trailed > most_bytes:
            raise ResponseHeadTooLarge("the trailers of the response are too large")
        if name not in NEVER_TRAILERS:
            self.trailers = (*self.trailers, (name, value.rstrip()))
