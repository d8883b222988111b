"""Responses of lying backends over real sockets: each fault at each byte, and each byte that does not belong there.

What the client gets is what h11 reads in the same bytes. Where h11 sees no whole response, neither may the client: it
gets 502 or 504 as long as nothing has gone out, and a connection that is visibly cut from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import h11
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from app.compose import create_app
from app.edge.link import STATE_KEY
from app.edge.protocol import EdgeProtocol
from settings import Settings

RESPONSES = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    "chunks and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n1;a=b\r\no\r\n0\r\nX: y\r\n\r\n"
    ),
    "the end of the connection": b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello",
    "an interim one before": b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Yes\r\nContent-Length: 2\r\n\r\nok",
    "no content": b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
}
ODD = (b"\0", b"\n", b"\r", b" ", b"\t", b":", b",", b"0", b"9", b"x", b"\xff", b"\r\n")
AT_ONCE = 50


class Seen(NamedTuple):
    """A response as somebody has read it; whether it has come to its end."""

    status: int
    body: bytes
    whole: bool


def read(data: bytes, *, closed: bool = True) -> Seen:
    """What h11 reads in it; status 0 without a head."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if closed:
        client.receive_data(b"")
    status, body, whole = 0, b"", False
    with contextlib.suppress(h11.RemoteProtocolError):
        while not whole and (event := client.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                whole = True
            elif isinstance(event, h11.ConnectionClosed):
                break
    return Seen(status, body, whole)


class Lie(NamedTuple):
    """What a backend sends, and what it does then: fin, rst or stall."""

    data: bytes
    end: str


class Site:
    """The balancer and its backend. Each request says by its path which lie it is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.lies: list[Lie] = []

    async def ask(self, lie: Lie) -> Seen:
        """What a client gets when a backend tells this one."""
        number = len(self.lies)
        self.lies.append(lie)
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % number)
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                data += piece
        reset = not reader.at_eof()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return read(data, closed=not reset)

    async def tell(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The backend."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lie = self.lies[int(head.split(b" ")[1][1:])]
            writer.write(lie.data)
            await writer.drain()
            if lie.end == "stall":
                await reader.read()
            elif lie.end == "rst":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()


@asynccontextmanager
async def site(driver: str, patience: str) -> AsyncIterator[Site]:
    made = Site(0)
    backend = await asyncio.start_server(made.tell, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}"
    pool = {
        "backends": [{"url": url}],
        "health": {"kind": "none"},
        "breaker": {"enabled": False},
        "retry": {"attempts": 1},
        "timeouts": {"response": patience, "idle": patience},
    }
    app = create_app(
        Settings.model_validate(
            {"routes": "/=main", "pools": {"main": pool}, "log": {"format": "off"}, "edge": {"driver": driver}}
        )
    )
    running = app.router.lifespan_context.keywords["running"]  # type: ignore[attr-defined]
    running.client.upstream.start()
    config = Config(app, log_config=None, proxy_headers=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: EdgeProtocol(config, state, {STATE_KEY: running.link}, loop), "127.0.0.1", 0
    )
    made._port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    backend.close()
    await running.client.upstream.aclose()


async def wrong(driver: str, lies: list[Lie], judge: Callable[[Lie, Seen], bool]) -> list[tuple[Lie, Seen]]:
    """The lies that were not taken for what they are."""
    places = asyncio.Semaphore(AT_ONCE)
    stalls = all(lie.end == "stall" for lie in lies)
    async with site(driver, "300ms" if stalls else "60s") as made:

        async def one(lie: Lie) -> tuple[Lie, Seen]:
            async with places:
                return lie, await made.ask(lie)

        return [(lie, seen) for lie, seen in await asyncio.gather(*map(one, lies)) if not judge(lie, seen)]


def cut_where_it_was_cut(lie: Lie, seen: Seen) -> bool:
    meant = read(lie.data, closed=lie.end == "fin")
    if meant.whole:
        return seen == meant
    if meant.status == 0:
        return seen.whole and seen.status == (504 if lie.end == "stall" else 502)
    failed = seen.whole and seen.status in (502, 504)  # nothing had gone out
    return failed or (not seen.whole and seen.status in (0, meant.status) and meant.body.startswith(seen.body))


@pytest.mark.parametrize("driver", ["asgi", "direct"])
@pytest.mark.parametrize("end", ["fin", "rst", "stall"])
async def test_a_response_that_ends_at_any_byte(driver: str, end: str) -> None:
    """By the end of the connection, its reset, or silence."""
    lies = [Lie(data[:at], end) for data in RESPONSES.values() for at in range(len(data) + 1)]
    if end == "rst":  # it may overtake what was sent before
        lies = [lie for lie in lies if not read(lie.data, closed=False).whole]

    assert await wrong(driver, lies, cut_where_it_was_cut) == []


_STATUS_LINE = re.compile(rb"(?:\A|(?<=\r\n\r\n))[\r\n]*(HTTP/1\.[01] \d{3})(?: [^\r\n]*\0[^\r\n]*(?=\r\n)|(?=[ \r]))")


def as_h11_or_refused(lie: Lie, seen: Seen) -> bool:
    """What is refused may be what h11 reads. Line ends before a status line, and bytes in its reason, go no further."""
    meant = read(_STATUS_LINE.sub(rb"\1", lie.data))
    late = not seen.whole and seen.status == meant.status and meant.body.startswith(seen.body)
    return (seen.whole and seen.status == 502) or late or (meant.whole and seen == meant)


@pytest.mark.parametrize("driver", ["asgi", "direct"])
async def test_another_byte_at_any_place(driver: str) -> None:
    """Put in, or put in place of what is there."""
    lies = [
        Lie(data[:at] + odd + data[at + gone :], "fin")
        for data in RESPONSES.values()
        for at in range(len(data) + 1)
        for odd in ODD
        for gone in [0 if driver == "asgi" else 1]
    ]

    assert await wrong(driver, lies, as_h11_or_refused) == []
