"""The HTTP protocol class that uvicorn runs for us: parsing by httptools, with the limits and deadlines it lacks.

What is being read, as a state machine; the response has its own in `cycle`:

    IDLE --first byte--> HEAD --blank line--> BODY --last byte--> IDLE
                          |                    |                   (or DEAF, when no other request may follow)
                          +----- refused ------+--> DEAF: what else comes is dropped

    MUTED  the parser, having seen `Upgrade`, takes the body for another protocol's; it is about to be told better
    HELD   a request with `Upgrade` and without a body is being answered: what else comes is kept until it is known what
           it is. A 101 gives the connection away with it (`switch`), any other answer makes requests of it, or nothing

    deadline    IDLE keep_alive (header_timeout for the first request), HEAD header_timeout, BODY body_timeout while the
                app waits, DEAF the lingering close. None while an exchange runs whose request is complete, but for
                the sweep that writes its response head (`holding`).

Requests that come before the response is complete wait in order; a refusal waits behind them. The module is longer than
most so that all transitions stand in one file.
"""

from __future__ import annotations

import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools

from app.domain.errors import BadRequest, HeadTimeout, HeadTooLarge, MethodNotAllowed, NotSupported, ProxyError
from app.domain.exchange import Exchange
from app.domain.headers import without_listed
from app.edge.connection import Connection
from app.edge.cycle import HIGH_WATER, App, Cycle
from app.edge.head import PLAIN, Headers, framing_of, offered, shown, split_target, with_host
from app.edge.link import STATE_KEY, Passed, Turn
from app.edge.sweep import NEVER
from app.edge.wire import CLOSE_LINE, STATUS_LINES, interim, refusal

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

PIPELINED: Final = 8
"""Requests that may wait for their turn while we still read, and so see that the client has gone."""
MAX_PIPELINED: Final = 64
"""Those of one piece may be more; the last of so many is answered with `connection: close`."""
CHUNK_OVERHEAD: Final = 24
"""Bytes that a chunk may need beside its data: a 64 bit size and two line ends, with something to spare."""
STOPPING: Final = 1.0
"""Seconds that a client has to finish its request head when we are about to stop, and that it is thought to need for
the next one after an answer."""

_FRAGMENT: Final = 0x23  # "#" by its number: looked for as bytes, it is taken for a number first, and that raises
_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_DEAF: Final = 3
_MUTED: Final = 4
_HELD: Final = 5
_NOBODYS: Final = httptools.HttpRequestParser(object())
_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\r\n")


class Overloaded(ProxyError):
    """uvicorn's `--limit-concurrency` is reached."""

    status = 503
    error_type = "http_request_denied"
    retry_after = 1.0


