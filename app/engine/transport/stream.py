"""One stream of an HTTP/2 connection: one exchange, both ways under flow control. RFC 9113 sections 5 and 8.

    taken --start()--> open --END_STREAM of either side--> half closed --of the other, too--> closed
      RST_STREAM of either side, what may not come, a deadline, fail(), cut(), the connection's end: closed

What the client has not taken is not credited, so that the backend stops after a window of it; nobody else waits for
that. What the backend does not take waits here, one piece at most, and so does the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Final

from app.domain.errors import (
    ConnectionTerminated,
    ProxyError,
    ResponseHeadTooLarge,
    ResponseIncomplete,
    ResponseInvalid,
    StreamRefused,
)
from app.domain.headers import Field, Fields, response_head
from app.domain.http2 import frames
from app.domain.http2.heads import check, response_of
from app.engine.transport.carrier import MAX_INTERIM, Carrier

if TYPE_CHECKING:
    from app.engine.transport.session import Session

_BODILESS: Final = frozenset({204, 304})


class Stream(Carrier):
    """A stream, or a place for one until `start`.

    Attributes:
        id: 0 before it is open.

        window: bytes that the backend takes of us.

        end: trailers of the request; None while more of it follows. What is *pending* from *sent* on waits for windows.

        ended: our half is closed.

        opened: when the session had heard something last, when it was open.

        credit: bytes that the backend may still send us.
    """

    __slots__ = (
        "_drained", "_head_only", "_left", "_window", "credit", "end", "ended", "id", "opened", "pending", "sent",
        "session", "window",
    )  # fmt: skip

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop, window: int) -> None:
        super().__init__(loop)
        self.session = session
        self.id = 0
        self.window = 0
        self.pending = b""
        self.sent = 0
        self.opened = 0.0
        self.end: Sequence[Field] | None = None
        self.ended = False
        self.credit = self._window = window
        self._left = -1
        self._head_only = False
        self._drained: asyncio.Future[None] | None = None

    # One exchange...

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
        """See `Carrier.start`; how long the body is, is for END_STREAM to say."""
        self.done = False
        self.uploading = end is None
        self._head_only = head_only
        self._until = self._quiet = until
        self.deadline = min(until, deadline)
        self.pending = body
        self.end = end
        self.session.open(self, head)

    async def write(self, piece: bytes, end: Sequence[Field] | None, now: float) -> None:
        """See `Carrier.write`."""
        if self.error is not None or self.done:
            return
        self.pending = self.pending[self.sent :] + piece  # what is left is of `start`
        self.sent = 0
        self.end = end
        self.session.pump(self)
        if self.sent < len(self.pending):
            self._drained = self.loop.create_future()
            await self._drain(self._drained, now)

    def drained(self) -> None:
        """All that was pending has gone, or nobody wants it."""
        drained = self._drained
        if drained is not None:
            self._drained = None
            if not drained.done():
                drained.set_result(None)

    @property
    def buffered(self) -> int:
        """See `Swept`."""
        return self.waiting + len(self.pending) - self.sent

    def cut(self) -> None:
        """Tell the backend that nobody wants it any more."""
        self.session.cancel(self, frames.CANCEL)

    def close(self) -> None:
        """As `cut`."""
        self.cut()

    def expire(self, now: float) -> None:
        """The deadline has passed; a connection on which nothing at all came meanwhile is not trusted any more."""
        if not self.done:
            self.session.doubt(self)
        super().expire(now)

    def _need(self) -> None:
        used = self._window - self.credit
        if used >= self._window >> 1 and not self.done:
            self.credit = self._window
            self.session.send(frames.window_update(self.id, used))

    # What comes, as the session hands it on...

    def take_head(self, fields: Fields, ends: bool) -> None:
        """A block of fields: 1xx, the response head, or its trailers. Raises ProxyError for what it may not be."""
        self._received = True
        if self.head_done:
            self._take_trailers(fields, ends)
            return
        most = self.session.owner
        if len(fields) > most.max_headers or sum([len(n) + len(v) + 4 for n, v in fields]) > most.max_header_bytes:
            raise ResponseHeadTooLarge("the response head is too large")
        status, rest = response_of(fields)
        if status < 200:
            self._take_interim(status, rest, ends)
            return
        self.fields, _, self.sized, self.dated = response_head(rest)
        self.status = status
        if self.sized:
            length = next(value for name, value in self.fields if name == b"content-length")
            if not length.isdigit() or len(length) > 18:
                raise ResponseInvalid("a Content-Length that is none")
            self._left = int(length)
        if self._head_only or status in _BODILESS:
            self._left = 0
        self.head_done = True
        self.deadline = self._until
        if ends:
            self._finish()
        self.session.news[self] = None

    def _take_interim(self, status: int, rest: Fields, ends: bool) -> None:
        self._interim += 1
        if ends or status == 101 or self._interim > MAX_INTERIM:
            raise ResponseInvalid("an interim response that ends it, switches, or is one too many")
        if status == 100:
            self._continue()
        else:
            fields = response_head(rest)[0]
            self.hints.append((status, [field for field in fields if field[0] != b"content-length"]))
            self.session.news[self] = None

    def _take_trailers(self, fields: Fields, ends: bool) -> None:
        if not ends or any(name.startswith(b":") for name, _ in fields):
            raise ResponseInvalid("trailers that do not end it, or with what belongs to the head")
        check(fields)
        owner = self.session.owner
        for name, value in fields:
            self._trail(name, value, owner.max_headers, owner.max_header_bytes)
        self._finish()
        self.session.news[self] = None

    def take_data(self, data: bytes, size: int, ends: bool) -> None:
        """A piece of the body; *size* is what it counts, padding included. Raises ProxyError, Broken."""
        self.credit -= size
        if self.credit < 0:
            raise frames.Broken(frames.FLOW_CONTROL_ERROR, "more than the window of the stream")
        if not self.head_done:
            raise ResponseInvalid("a body before its head")
        if data:
            if self._left >= 0:
                self._left -= len(data)
                if self._left < 0:
                    raise ResponseInvalid("more of a body than the response says")
            self._chunks.append(data)
            self._size += len(data)
        if ends:
            self._finish()
        elif size and not data:
            self.credit += size  # all padding: nobody will take it
            self.session.send(frames.window_update(self.id, size))
        if data or ends:
            self.session.news[self] = None

    def _finish(self) -> None:
        """END_STREAM. Raises ResponseInvalid when it is too early."""
        if self._left > 0:
            raise ResponseInvalid("less of a body than the response says")
        self.done = True

    def wake(self) -> None:
        """Tell whoever waits for what has come."""
        self._wake()

    def refuse(self, code: int) -> None:
        """RST_STREAM: what that means depends on how far it has got."""
        if self.done:
            return
        said = frames.named(code)
        if code == frames.REFUSED_STREAM and not self._received:
            self.lose(StreamRefused("the backend refused the stream"))
        elif self.head_done:
            self.lose(ResponseIncomplete(f"the backend reset the stream in the middle of its response: {said}"))
        else:
            self.lose(ConnectionTerminated(f"the backend reset the stream: {said}"))

    def lose(self, error: ProxyError | None = None) -> None:
        """It is over before its end: with *error*, or because the connection is."""
        self.reusable = False
        if not self.done and self.error is None:
            self.error = error if error is not None else self._lost()
            self.error.begun = self._received
        self.deadline = inf
        self._wake()
        self.drained()
