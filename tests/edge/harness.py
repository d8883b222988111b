"""An EdgeProtocol in memory: a transport that remembers, a clock that stands still, an app that is told what to do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from uvicorn.server import ServerState

from app.domain.exchange import Exchange
from app.edge.link import STATE_KEY, Link
from app.edge.protocol import EdgeProtocol
from settings.edge import EdgeSettings
from tests.support.clock import Clock

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
INET = {"sockname": ("127.0.0.1", 8000), "peername": ("192.0.2.1", 4711)}


class Loop:
    """The running loop, but for the time, which the test makes go on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = Clock()
        self.create_future = self._loop.create_future
        self.create_task = self._loop.create_task
        self.timers: list[tuple[float, Any]] = []

    def call_later(self, delay: float, callback: Any, *args: Any) -> Any:
        timer = (self.time() + delay, lambda: callback(*args))
        self.timers.append(timer)
        return SimpleNamespace(cancel=lambda: self.timers.remove(timer) if timer in self.timers else None)

    def advance(self, seconds: float) -> None:
        end = self.time() + seconds
        while self.timers and (timer := min(self.timers, key=lambda t: t[0]))[0] <= end:
            self.timers.remove(timer)
            self.time.now = timer[0]
            timer[1]()
        self.time.now = end


class Transport(asyncio.Transport):
    """Remembers what was written, and how it ended."""

    def __init__(self, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self.protocol: asyncio.BaseProtocol | None = None
        self.written: list[bytes] = []
        self.closed = self.aborted = self.paused = self.eof = False
        self.unsent = 0

    def write(self, data: Any) -> None:
        assert not self.closed, "written after the close"
        assert data
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.eof = True

    def can_write_eof(self) -> bool:
        return self._extra.get("sslcontext") is None  # type: ignore[attr-defined,no-any-return]

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if not self.unsent:
                self.lose(None)

    def abort(self) -> None:
        self.aborted = True
        if not self.closed or self.unsent:
            self.closed = True
            self.lose(None)

    def lose(self, exc: Exception | None) -> None:
        self.unsent = 0
        assert self.protocol is not None
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, exc)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class App:
    """Keeps each request until the test answers it; `answer` makes it answer at once."""

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[tuple[dict[str, Any], Any, Any]] = []
        self.bodies: list[bytes] = []
        self.ended: list[BaseException | None] = []
        self._answer = answer or ok

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append((scope, receive, send))
        try:
            await self._answer(self, scope, receive, send)
        except BaseException as error:
            self.ended.append(error)
            raise
        self.ended.append(None)

    @property
    def scopes(self) -> list[dict[str, Any]]:
        return [scope for scope, _, _ in self.calls]

    @property
    def paths(self) -> list[str]:
        return [scope["path"] for scope in self.scopes]


async def read(app: App, receive: Any) -> bytes:
    """The whole request body."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message["body"]
        more = message["more_body"]
    app.bodies.append(body)
    return body


async def ok(app: App, scope: Any, receive: Any, send: Any) -> None:
    """Read all, then say so."""
    await read(app, receive)
    await reply(send, scope["path"].encode())


async def early(app: App, scope: Any, receive: Any, send: Any) -> None:
    """Answer without reading."""
    await reply(send, b"early")


async def waits(app: App, scope: Any, receive: Any, send: Any) -> None:
    """Read all, then wait for the client to go."""
    await read(app, receive)
    assert (await receive())["type"] == "http.disconnect"


async def reply(send: Any, body: bytes, *, status: int = 200, length: int | None = -1, more: bool = False) -> None:
    """A response in two messages; without a length when it is None."""
    length = len(body) if length == -1 else length
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


class Edge:
    """One connection, with what it wrote, refused and passed on."""

    def __init__(
        self, answer: Any = None, *, extra: dict[str, Any] | None = None, link: Link | None = None, **settings: Any
    ) -> None:
        self.app = App(answer)
        self.loop = Loop()
        self.refused: list[Exchange] = []
        self.link = link or Link(EdgeSettings(**settings), self.refused.append)
        self.state = ServerState()
        self.config = SimpleNamespace(
            loaded=True, loaded_app=self.app, asgi_version="3.0", root_path="", limit_concurrency=None
        )
        self.app_state: dict[str, Any] = {STATE_KEY: self.link, "mine": 1}
        self.connect(extra)

    def connect(self, extra: dict[str, Any] | None = None) -> None:
        """A new connection to the same server."""
        arguments: Any = (self.config, self.state, self.app_state, self.loop)
        self.transport = Transport(INET if extra is None else extra)
        self.protocol = self.transport.protocol = EdgeProtocol(*arguments)
        self.protocol.connection_made(self.transport)

    async def feed(self, *pieces: bytes) -> bytes:
        """Let *pieces* arrive, and the app run as far as it can; what was written meanwhile."""
        for piece in pieces:
            assert not self.transport.paused
            self.protocol.data_received(piece)
        return await self.settle()

    async def settle(self, rounds: int = 1) -> bytes:
        """Let the app run as far as it can; what was written meanwhile."""
        for _ in range(20 * rounds):
            await asyncio.sleep(0)
        return self.take()

    def take(self) -> bytes:
        written, self.transport.written = b"".join(self.transport.written), []
        return written

    def eof(self) -> None:
        """The client closes its sending side."""
        if not self.protocol.eof_received():
            self.transport.close()

    def lose(self) -> None:
        """The client resets."""
        self.transport.closed = True
        self.transport.lose(ConnectionResetError())


def statuses(data: bytes) -> list[int]:
    """The status of each response in *data*, 1xx too."""
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]
