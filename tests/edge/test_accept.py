"""Connections that begin with a PROXY header: from real sockets to what the app is told."""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import logging
import os
import socket
import ssl
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from app.domain.proxy_header import LONGEST_2
from app.edge import accept
from app.edge.accept import Acceptor
from app.edge.protocol import EdgeProtocol
from tests.domain.test_proxy_header import second, tcp4, tcp6
from tests.edge.harness import GET, Edge, early, statuses
from tests.support.tls import Certificate, client

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n"
ENDS = (("192.0.2.1", 40000), ("198.51.100.7", 443))


class Server:
    """An acceptor on a port of its own, and what its app has seen."""

    def __init__(
        self, *, trusted: str = "127.0.0.1/32", timeout: float = 60.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.edge = Edge(early)  # its settings, its app and its state, but not its connection
        self.edge.protocol.connection_lost(None)
        loop = asyncio.get_running_loop()
        self.made: list[EdgeProtocol] = []
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.address = self.socket.getsockname()
        make: Any = partial(EdgeProtocol, self.edge.config, self.edge.state, self.edge.app_state, loop)

        def protocol() -> EdgeProtocol:
            self.made.append(make())
            return self.made[-1]

        self.acceptor = Acceptor(
            self.socket, protocol, trusted=(ip_network(trusted),), backlog=100, timeout=timeout, tls=tls
        )

    @property
    def scopes(self) -> list[dict[str, Any]]:
        return self.edge.app.scopes

    @asynccontextmanager
    async def client(self, source: str = "127.0.0.1") -> AsyncIterator[Client]:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((source, 0))
        with sock:
            await asyncio.get_running_loop().sock_connect(sock, self.address)
            yield Client(sock)

    async def close(self) -> None:
        self.acceptor.close()
        await self.acceptor.wait_closed()
        for protocol in self.made:
            if protocol.transport is not None:
                protocol.transport.abort()
        await asyncio.sleep(0)
        self.socket.close()


class Client:
    """The other end, without TLS."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.loop = asyncio.get_running_loop()

    async def send(self, *pieces: bytes) -> None:
        """Each by itself, and read before the next comes."""
        for piece in pieces:
            await self.loop.sock_sendall(self.socket, piece)
            await until(lambda: unread(self.socket) == 0)

    async def answer(self) -> bytes:
        """The response of `early`."""
        data = b""
        while not data.endswith(b"early"):
            piece = await self.loop.sock_recv(self.socket, 65536)
            assert piece, data
            data += piece
        return data

    async def rest(self) -> bytes:
        """All that comes until the end, whichever way it ends."""
        data = b""
        try:
            while piece := await self.loop.sock_recv(self.socket, 65536):
                data += piece
        except ConnectionResetError:
            pass
        return data


def unread(sock: socket.socket) -> int:
    """Bytes that the other end has not acknowledged; what it has acknowledged, its loop has been told of."""
    count = array.array("i", [0])
    fcntl.ioctl(sock, termios.TIOCOUTQ, count)
    return count[0]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack: AsyncExitStack) -> Callable[..., Server]:
    def start(**options: Any) -> Server:
        server = Server(**options)
        stack.push_async_callback(server.close)
        return server

    return start


Serve = Callable[..., Server]


@pytest.mark.parametrize(
    ("header", "ends"),
    [
        (LINE, ENDS),
        (tcp4(), ENDS),
        (tcp4(more=b"\x04\x00\x03abc"), ENDS),
        (tcp6(), (("2001:db8::1", 1), ("::1", 65535))),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_the_connection_is_the_one_that_the_proxy_took(
    serve: Serve, header: bytes, ends: Any, bytewise: bool
) -> None:
    """However the header comes; and not a byte of what follows is taken for it, though it may come with it."""
    server = serve()
    async with server.client() as client:
        pieces = [header[i : i + 1] for i in range(len(header))] + [GET] if bytewise else [header + GET]
        await client.send(*pieces)
        assert statuses(await client.answer()) == [200]
        await client.send(GET)
        assert statuses(await client.answer()) == [200]
    assert [(scope["client"], scope["server"]) for scope in server.scopes] == [ends, ends]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", second(0x20, 0x00)])
async def test_a_proxy_that_speaks_for_itself(serve: Serve, header: bytes) -> None:
    server = serve()
    async with server.client() as client:
        await client.send(header + GET)
        assert statuses(await client.answer()) == [200]
        assert [(scope["client"], scope["server"]) for scope in server.scopes] == [
            (client.socket.getsockname(), server.address)
        ]


async def test_the_longest_header(serve: Serve) -> None:
    """All of it is read, and all the request behind it is left."""
    header = tcp4(more=b"\x04" + (LONGEST_2 - 31).to_bytes(2, "big") + bytes(LONGEST_2 - 31))
    assert len(header) == LONGEST_2
    server = serve()
    async with server.client() as client:
        await client.send(header[:3000], header[3000:] + GET)
        assert statuses(await client.answer()) == [200]
    assert server.scopes[0]["client"] == ENDS[0]


async def test_who_is_not_trusted_has_no_header(serve: Serve) -> None:
    """HTTP begins at once, and a header is none."""
    server = serve()
    async with server.client("127.0.0.2") as client:
        await client.send(GET)
        assert statuses(await client.answer()) == [200]
        assert [scope["client"] for scope in server.scopes] == [client.socket.getsockname()]
    async with server.client("127.0.0.2") as client:
        await client.send(LINE + GET)
        assert statuses(await client.rest()) == [400]


@pytest.mark.parametrize("data", [GET, b"\x16\x03\x01\x02\x00\x01", b"PROXY TCP9 x\r\n", tcp4(more=bytes(LONGEST_2))])
async def test_what_is_no_header_ends_the_connection(
    serve: Serve, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said who it was, and why; nothing is answered."""
    caplog.set_level(logging.WARNING, "l7lb.edge")
    server = serve()
    async with server.client() as client:
        await client.loop.sock_sendall(client.socket, data)
        assert await client.rest() == b""
    assert server.made == []
    (message,) = caplog.messages
    assert message.startswith("a connection from 127.0.0.1 was closed: ")
    assert message.rpartition(": ")[2] not in ("", "None")


@pytest.mark.parametrize("data", [b"", LINE[:10], tcp4()[:-1]])
async def test_a_header_that_is_cut_short(serve: Serve, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """By a health check that looks whether anybody listens, say: nothing is said of it."""
    caplog.set_level(logging.DEBUG, "l7lb.edge")
    server = serve()
    async with server.client() as client:
        await client.send(data)
        client.socket.shutdown(socket.SHUT_WR)
        assert await client.rest() == b""
    assert server.made == []
    assert caplog.messages == []


@pytest.mark.parametrize("data", [b"", LINE[:10], tcp4()[:-1]])
async def test_a_header_that_does_not_come_in_time(serve: Serve, data: bytes) -> None:
    server = serve(timeout=0.05)
    async with server.client() as client:
        await client.send(data)
        assert await client.rest() == b""
    assert server.made == []


async def test_who_needs_no_header_has_no_time_for_it(serve: Serve) -> None:
    """Its request has the edge's own."""
    server = serve(timeout=0.02)
    async with server.client("127.0.0.2") as waits, server.client() as late:
        assert await late.rest() == b""
        assert await late.rest() == b""
        await waits.send(GET)
        assert statuses(await waits.answer()) == [200]


async def test_a_slow_one_keeps_nobody_waiting(serve: Serve) -> None:
    server = serve()
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(server.client()) for _ in range(20)]
        for one in slow:
            await one.send(LINE[:10])
        async with server.client() as client:
            await client.send(LINE + GET)
            assert statuses(await client.answer()) == [200]
        for one in slow:
            await one.send(LINE[10:] + GET)
            assert statuses(await one.answer()) == [200]
    assert {scope["client"] for scope in server.scopes} == {ENDS[0]}


async def test_one_that_resets(serve: Serve) -> None:
    """Before its header has come; others do not notice."""
    server = serve()
    async with server.client() as client:
        await client.send(LINE[:10])
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    async with server.client() as client:
        await client.send(LINE + GET)
        assert statuses(await client.answer()) == [200]
    assert len(server.made) == 1


async def test_answers_do_not_wait_to_be_joined(serve: Serve) -> None:
    """TCP_NODELAY is on, as on asyncio's own listeners."""
    server = serve()
    async with server.client() as client:
        await client.send(LINE + GET)
        await client.answer()
        sock = server.made[0].transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


class TestTls:
    """Behind the header."""

    async def test_it_begins_behind_the_header(self, serve: Serve, certificate: Certificate) -> None:
        server = serve(tls=certificate.server())
        async with server.client() as one:
            await one.send(LINE)
            sock = one.socket.dup()
            reader, writer = await asyncio.open_connection(sock=sock, ssl=client(), server_hostname="localhost")
            writer.write(GET)
            assert (await reader.readuntil(b"early")).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.transport.abort()
        assert [(scope["client"], scope["scheme"]) for scope in server.scopes] == [(ENDS[0], "https")]

    async def test_a_handshake_that_does_not_come_in_time(self, serve: Serve, certificate: Certificate) -> None:
        server = serve(tls=certificate.server(), timeout=0.05)
        async with server.client() as one:
            await one.send(LINE)
            assert await one.rest() == b""
        assert server.scopes == []

    async def test_what_is_no_tls(self, serve: Serve, certificate: Certificate) -> None:
        server = serve(tls=certificate.server())
        async with server.client() as one:
            await one.send(LINE)
            await one.loop.sock_sendall(one.socket, GET)
            assert statuses(await one.rest()) == []
        assert server.scopes == []
        assert await served(server, certificate)


async def served(server: Server, certificate: Certificate) -> bool:
    """Whether somebody else is, over TLS."""
    async with server.client() as one:
        await one.send(LINE)
        sock = one.socket.dup()
        reader, writer = await asyncio.open_connection(sock=sock, ssl=client(), server_hostname="localhost")
        writer.write(GET)
        await reader.readuntil(b"early")
        writer.transport.abort()
    return True


class TestClosing:
    async def test_nobody_else_is_taken(self, serve: Serve) -> None:
        """Whose header is on its way is cut; whose connection is open stays."""
        server = serve()
        async with server.client() as half, server.client() as whole:
            await half.send(LINE[:10])
            await whole.send(LINE + GET)
            await whole.answer()
            server.acceptor.close()
            await server.acceptor.wait_closed()
            assert await half.rest() == b""
            async with server.client() as late:
                await late.send(LINE + GET)
                assert len(server.made) == 1
            await whole.send(GET)
            assert statuses(await whole.answer()) == [200]

    async def test_the_loop_is_left_clean(self, serve: Serve) -> None:
        """No task, and nothing that waits for a socket."""
        server = serve()
        before = len(asyncio.all_tasks()) - 1
        async with server.client() as half:
            await half.send(LINE[:10])
            await until(lambda: len(asyncio.all_tasks()) > before + 1)
            server.acceptor.close()
            await server.acceptor.wait_closed()
        assert len(asyncio.all_tasks()) == before


class TestWithoutDescriptors:
    @pytest.fixture
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The errors that the next calls of accept end with."""
        errors: list[int] = []
        monkeypatch.setattr(accept, "RECOVERY", 0.001)

        def fail(self: socket.socket) -> Any:
            if errors:
                number = errors.pop(0)
                raise OSError(number, os.strerror(number))
            return genuine(self)

        genuine = socket.socket.accept
        monkeypatch.setattr(socket.socket, "accept", fail)
        return errors

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
    async def test_it_is_tried_again(
        self, serve: Serve, failing: list[int], caplog: pytest.LogCaptureFixture, number: int
    ) -> None:
        caplog.set_level(logging.WARNING, "l7lb.edge")
        server = serve()
        await asyncio.sleep(0)
        failing += [number, number]
        async with server.client() as one:
            await one.send(LINE + GET)
            assert statuses(await one.answer()) == [200]
        assert failing == []
        assert caplog.messages == [f"no connection can be taken: {os.strerror(number)}"] * 2

    async def test_what_is_the_fault_of_one_client_is_not_said(
        self, serve: Serve, failing: list[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nor is anybody made to wait for it."""
        monkeypatch.setattr(accept, "RECOVERY", 3600.0)
        server = serve()
        await asyncio.sleep(0)
        failing.append(errno.ECONNABORTED)
        async with server.client() as one:
            await one.send(LINE + GET)
            assert statuses(await one.answer()) == [200]
        assert failing == []
        assert caplog.messages == []
