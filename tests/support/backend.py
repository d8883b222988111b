"""
Backends that do as a script says: raw sockets on ports of the kernel's choice, in a thread with its own loop.

A script is a row of steps, each a coroutine function over the `Connection`; a connection is closed when its script
is over. Every byte, request and connection is kept for the test to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Self, TypeVar

from tests.support.until import until

T = TypeVar("T")
KEPT = 1 << 20
"""Bytes of one connection that are kept; the rest is only counted."""


class Request(NamedTuple):
    """One request as it came in."""

    method: str
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]

    def all(self, name: str) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]

    def get(self, name: str) -> str | None:
        """The value of a field that may be there once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0].decode("latin-1") if values else None


class Gone(Exception):
    """The balancer closed the connection, or reset it."""


class Connection(asyncio.Protocol):
    """One connection as the backend sees it."""

    transport: asyncio.Transport

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.received = bytearray()
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.count = 0
        self.sent = 0
        self.closed = False
        self._unread = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.backend.connections.append(self)
        self._task = asyncio.ensure_future(self._run(self.backend.script))

    async def _run(self, script: Step) -> None:
        try:
            with contextlib.suppress(Gone):
                await script(self)
        finally:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        self.received += data[: KEPT - len(self.received)]
        self._unread += data
        self._news.set()

    def eof_received(self) -> bool:
        self.closed = True
        self._news.set()
        return self.backend.half_open

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def finish(self) -> None:
        """Close this side; the balancer's answer to that is to close its own."""
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # What steps are made of...

    async def head(self) -> Request:
        """Read one request head."""
        while (end := self._unread.find(b"\r\n\r\n")) < 0:
            await self._more()
        first, *lines = bytes(self._unread[:end]).split(b"\r\n")
        del self._unread[: end + 4]
        method, target, version = first.split(b" ")
        fields = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        self.requests.append(Request(method.decode(), target, version, fields))
        return self.requests[-1]

    async def body(self) -> bytes:
        """Read the body of the last head, as its fields frame it."""
        asked = self.requests[-1]
        if asked.all("transfer-encoding"):
            pieces = []
            while size := int(await self._line(), 16):
                pieces.append(await self.take(size))
                await self._line()
            while trailer := await self._line():
                self.backend.trailers.append(trailer)
            body = b"".join(pieces)
        else:
            body = await self.take(int(asked.get("content-length") or 0))
        self.bodies.append(body)
        return body

    async def take(self, count: int) -> bytes:
        """Read exactly *count* bytes."""
        while len(self._unread) < count:
            await self._more()
        taken = bytes(self._unread[:count])
        del self._unread[:count]
        return taken

    async def swallow(self) -> None:
        """Read on until the end of the connection, keeping nothing."""
        with contextlib.suppress(Gone):
            while True:
                self._unread.clear()
                await self._more()

    async def send(self, data: bytes) -> None:
        """Send, and wait while the balancer does not read."""
        await self._writable.wait()
        if (self.closed and not self.backend.half_open) or self.transport.is_closing():
            raise Gone
        self.transport.write(data)
        self.sent += len(data)
        await self._writable.wait()

    async def _line(self) -> bytes:
        while (end := self._unread.find(b"\r\n")) < 0:
            await self._more()
        return (await self.take(end + 2))[:-2]

    async def _more(self) -> None:
        if self.closed:
            raise Gone
        self._news.clear()
        await self._news.wait()


Step = Callable[[Connection], Awaitable[Any]]


async def read_head(c: Connection) -> None:
    """Read one request head."""
    await c.head()


async def read_body(c: Connection) -> None:
    """Read the body of the last head."""
    await c.body()


async def read_all(c: Connection) -> None:
    """Read a request with its body."""
    await c.head()
    await c.body()


async def stall(c: Connection) -> None:
    """Do nothing more until the balancer goes away."""
    await c.swallow()


async def hold(c: Connection) -> None:
    """Stop reading."""
    c.transport.pause_reading()


