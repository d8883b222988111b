"""Everything at once: clients of many kinds, and a backend for all of them that has its moods."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Literal

from websockets.utils import accept_key

from tests.support.backend import in_loop
from tests.support.raw import request
from tests.support.talker import HANDSHAKE, frame

KIB = 1024
LARGE = 512 * KIB
EVENTS = 4
WORD, ANSWER = frame(b"x" * 100, mask=True), frame(b"x" * 100)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
ACCEPT = accept_key("A" * 22 + "==").encode()
Mood = Literal["well", "failing", "hasty"]


class Medley:
    """A backend.

    Attributes:
        mood: well; failing, with 503 for what can be asked elsewhere; hasty, closing each connection after a response
            without saying so.
    """

    def __init__(self, port: int = 0) -> None:
        self.mood: Mood = "well"
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = port
        self.begin()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Listen, on the same port as before."""
        self._server = in_loop(asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=256 * KIB))
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """End as by SIGKILL: nobody listens, and every connection is cut."""

        async def cut() -> None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()

        in_loop(cut())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head, reader, writer)
                await writer.drain()
                if self.mood == "hasty":
                    break
        except (OSError, EOFError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = head.split(b" ", 2)[1]
        if target == b"/upload":
            left = int(_field(head, b"content-length"))
            while left:
                left -= len(await reader.read(min(left, 64 * KIB)) or _gone())
            writer.write(_response(b"got it"))
        elif target == b"/large":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // (64 * KIB)):
                writer.write(bytes(64 * KIB))
                await writer.drain()
        elif target == b"/events":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(EVENTS):
                event = b"data: %d\n\n" % number
                writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                await asyncio.sleep(0.02)
            writer.write(b"0\r\n\r\n")
        elif target == b"/socket":
            writer.write(SWITCH % ACCEPT)
            while await reader.readexactly(len(WORD)):
                writer.write(ANSWER)
        elif target == b"/cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            writer.close()
        elif self.mood == "failing":
            writer.write(_response(b"no", b"503 No"))
        elif target == b"/cached":
            writer.write(_response(b"hello", fields=b"Cache-Control: max-age=1\r\n"))
        else:
            writer.write(_response(b"hello"))


class Clients:
    """Clients at work until `stopped`; what became of each request is counted by its kind.

    `ok`, a status, or `cut` where a response or a connection ended before its end. Each kind is a method.
    """

    KINDS = ("small", "secure", "cached", "large", "upload", "events", "socket", "leaver", "cutting", "slow", "reader")
    SAFE = ("small", "secure", "cached")
    """These can be asked again, and are small enough never to have begun when a backend dies."""

    def __init__(self, plain: int, secure: int, tls: ssl.SSLContext, *, seed: int = 1) -> None:
        self._plain, self._secure, self._tls = plain, secure, tls
        self._rng = Random(seed)
        self.stopped = False
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in self.KINDS}

    async def run(self, seconds: float) -> None:
        """Every kind, for so long, two clients each; four of the small ones."""
        self.stopped = False
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self.stop)
        works: list[Callable[[], Awaitable[str]]] = [getattr(self, kind) for kind in self.KINDS]
        await asyncio.gather(*(self._again(work) for work in [*works, *works, self.small, self.small]))

    def stop(self) -> None:
        """Let each come to the end of what it does."""
        self.stopped = True

    async def _again(self, work: Callable[[], Awaitable[str]]) -> None:
        name = work.__name__  # type: ignore[attr-defined]
        while not self.stopped:
            try:
                async with asyncio.timeout(30):
                    outcome = await work()
            except TimeoutError:
                outcome = "hung"
            except (OSError, EOFError):
                outcome = "cut"
            self.counts[name][outcome] += 1
            await asyncio.sleep(self._rng.uniform(0.0, 0.04))

    async def small(self) -> str:
        """Some requests on one connection."""
        return await self._ask("/small", times=20)

    async def secure(self) -> str:
        """The same over TLS, with a handshake for each few."""
        return await self._ask("/small", times=5, secure=True)

    async def cached(self) -> str:
        """What is stored for a second."""
        return await self._ask("/cached", times=10)

    async def large(self) -> str:
        """A response of half a MiB, over TLS."""
        return await self._ask("/large", secure=True)

    async def events(self) -> str:
        """A stream."""
        return await self._ask("/events")

    async def cutting(self) -> str:
        """A response that its backend does not finish."""
        return await self._ask("/cut")

    async def upload(self) -> str:
        """A body of 300 KiB."""
        async with self._connected() as (reader, writer):
            writer.write(request("/upload", method="POST", body=bytes(300 * KIB)))
            return await _response_of(reader)

    async def socket(self) -> str:
        """A WebSocket with some messages."""
        async with self._connected() as (reader, writer):
            writer.write(request("/socket", *HANDSHAKE))
            head = await reader.readuntil(b"\r\n\r\n")
            if head[9:12] != b"101":
                return head[9:12].decode()
            for _ in range(self._rng.randrange(1, 10)):
                writer.write(WORD)
                if await reader.readexactly(len(ANSWER)) != ANSWER:
                    return "wrong"
            return "ok"

    async def leaver(self) -> str:
        """Goes in the middle of a response."""
        async with self._connected() as (reader, writer):
            writer.write(request("/large"))
            await reader.read(1000)
            writer.transport.abort()
        return "ok"

    async def slow(self) -> str:
        """Does not finish its head; 408 is what it should get."""
        async with self._connected() as (reader, writer):
            writer.write(request("/small")[:-3])
            return (await reader.readuntil(b"\r\n\r\n"))[9:12].decode()

    async def reader(self) -> str:
        """Reads slowly."""
        async with self._connected(limit=4096) as (reader, writer):
            writer.write(request("/large"))
            await reader.readuntil(b"\r\n\r\n")
            left = LARGE
            while left:
                left -= len(await reader.read(min(left, 64 * KIB)) or _gone())
                await asyncio.sleep(0.01)
            return "ok"

    @contextlib.asynccontextmanager
    async def _connected(self, *, secure: bool = False, limit: int = 64 * KIB):  # type: ignore[no-untyped-def]
        options = {"ssl": self._tls, "server_hostname": "localhost"} if secure else {}
        port = self._secure if secure else self._plain
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit, **options)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _ask(self, target: str, *, times: int = 1, secure: bool = False) -> str:
        async with self._connected(secure=secure) as (reader, writer):
            for _ in range(times):
                writer.write(request(target))
                outcome = await _response_of(reader)
                if outcome != "ok":
                    return outcome
        return "ok"


async def _response_of(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    if b"chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        left = int(_field(head, b"content-length"))
        while left:
            left -= len(await reader.read(min(left, 64 * KIB)) or _gone())
    return "ok" if head[9:12] == b"200" else head[9:12].decode()


def _field(head: bytes, name: bytes) -> bytes:
    return head.lower().partition(b"\r\n" + name + b":")[2].partition(b"\r\n")[0].strip()


def _gone() -> bytes:
    raise EOFError


def _response(body: bytes, status: bytes = b"200 OK", fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), fields, body)
