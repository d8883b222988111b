"""The whole balancer in memory, between a client that sends any bytes and backends that read by h11 and by zttp.

`Between.play` sends a stream through l7lb, has both read the same, and says where they do not agree: on how many
requests there are, what they are, and where each of them ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, Self

from uvicorn import Config
from uvicorn.server import ServerState

from app.compose import create_app
from app.edge.link import STATE_KEY
from app.edge.protocol import EdgeProtocol
from settings import Settings
from tests.edge.harness import INET, Transport
from tests.support.readers import BACKEND, TRAILER, ByH11, ByZttp, Read, Reader

_ANSWER = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")
_ZEROS = re.compile(rb"\n0{16}")
_FOR_ZEROS = re.compile(r"illegal chunk header: bytearray\(b'0{16}|malformed chunked encoding")
"""A chunk size that zttp refuses for its zeros, and h11 from 21 digits on; no backend gets to see it."""
_TIMERS = 1000
"""After so many streams the timers that are due have their turn."""
_KNOWN = 100_000
"""Spellings of requests that are remembered."""
_PROBE, _PROBED = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n", Read(b"GET", b"/probe", b"a", b"", ())
"""What zttp reads next where it has read to the end what came before."""


class _Loop(asyncio.SelectorEventLoop):
    """Runs without waiting for anything, and is quick: no system call but for timers."""

    def settle(self) -> None:
        """Until nobody has anything to do before more bytes come."""
        ready = self._ready  # type: ignore[attr-defined]
        while ready:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def due(self) -> None:
        """Let timers run that are due, and forget those that were cancelled."""
        asyncio._set_running_loop(None)
        self.call_soon(self.stop)
        self.run_forever()
        asyncio._set_running_loop(self)


class _Backend(Transport):
    """A connection to a backend: what is written to it is read twice, and answered.

    Args:
        known: what both have read before, by the bytes. Nearly all requests are forwarded in few spellings, so that
            reading them once is a quarter of the time.
    """

    def __init__(self, connection: Any, known: dict[bytes, list[Read]]) -> None:
        super().__init__(INET)
        self.protocol = connection
        self.requests: list[Read] = []
        self.differing = ""
        self._known = known
        self._readers: tuple[ByH11, ByZttp] | None = None  # None where a request may begin
        self._since = b""  # the last such place
        connection.connection_made(self)

    def write(self, data: Any) -> None:
        super().write(data)
        self._since += data
        seen = self._known.get(data) if self._readers is None else None
        if seen is None:
            seen = self._read(bytes(data))
        else:
            self._since = b""
        for request in seen:
            body = b"" if request.method == b"HEAD" else b"ok"
            self._say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
        self.requests += seen

    def _read(self, data: bytes) -> list[Read]:
        by_h11, by_zttp = self._readers = self._readers or (ByH11(), ByZttp())
        seen, other = by_h11.feed(data), by_zttp.feed(data)
        agreed = by_h11.agreed is None
        if by_h11.refused or (agreed and (by_zttp.refused or seen != other)):
            said = f"h11 reads {seen} ({by_h11.refused}), zttp {other} ({by_zttp.refused})"
            self.differing = self.differing or f"{said} of what was sent to a backend: {self._since!r}"
        elif seen and by_h11.between:
            if agreed and by_zttp.feed(_PROBE) != [_PROBED]:
                self.differing = f"zttp has not read to its end what was sent to a backend: {self._since!r}"
            if len(self._known) < _KNOWN:
                self._known[self._since] = seen
            self._readers, self._since = None, b""
        elif by_h11.welcome() | by_zttp.welcome():
            self._say(b"HTTP/1.1 100 Continue\r\n\r\n")
        return seen

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
                "forwarded": {"request_id": False, "traceparent": "drop"},  # the same bytes each time
            }
        )
        app = create_app(settings)
        self._loop = _Loop()
        self._loop.create_connection = self._connect  # type: ignore[method-assign,assignment]
        asyncio._set_running_loop(self._loop)
        self._running = app.router.lifespan_context.keywords["running"]  # type: ignore[attr-defined]
        self._running.client.upstream.start()
        self._config = Config(app, log_config=None, proxy_headers=False)
        self._config.load()
        self._backends: list[_Backend] = []
        self._known: dict[bytes, list[Read]] = {}
        self._played = 0
        self.passed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio._set_running_loop(None)
        self._loop.run_until_complete(self._running.client.upstream.aclose())
        self._loop.close()

    async def _connect(self, factory: Any, *_: Any, **__: Any) -> tuple[_Backend, Any]:
        connection = factory()
        backend = _Backend(connection, self._known)
        self._backends.append(backend)
        return backend, connection

    def play(self, pieces: Iterable[bytes]) -> str:
        """Where h11, zttp and l7lb do not agree on a stream that comes in *pieces*; nothing when they do."""
        pieces = list(pieces)
        self._backends = [backend for backend in self._backends if not backend.closed]
        for backend in self._backends:
            backend.written.clear()
            backend.requests.clear()
        client = Transport(INET)
        edge = client.protocol = EdgeProtocol(
            self._config, ServerState(), {STATE_KEY: self._running.link}, self._loop
        )  # fmt: skip
        edge.connection_made(client)
        for piece in pieces:
            if client.closed:
                break
            edge.data_received(piece)
            self._loop.settle()
        self._loop.settle()
        statuses = [int(status) for status in _ANSWER.findall(b"".join(client.written))]
        found = self._disagreement(b"".join(pieces), statuses, client)
        if not client.closed:
            client.lose(None)
        self._loop.settle()
        self._played += 1
        if self._played % _TIMERS == 0:
            self._loop.due()
        return found

    def _disagreement(self, data: bytes, statuses: list[int], client: Transport) -> str:
        for backend in self._backends:
            if backend.differing:
                return backend.differing
        seen = [request for backend in self._backends for request in backend.requests]
        self.passed += len(seen)
        ended = client.closed or client.eof
        if ended and not seen and 200 not in statuses:
            return ""  # all was refused: who would read it in another way does not get to see it
        by_h11, by_zttp = ByH11(lenient=True), ByZttp()
        by_h11.feed(data)
        by_zttp.feed(by_h11.taken)
        zeros = _ZEROS.search(data) is not None
        for name, reader, agreed in (("h11", by_h11, None), ("zttp", by_zttp, by_h11.agreed)):
            until = [agreed] if agreed is not None else []
            if zeros and _FOR_ZEROS.match(reader.refused or ""):
                until.append(len(reader.requests))
            if said := _differing(reader, statuses, seen, ended, min(until, default=None)):
                return f"{name} {said}"
        return ""


def _differing(reader: Reader, statuses: list[int], seen: list[Read], ended: bool, until: int | None) -> str:
    """Where the requests before number *until* are not the same, or all of them."""
    expected, passed = iter(reader.requests), iter(seen)
    for number, status in enumerate(statuses):
        if number == until:
            return ""
        wanted = next(expected, None)
        if status != 200:
            continue
        found = next(passed, None)
        if found != wanted:
            return f"reads as request {number} {wanted} ({reader.refused}), a backend {found}"
    if left := next(passed, None):
        return f"aside, a backend read what nobody got an answer to: {left}"
    if (left := next(expected, None)) and not ended:
        return f"reads {left}, to which nothing was answered; {statuses}"
    return ""