async def close(c: Connection) -> None:
    """Close, after what was sent."""
    c.transport.close()
    raise Gone


async def reset(c: Connection) -> None:
    """Close with an RST, at once."""
    c.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.transport.abort()
    raise Gone


def send(data: bytes) -> Step:
    """A step that sends *data*."""
    return lambda c: c.send(data)


def pause(gate: Gate) -> Step:
    """A step that waits for *gate*."""
    return lambda _: gate.passed()


def script(*steps: Step) -> Step:
    """One step after the other, once."""

    async def play(c: Connection) -> None:
        for step in steps:
            await step(c)

    return play


def forever(*steps: Step) -> Step:
    """The same steps for each request of a connection."""

    async def play(c: Connection) -> None:
        while True:
            await script(*steps)(c)

    return play


def reply(body: bytes = b"", *fields: str | bytes, status: str = "200 OK") -> bytes:
    """A whole response as bytes, with its Content-Length and no field but *fields*."""
    lines = [field if isinstance(field, bytes) else field.encode("latin-1") for field in fields]
    head = b"".join(
        line + b"\r\n" for line in [f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *lines]
    )
    return head + b"\r\n" + body


def answers(response: bytes | Callable[[Request], bytes]) -> Step:
    """The well-behaved one: reads each request whole and answers it, for as long as the connection is kept."""

    async def play(c: Connection) -> None:
        while True:
            asked = await c.head()
            await c.body()
            await c.send(response(asked) if callable(response) else response)

    return play


class Gate:
    """Closed until a test opens it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def open(self) -> None:
        """Let through whoever waits, and whoever comes."""
        _loop().call_soon_threadsafe(self._event.set)

    async def passed(self) -> None:
        """Wait until it is open."""
        await self._event.wait()


class Backend:
    """A backend that plays *script* on each connection; without one it answers with its name."""

    _names = itertools.count(1)

    def __init__(self, *steps: Step, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.name = f"backend {next(self._names)}"
        self.script = script(*steps) if steps else answers(reply(self.name.encode()))
        self.connections: list[Connection] = []
        self.trailers: list[bytes] = []
        self.half_open = False  # whether the balancer's end of its sending is not the end of the connection
        self._scheme = "https" if tls else "http"
        self._server = in_loop(self._listen(port, tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"{self._scheme}://{'localhost' if tls else '127.0.0.1'}:{self.port}"

    async def _listen(self, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(lambda: Connection(self), "127.0.0.1", port, ssl=tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def requests(self) -> list[Request]:
        """Every request, in order within each connection."""
        return [asked for c in self.connections for asked in c.requests]

    @property
    def bodies(self) -> list[bytes]:
        """Every request body that was read to its end."""
        return [body for c in self.connections for body in c.bodies]

    def play(self, *steps: Step) -> Self:
        """
        From now on play this; what was seen is forgotten.

        Kept connections are closed first, and the balancer has taken note of that when this returns.
        """
        self.script = script(*steps)  # first: who connects meanwhile, because he is cut off, plays it, too
        kept = [c for c in self.connections if not c.closed]
        for c in kept:
            _loop().call_soon_threadsafe(c.finish)
        until(lambda: all(c.closed for c in kept), "the balancer to close kept connections that the backend has closed")
        self.connections.clear()
        self.trailers.clear()
        return self

    def answer(self, body: bytes = b"", *fields: str | bytes, status: str = "200 OK") -> Self:
        """From now on answer every request with this."""
        return self.play(answers(reply(body, *fields, status=status)))

    def stop(self) -> None:
        """Refuse new connections and cut the others."""
        in_loop(self._stop())

    async def _stop(self) -> None:
        self._server.close()
        for _ in range(3):
            await asyncio.sleep(0)  # until those that were accepted just now are made
        for c in self.connections:
            c.transport.abort()
            c._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await c._task
        await asyncio.sleep(0)


def in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run on the backends' loop, from the test's thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop()).result(10)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="backends", daemon=True).start()
    return loop