class EdgeProtocol(Connection):
    """One client's connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._parser = httptools.HttpRequestParser(self)
        self._asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self._root_path = config.root_path
        self._limit_concurrency = config.limit_concurrency
        self._max_head = self.settings.max_header_bytes
        self._max_fields = self.settings.max_headers
        self._state = _IDLE
        # the head being read
        self._url = b""
        self._headers: Headers = []
        self._fed = 0  # bytes being parsed
        self._at_start = False  # ... and nothing has come of them yet
        self._head_bytes = 0  # at most so many are of the head,
        self._foreign = 0  # so many of which may be of what stood before it
        self._head_timed = True  # the first request's time runs from the connection
        self._muting = PLAIN
        self._held: list[bytes] = []
        self._held_bytes = 0
        # the body being read
        self._reading: Cycle | None = None
        self._chunked = False
        self._padding = 0  # bytes of chunk sizes, extensions and trailers
        # the responses
        self._cycle: Turn | None = None
        self._queue: deque[tuple[Cycle, dict[str, Any]]] = deque()
        self.holding: Cycle | None = None  # has a response head that is not written yet
        self._refused: Exchange | None = None
        self._unread = False  # the client may still be sending what nobody will read
        self._stopping = False

    # What the event loop and uvicorn call...

    def data_received(self, data: bytes) -> None:
        """Parse."""
        fed = self._fed = len(data)
        state = self._state
        if state == _IDLE:
            self._at_start = True
        elif state == _HEAD:
            self._head_bytes += fed
        elif state == _BODY:
            self._padding += fed
        elif state == _HELD:
            self._hold(data)
            return
        else:
            self._unread = True
            self.discard(fed)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._behind_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._malformed(error, data)
        state = self._state
        if state == _BODY:
            if self._chunked:
                self._check_padding()
        elif state == _HEAD or self._at_start:
            self._await_head()

    def eof_received(self) -> bool:
        """A client that closes its side has gone, unless `half_close` lets it wait for what it asked."""
        last = self._queue[-1][0] if self._queue else self._cycle
        waits = last is not None and last.body_done and self._state in (_IDLE, _DEAF)
        if waits and last is not None and self.settings.half_close and self.scheme == "http":
            last.keep_alive = False
            self._state = _DEAF
            return True
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchanges, and forget the connection."""
        self._gone()
        super().connection_lost(exc)
        self._parser = _NOBODYS  # ours holds our methods: a cycle, which would wait for the collector

    @property
    def unoccupied(self) -> bool:
        """Whether it has no request that is complete, nor one whose body has begun to come."""
        return self._cycle is None and self._state in (_IDLE, _HEAD, _DEAF)

    @property
    def buffered(self) -> int:
        """Bytes that wait, for the client or for the app."""
        body = self._reading.waiting if self._reading is not None else 0
        return self.transport.get_write_buffer_size() + body + self._held_bytes

    def shutdown(self) -> None:
        """Called when uvicorn stops: finish what has begun, and what may be on its way already.

        That is the request of a new connection, and the next one of a client that was answered a moment ago: closed
        now, the connection would meet it with a reset.
        """
        self._stopping = True
        if self._cycle is not None:
            self._cycle.keep_alive = False
        elif self._state in (_IDLE, _HEAD):
            now = self.loop.time()
            since = now if self._state == _HEAD or self._head_timed else self.read_deadline - self.settings.keep_alive
            if since + STOPPING <= now:
                self.close()
            else:
                self.read_deadline = min(self.read_deadline, since + STOPPING)

    def read_late(self) -> None:
        """The head, the body or the next request did not come in time, or the first piece of a response."""
        if self.holding is not None:
            self.holding.flush()
        elif self._state == _HEAD:
            self._refuse(HeadTimeout("the request head did not arrive in time"))
        elif self._state == _BODY:
            if self._reading is not None and self._reading.stalled():
                self._state = _DEAF
        else:
            self.close()

    # What the parser calls...

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._state >= _DEAF:
            self._unread = True
            self._headers = []  # not the last scope's
            return
        self._state = _HEAD
        self._url = b""
        self._headers = []
        self._head_bytes = self._fed
        self._foreign = 0 if self._at_start else self._fed
        self._at_start = False

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers."""
        self._headers.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        """The head is complete: refuse it, or begin its exchange."""
        if self._state >= _DEAF:
            return
        parser = self._parser
        url = self._url
        headers = self._headers
        method = parser.get_method()
        version = parser.get_http_version()
        http11 = version == "1.1"
        try:
            if self._head_bytes > self._max_head or len(headers) > self._max_fields:
                self._check_size()
            if not http11 and version != "1.0":
                raise BadRequest("not HTTP/1.1")
            if method in (b"CONNECT", b"TRACE"):
                raise MethodNotAllowed("CONNECT and TRACE are not served")
            framing = framing_of(headers, http11)
            if framing.lists:
                headers = without_listed(headers)
            if self.identity is not None:
                headers = self.identity(headers)
            if url[:1] == b"/" and _FRAGMENT not in url:
                path, _, query = url.partition(b"?")
            else:
                authority, path, query = split_target(url, method)
                if authority is not None:
                    headers = with_host(headers, authority)
                url = path + url.partition(b"?")[1] + query
            upgrade: tuple[bytes, ...] = ()
            muted = False
            if framing.upgrade and parser.should_upgrade():
                muted = framing.chunked or framing.length > 0
                if muted:  # nobody needs that: it is a request like any other
                    self._muting = framing
                elif http11:
                    upgrade = offered(framing.upgrade)
            limit = self._limit_concurrency
            if limit is not None and (len(self.server_state.connections) > limit or len(self.tasks) >= limit):
                raise Overloaded("too many requests at once")
        except ProxyError as error:
            self._refuse(error)
            return
        self._head_timed = False
        self.read_deadline = NEVER
        keep_alive = http11 and not self._stopping and parser.should_keep_alive()
        if framing is PLAIN:
            direct = self.direct
            if direct is not None and self._cycle is None and self.drained is None:
                self._state = _IDLE if keep_alive else _DEAF
                if direct(self, method, url, headers, http11, keep_alive):
                    return
        else:
            self._chunked = framing.chunked
            self._padding = 0
            self._headers = []  # the trailers' place: the scope's list is finished
        self._state = _MUTED if muted else _BODY
        cycle = self._reading = Cycle(self, url, method == b"HEAD", http11, keep_alive, framing.expects, upgrade)
        scope = self._scope(cycle, method, path, query, headers, http11)
        if self._cycle is None:
            self._begin(cycle, scope)
        else:
            self._queue.append((cycle, scope))
            if len(self._queue) >= PIPELINED:
                self.pause_reading()
            if len(self._queue) == MAX_PIPELINED:
                cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """A chunk begins, or the trailers."""
        self._padding -= CHUNK_OVERHEAD

    def on_body(self, body: bytes) -> None:
        """A piece of a request body."""
        if self._state == _BODY and self._reading is not None:
            self._padding -= len(body)
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        cycle = self._reading
        if self._state != _BODY or cycle is None:
            return
        self._reading = None
        if self._chunked:
            self._chunked = False
            cycle.trailers = self._headers
        self.read_deadline = NEVER
        cycle.end()
        self._state = _HELD if cycle.upgrade else _IDLE if cycle.keep_alive else _DEAF

    # What a driver calls...

    def begin(self, passage: Passed) -> None:
        """Be busy with *passage*."""
        self._cycle = passage

    def answer(self, passage: Passed, status: int, lines: bytes, fields: Headers, body: bytes) -> None:
        """Write a whole response: its head is *lines*, which are made already, and *fields*.

        Both come from a parser or from us, so that there is no line end in a field.
        """
        if defaults := self.server_state.default_headers:
            fields = [*defaults, *fields]
        # not "% field": a pair that is written out is quicker, compiled
        lines += b"".join([b"%b: %b\r\n" % (name, value) for name, value in fields])
        if self.link.draining:
            passage.keep_alive = False
        close = b"" if passage.keep_alive else CLOSE_LINE
        self.transport.write(b"%b\r\n%b%b\r\n%b" % (STATUS_LINES[status], lines, close, body))
        self.completed(passage)

    def hint(self, passage: Passed, status: int, fields: Headers) -> None:
        """Write a 1xx response, where the client understands one."""
        if passage.http11:
            self.transport.write(interim(status, fields))

    def resume(self, passage: Passed, app: App) -> None:
        """Have *app* carry the rest of the exchange, by ASGI."""
        exchange = passage.exchange
        path, _, query = passage.target.partition(b"?")
        method = exchange.method.encode()
        cycle = Cycle(self, passage.target, method == b"HEAD", passage.http11, passage.keep_alive, False, ())
        cycle.end()
        scope = self._scope(cycle, method, path, query, passage.headers, passage.http11)
        scope["lb.exchange"] = exchange
        self._begin(cycle, scope, app)

    # What the exchange calls...

    def await_body(self) -> None:
        """The app waits for more of the request body."""
        self.resume_reading()
        self.read_deadline = self.loop.time() + self.settings.body_timeout

    def resume_reading(self) -> None:
        """Let the client go on, unless many of its requests wait already."""
        if self._reading_paused and len(self._queue) < PIPELINED:
            super().resume_reading()

    def completed(self, cycle: Turn) -> None:
        """The response is written: next request, or the end."""
        self.server_state.total_requests += 1
        self._cycle = None
        if not cycle.keep_alive:
            self._unread = self._unread or not cycle.body_done or self._reading_paused
            self._finish()
        elif self._queue:
            self._begin(*self._queue.popleft())
            self.resume_reading()
        elif self._refused is not None:
            self._answer(self._refused)
        elif self._state == _HELD:
            self._release()
        else:
            self.resume_reading()
            settings = self.settings
            timeout = settings.keep_alive if self._state == _IDLE else settings.header_timeout
            self.read_deadline = self.loop.time() + timeout
            self._head_timed = self._state == _HEAD

    def switch(self, head: bytes, heir: asyncio.BaseProtocol) -> bytes:
        """Write a 101 and give the connection away; what has come of the other protocol already."""
        self.server_state.total_requests += 1
        self.transport.write(head)
        self.transport.set_protocol(heir)
        super().resume_reading()
        self._parser = _NOBODYS
        data = b"".join(self._held)
        self._held = []
        return data

    # Inside...

    def _scope(
        self, cycle: Cycle, method: bytes, path: bytes, query: bytes, headers: Headers, http11: bool
    ) -> dict[str, Any]:
        decoded = path.decode("ascii")
        root_path = self._root_path
        return {
            "type": "http",
            "asgi": self._asgi,
            "http_version": "1.1" if http11 else "1.0",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": root_path,
            "headers": headers,
            "state": self.app_state.copy(),
            "method": method.decode("ascii"),
            "path": root_path + (unquote(decoded) if "%" in decoded else decoded),
            "raw_path": root_path.encode() + path if root_path else path,
            "query_string": query,
            "extensions": {STATE_KEY: cycle},
        }

    def _begin(self, cycle: Cycle, scope: dict[str, Any], app: App | None = None) -> None:
        self._cycle = cycle
        task = cycle.task = self.loop.create_task(cycle.run(app or self.app, scope))
        self.tasks.add(task)

    def _finish(self) -> None:
        """No response follows."""
        self._state = _DEAF
        self._reading = None
        self._unread = self._unread or bool(self._held)
        self._held = []
        self._queue.clear()
        if self.transport.is_closing():
            return
        if self._unread:
            self.linger()
        else:
            self.close()

    def _gone(self) -> None:
        self.holding = None
        self._queue.clear()
        self._refused = None
        self._reading = None
        cycle, self._cycle = self._cycle, None
        if cycle is not None:
            cycle.disconnect()

    def _await_head(self) -> None:
        """The head, or what may become one, is not complete."""
        if self._at_start:  # blank lines before a request are allowed, but not without end
            self._at_start = False
            self._state = _HEAD
            self._head_bytes = self._fed
            self._foreign = 0
            self._headers = []
        if self._head_bytes - self._foreign > self._max_head or len(self._headers) > self._max_fields:
            self._refuse(HeadTooLarge("the request head is too large"))
        elif not self._head_timed and self._cycle is None:
            self._head_timed = True
            self.read_deadline = self.loop.time() + self.settings.header_timeout

    def _check_size(self) -> None:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self._max_head or len(self._headers) > self._max_fields:
            raise HeadTooLarge("the request head is too large")

    def _check_padding(self) -> None:
        """Bound what comes beside the data of a chunked body: it is dropped, but it costs time."""
        if self._padding < 0:
            self._padding = 0
        elif self._padding > self._max_head:
            self._spoil(BadRequest("chunk extensions or trailers are too large"))

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HIGH_WATER:
            self.pause_reading()

    def _release(self) -> None:
        """There was no switch, and the connection goes on: what was held is requests."""
        data = b"".join(self._held)
        self._held = []
        self._held_bytes = 0
        self._state = _IDLE
        self.resume_reading()
        self.read_deadline = self.loop.time() + self.settings.keep_alive
        if data:
            self.data_received(data)

    def _behind_upgrade(self, rest: bytes) -> None:
        """The parser has stopped behind a head with Upgrade: hold the rest, or go on with the body or next request."""
        if self._state == _HELD:
            if rest:
                self._hold(rest)
            return
        if self._state == _MUTED:
            framing = self._muting
            self._parser = httptools.HttpRequestParser(self)
            field = b"transfer-encoding: chunked" if framing.chunked else b"content-length: %d" % framing.length
            self._parser.feed_data(b"POST / HTTP/1.1\r\n" + field + b"\r\n\r\n")
            self._headers = []
            self._state = _BODY
        if rest:
            self.data_received(rest)

    def _malformed(self, error: httptools.HttpParserError, data: bytes) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            raise error  # a defect of ours
        if self._state == _BODY:
            self._spoil(BadRequest("the request body is malformed"))
        elif self._state == _DEAF:
            self._unread = True
        else:
            unknown = isinstance(error, httptools.HttpParserInvalidMethodError) and self._foreign == 0
            if unknown and _REQUEST_LINE.match(data):
                self._refuse(NotSupported("a method that is not known"))
            else:
                self._refuse(BadRequest("not HTTP/1.1"))

    def _spoil(self, error: ProxyError) -> None:
        self._state = _DEAF
        self._unread = True
        self.read_deadline = NEVER
        cycle, self._reading = self._reading, None
        if cycle is not None:
            cycle.spoil(error)

    def _refuse(self, error: ProxyError) -> None:
        """Answer instead of the app, when all before has been answered."""
        host = next((value for name, value in self._headers if name == b"host"), b"")
        method = self._parser.get_method() if self._url else b""
        exchange = Exchange(
            time.monotonic(),
            self.client[0] if self.client else "unix",
            self.scheme,
            method.decode("ascii"),
            shown(host.lstrip(b"/")),
            shown(self._url),
        )
        exchange.status = error.status
        exchange.error = error
        self._state = _DEAF
        self._at_start = False
        self._unread = True
        if self._cycle is None:
            self._answer(exchange)
        else:
            self._refused = exchange

    def _answer(self, exchange: Exchange) -> None:
        self._refused = None
        assert exchange.error is not None
        answer = refusal(exchange.error, self.server_state.default_headers, head_only=exchange.method == "HEAD")
        self.transport.write(answer)
        exchange.first_byte = exchange.ended = time.monotonic()
        self._finish()
        self.link.refused(exchange)
