"""One exchange as the app sees it: `receive`, `send`, and what our app may ask beside them (`watch`, `abort`).

The response, as a state machine:

    NEW --start--> HELD --first body--> BODY --last body--> complete
                     (head and first body leave in one write; the head alone, where no body comes until the next sweep)

`gone` (the client closed, or was cut) ends it from any state: `send` is then silent and `receive` says
`http.disconnect`, as ASGI 2.3 has it.
It is longer than most modules because the two halves share the connection's state, which one file has to show.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from app.domain.errors import BodyTimeout, InternalError, ProxyError
from app.edge.sweep import AT_ONCE, NEVER
from app.edge.wire import CHUNKED, CLOSE, CONTINUE, STATUS_LINES, block, interim, refusal

if TYPE_CHECKING:
    from app.edge.head import Headers
    from app.edge.protocol import EdgeProtocol

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

HIGH_WATER: Final = 65536
"""Bytes of request body that wait for the app before the client is made to wait."""
COPY_BELOW: Final = 65536
"""Bytes up to which joining head and body is cheaper than a second buffer."""

_OURS: Final = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive"))
_CHUNK_END: Final = {(True, True): b"\r\n", (True, False): b"\r\n0\r\n\r\n", (False, False): b"0\r\n\r\n"}
_NEW: Final = 0
_HELD: Final = 1
_BODY: Final = 2
_CLOSE_DELIMITED: Final = 0
_LENGTH: Final = 1
_CHUNKED: Final = 2
_BODYLESS: Final = 3

logger = logging.getLogger("l7lb.edge")


class Cycle:
    """One request and its response on a connection.

    Attributes:
        target: the request target in origin form, as sent.

        keep_alive: another request may follow on this connection.

        complete: the response is written to its end.

        gone: the client cannot get any more of it.

        body_done: the request body has arrived to its end.

        upgrade: the protocols that the client would rather speak, lower-cased; () for none.

        expects: the client waits for 100 Continue with its body.

        trailers: of the request, once its body is done; they are in the last message that has some of it.
    """

    concurrent = True
    __slots__ = (
        "_chunks", "_connection", "_framing", "_head", "_head_only", "_http11", "_left", "_more",
        "_problem", "_size", "_stage", "_waiter", "_watcher", "body_done", "complete", "expects", "gone", "keep_alive",
        "target", "task", "trailers", "upgrade",
    )  # fmt: skip

    def __init__(
        self,
        connection: EdgeProtocol,
        target: bytes,
        head_only: bool,
        http11: bool,
        keep_alive: bool,
        expects: bool,
        upgrade: tuple[bytes, ...],
    ) -> None:
        self._connection = connection
        self.upgrade = upgrade
        self.target = target
        self._head_only = head_only
        self._http11 = http11
        self.expects = expects
        self.trailers: Headers | None = None
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None] | None = None
        # the request
        self._chunks: list[bytes] = []
        self._size = 0
        self._more = True
        self._problem: ProxyError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._watcher: Callable[[], None] | None = None
        self.body_done = False
        # the response
        self._stage = _NEW
        self._head = b""
        self._framing = _CLOSE_DELIMITED
        self._left = 0
        self.complete = False
        self.gone = False

    async def run(self, app: App, scope: dict[str, Any]) -> None:
        """Let *app* answer. Whatever it does, the connection is answered or cut when this returns."""
        try:
            await app(scope, self.receive, self.send)
            if not self.complete and not self.gone:
                raise RuntimeError("the app returned without a complete response")
        except Exception as error:
            self._fail(error)
        finally:
            if not self.complete and not self.gone:
                self.abort()
            self._connection.tasks.discard(self.task)

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, ProxyError):
            logger.error("the app failed", exc_info=error)
        if self.gone or self._stage != _NEW:
            return
        known = error if isinstance(error, ProxyError) else InternalError()
        connection = self._connection
        self.keep_alive = False
        self.complete = True
        self._watcher = None
        connection.transport.write(refusal(known, connection.server_state.default_headers, head_only=self._head_only))
        connection.completed(self)

    # What the app calls...

    @property
    def tls(self) -> Any:
        """The client's TLS, an `ssl.SSLObject`; None over plain TCP."""
        return self._connection.transport.get_extra_info("ssl_object")

    @property
    def ready(self) -> bool:
        """Whether `receive` would return, or raise, at once."""
        return bool(self._chunks or self.body_done or self.gone or self._problem)

    @property
    def waiting(self) -> int:
        """Bytes of the request body that nobody has asked for yet."""
        return self._size

    async def receive(self) -> Message:
        """The next piece of the request body, then `http.disconnect`.

        Raises BodyTimeout when the client stalls, BadRequest when what follows is no body.
        """
        connection = self._connection
        if self._stage == _HELD:
            connection.transport.write(self._flush())
        while True:
            if self.gone or self.complete:
                return {"type": "http.disconnect"}
            if self._problem is not None:
                raise self._problem
            chunks = self._chunks
            if chunks:
                body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                self._chunks = []
                self._size = 0
                self._more = not self.body_done
                connection.resume_reading()
                if self.trailers and not self._more:
                    return {"type": "http.request", "body": body, "more_body": False, "lb.trailers": self.trailers}
                return {"type": "http.request", "body": body, "more_body": self._more}
            if self.body_done:
                if self._more:
                    self._more = False
                    return {"type": "http.request", "body": b"", "more_body": False, "lb.trailers": self.trailers or ()}
            else:
                if self.expects and self._stage == _NEW:
                    connection.transport.write(CONTINUE)
                self.expects = False
                connection.await_body()
            self._waiter = connection.loop.create_future()
            await self._waiter

    async def send(self, message: Message) -> None:
        """Write a part of the response. Waits while the client reads slowly; silent when it has gone.

        Raises RuntimeError when the messages do not make a response, and ValueError for a field that is not one.
        """
        connection = self._connection
        while connection.drained is not None:
            await connection.drained
        if self.gone:
            return
        kind = message["type"]
        if kind == "http.response.body":
            more = message.get("more_body", False)
            trailers = message["lb.trailers"] if "lb.trailers" in message else ()  # noqa: SIM401  # a call
            self._write(message.get("body", b""), more, trailers)
        elif kind == "http.response.start" and self._stage == _NEW:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def hint(self, status: int, fields: Headers) -> None:
        """Send a 1xx response, where the client understands one, and takes it at once."""
        connection = self._connection
        if self._http11 and self._stage == _NEW and not self.gone and connection.drained is None:
            connection.transport.write(interim(status, fields))

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Call *gone* once, as soon as the client has gone before the response is complete: now, if it has already."""
        if gone is not None and self.gone:
            gone()
        else:
            self._watcher = gone

    async def switch(
        self, fields: Headers, upgrade: bytes, heir: asyncio.BaseProtocol
    ) -> tuple[asyncio.Transport, bytes, Callable[[Exception | None], None]] | None:
        """Answer 101 with *fields*, and give the connection away to *heir*, which calls the last part at its end.

        Returns None when the client has gone; else the transport, and what has come of the other protocol already.
        """
        connection = self._connection
        while connection.drained is not None:
            await connection.drained
        if self.gone:
            return None
        assert self._stage == _NEW
        lines = [b"HTTP/1.1 101 Switching Protocols", *map(b": ".join, connection.server_state.default_headers)]
        lines += [b": ".join(field) for field in fields if field[0] not in _OURS]
        lines += [b"connection: upgrade", b"upgrade: " + upgrade]
        self.complete = True
        self._watcher = None
        return connection.transport, connection.switch(block(lines), heir), connection.connection_lost

    def abort(self) -> None:
        """Cut the connection: what the client has got can then not be taken for a whole response."""
        if self.complete or self.gone:
            return
        connection = self._connection
        if self._stage == _HELD:
            connection.transport.write(self._flush())
        self.gone = True
        self._watcher = None
        if self._waiter is not None:
            self._wake()
        connection.cut(reset=self._stage == _BODY and self._framing == _CLOSE_DELIMITED)

    # What the connection calls...

    def flush(self) -> None:
        """The first piece of the response lets itself be waited for: the client may know of the rest."""
        if not self.gone:
            self._connection.transport.write(self._flush())

    def feed(self, data: bytes) -> None:
        """A piece of the request body has come."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER:
            self._connection.pause_reading()
        if self._waiter is not None:
            self._wake()

    def end(self) -> None:
        """The request body is complete."""
        self.body_done = True
        if self._waiter is not None:
            self._wake()

    def stalled(self) -> bool:
        """The request body has not come for a while. Returns whether the app was waiting for it."""
        if self._waiter is None:
            return False
        self.spoil(BodyTimeout("the request body stopped arriving"))
        return True

    def spoil(self, problem: ProxyError) -> None:
        """The request body cannot be completed."""
        self._problem = problem
        self.keep_alive = False
        if self._waiter is not None:
            self._wake()

    def disconnect(self) -> None:
        """The client has gone."""
        if self.complete or self.gone:
            return
        self.gone = True
        if self._waiter is not None:
            self._wake()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The response on the wire...

    def _start(self, status: int, headers: Any) -> None:
        connection = self._connection
        lines = [STATUS_LINES[status]]
        if defaults := connection.server_state.default_headers:
            lines += map(b": ".join, defaults)
        length = b""
        for pair in headers:
            name = pair[0]
            if name in _OURS:
                value = pair[1]
                if name == b"connection":
                    if b"close" in value.lower():
                        self.keep_alive = False
                    continue
                if name != b"content-length":
                    continue
                if length or not value.isdigit():
                    raise RuntimeError("a response needs one Content-Length, of digits")
                length = value
                if status == 204:  # RFC 9110 section 8.6 forbids it there
                    continue
            lines.append(b": ".join(pair))
        if self._head_only or status in (204, 304):
            self._framing = _BODYLESS
        elif length:
            self._framing = _LENGTH
            self._left = int(length)
        elif self._http11:
            self._framing = _CHUNKED
            lines.append(CHUNKED)
        if not self.body_done or connection.link.draining:
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(CLOSE)
        self._head = block(lines)
        self._stage = _HELD
        if self.body_done:  # else the deadline is that of the body
            connection.holding = self
            connection.read_deadline = AT_ONCE

    def _flush(self) -> bytes:
        connection = self._connection
        if connection.holding is not None:
            connection.holding = None
            connection.read_deadline = NEVER
        head, self._head = self._head, b""
        self._stage = _BODY
        return head

    def _write(self, body: bytes, more: bool, trailers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._stage == _NEW or self.complete:
            raise RuntimeError("unexpected ASGI message 'http.response.body'")
        framing = self._framing
        if framing == _LENGTH:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the response body is not as long as its Content-Length")
        elif framing == _BODYLESS:
            body = b""
        elif framing == _CHUNKED and (body or not more):
            prefix = b"%x\r\n" % len(body) if body else b""
            suffix = _CHUNK_END[bool(body), more]
            if trailers:
                suffix = suffix[:-2] + block([b": ".join(field) for field in trailers])
            if len(body) > COPY_BELOW:
                prefix = self._flush() + prefix if self._stage == _HELD else prefix
                self._connection.transport.writelines((prefix, body, suffix))
                body = b""
            else:
                body = prefix + body + suffix
        connection = self._connection
        if self._stage == _HELD:
            if len(body) > COPY_BELOW:
                connection.transport.writelines((self._flush(), body))
            else:
                connection.transport.write(self._flush() + body)
        elif body:
            connection.transport.write(body)
        if not more:
            self.complete = True
            self._watcher = None
            if self._waiter is not None:
                self._wake()
            connection.completed(self)
