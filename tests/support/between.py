"""The whole balancer in memory, between a client that sends any bytes and backends that read by h11.

`Between.play` sends a stream through l7lb, has h11 read the same, and says where the two do not agree: on how many
requests there are, what they are, and where each of them ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import h11
from uvicorn import Config
from uvicorn.server import ServerState

from app.compose import create_app
from app.edge.link import STATE_KEY
from app.edge.protocol import EdgeProtocol
from settings import Settings
from tests.edge.harness import INET, Transport

_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
BACKEND = b"127.0.0.1:9"
"""Where the backend is: the Host of a request of HTTP/1.0 that has none."""

TRAILER = b"x"
"""A field that may go on as a trailer."""

_SPACES = re.compile(rb" +")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL)


class Read(NamedTuple):
    """A request as somebody has read it, in origin form."""

    method: bytes
    target: bytes
    host: bytes
    body: bytes
    trailers: tuple[bytes, ...]
    """Values of that which may go on; of another name nothing may."""


class Reader:
    """A server that reads by h11 and answers each request at once.

    Args:
        lenient: read what llhttp reads and h11 refuses, where no backend gets to see it: empty lines before
            a request (RFC 9112 section 2.2), and more than one space between the parts of its line (section 3).

    Attributes:
        refused: why nothing more is read; None as long as it is.

        closed: what it read last was the last one.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self.requests: list[Read] = []
        self.refused: str | None = None
        self.closed = False
        self._begin(b"")

    def _begin(self, data: bytes) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._head: h11.Request | None = None
        self._body = b""
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._lenient and self.between:
            line, end, rest = data.lstrip(b"\r\n").partition(b"\r\n")
            data = _SPACES.sub(b" ", line) + end + rest
        if data:
            self._h11.receive_data(data)

    def feed(self, data: bytes) -> list[Read]:
        """The requests that have come to their end by that."""
        before = len(self.requests)
        if self.refused is None and not self.closed:
            self._receive(data)
            try:
                while not self.closed and self._next():
                    pass
            except h11.RemoteProtocolError as error:
                self.refused = str(error)
        return self.requests[before:]

    def welcome(self) -> bool:
        """Whether a client waits for a Continue; asked once, it does so no more."""
        waits = self._h11.they_are_waiting_for_100_continue
        if waits:
            self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
        return waits

    @property
    def between(self) -> bool:
        """Whether nothing has come of a request that has not ended."""
        return self._head is None and not self._h11.trailing_data[0]

    def _next(self) -> bool:
        event = self._h11.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return False
        if isinstance(event, h11.Request):
            self._head = event
        elif isinstance(event, h11.Data):
            self._body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert self._head is not None
            self.requests.append(_seen(self._head, self._body, event))
            rest = self._h11.trailing_data[0]
            if self._head.method == b"CONNECT":
                self.closed = True
                return False
            self._h11.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
            self._h11.send(h11.EndOfMessage())
            self.closed = self._h11.our_state is not h11.DONE
            if not self.closed:
                self._begin(rest)
        return True


def _seen(head: h11.Request, body: bytes, end: h11.EndOfMessage) -> Read:
    target, host = head.target, next((value for name, value in head.headers if name == b"host"), BACKEND)
    if absolute := _ABSOLUTE.fullmatch(target):
        host, target = absolute[1], absolute[2]
        if not target:
            target = b"*" if head.method == b"OPTIONS" else b"/"
        elif target[:1] == b"?":
            target = b"/" + target
    trailers = tuple(bytes(value) for name, value in end.headers if name == TRAILER)
    return Read(head.method, target, host, body, trailers)


class _Backend(Transport):
    """A connection to a backend: what is written to it is read by h11, and answered."""

    def __init__(self, connection: Any) -> None:
        super().__init__(INET)
        self.protocol = connection
        self.reader = Reader()
        connection.connection_made(self)

    def write(self, data: Any) -> None:
        super().write(data)
        for seen in self.reader.feed(bytes(data)):
            body = b"" if seen.method == b"HEAD" else b"ok"
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body
            self._say(answer)
        if self.reader.welcome():
            self._say(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _say(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        hear = self.protocol.data_received  # type: ignore[union-attr]
        loop.call_soon(loop.call_soon, hear, data)  # no network answers before who has asked goes on


class Between:
    """One balancer, whose only group is everything.

    Args:
        driver: how it carries ordinary requests.

    Attributes:
        passed: requests that backends have read.
    """

    def __init__(self, driver: str) -> None:
        settings = Settings.model_validate(
            {
                "groups": {"all": {"path": "/", "pool": "main", "request_trailers": TRAILER.decode()}},
                "pools": {"main": {"backends": [{"url": f"http://{BACKEND.decode()}"}], "health": {"kind": "none"}}},
                "log": {"format": "off"},
                "edge": {"driver": driver},
            }
        )
        app = create_app(settings)
        self._loop = asyncio.get_running_loop()
        self._loop.create_connection = self._connect  # type: ignore[method-assign]
        self._running = app.router.lifespan_context.keywords["running"]  # type: ignore[attr-defined]
        self._running.client.upstream.start()
        self._config = Config(app, log_config=None, proxy_headers=False)
        self._config.load()
        self._backends: list[_Backend] = []
        self.passed = 0

    async def _connect(self, factory: Any, *_: Any, **__: Any) -> tuple[_Backend, Any]:
        connection = factory()
        backend = _Backend(connection)
        self._backends.append(backend)
        return backend, connection

    async def aclose(self) -> None:
        """Cut all connections."""
        await self._running.client.upstream.aclose()

    async def play(self, pieces: Iterable[bytes]) -> str:
        """Where h11 and l7lb do not agree on a stream that comes in *pieces*; nothing when they do."""
        pieces = list(pieces)
        alone = Reader(lenient=True)
        alone.feed(b"".join(pieces))
        self._backends = [backend for backend in self._backends if not backend.closed][-1:]
        for backend in self._backends:
            backend.written.clear()
            backend.reader.requests.clear()
        client = Transport(INET)
        edge = client.protocol = EdgeProtocol(
            self._config, ServerState(), {STATE_KEY: self._running.link}, self._loop
        )  # fmt: skip
        edge.connection_made(client)
        for piece in pieces:
            if client.closed:
                break
            edge.data_received(piece)
            await self._settled()
        await self._settled()
        statuses = [int(status) for status in _ANSWER.findall(b"".join(client.written))]
        found = self._disagreement(alone, statuses, client)
        if not client.closed:
            client.lose(None)
        await self._settled()
        return found

    async def _settled(self) -> None:
        """Nobody has anything to do until more bytes come."""
        ready = self._loop._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)

    def _disagreement(self, alone: Reader, statuses: list[int], client: Transport) -> str:
        for backend in self._backends:
            if backend.reader.refused is not None:
                return f"h11 refuses what was sent to a backend: {backend.reader.refused}: {backend.written}"
        seen = [request for backend in self._backends for request in backend.reader.requests]
        self.passed += len(seen)
        expected, passed = iter(alone.requests), iter(seen)
        for number, status in enumerate(statuses):
            wanted = next(expected, None)
            if status != 200:
                continue
            found = next(passed, None)
            if found != wanted:
                return f"request {number}: h11 reads {wanted} ({alone.refused}), a backend {found}"
        if left := next(passed, None):
            return f"a backend read what nobody got an answer to: {left}"
        if (left := next(expected, None)) and not client.closed and not client.eof:
            return f"nothing was answered to {left}; {statuses}"
        return ""
