"""Upgraded connections seen as bytes: what passes, how fast, how they end, and what must never be taken for one."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections.abc import Callable
from typing import ClassVar

import pytest

from tests.support import control
from tests.support.backend import (
    Backend,
    Connection,
    Gate,
    Step,
    close,
    forever,
    in_loop,
    pause,
    read_all,
    read_head,
    reply,
    reset,
    send,
    stall,
)
from tests.support.raw import Client, request
from tests.support.server import Balancer, balancing, pool
from tests.support.talker import HANDSHAKE, frame
from tests.support.until import settled, until

UPGRADE = request("/", *HANDSHAKE)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
SWITCHED = SWITCH + b"\r\n"
GOING_AWAY = b"\x88\x02" + struct.pack("!H", 1001)
MIB = 1 << 20


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return control.OPEN


def upgraded(client: Client, asked: bytes = UPGRADE) -> Client:
    """*client*, once it has its 101."""
    client.send(asked)
    assert client.head()[0] == 101
    return client


def came(client: Client, data: bytes) -> None:
    """Wait for exactly *data*."""
    while len(client.buffer) < len(data):
        assert client.more(), client.buffer
    assert client.buffer[: len(data)] == data
    client.buffer = client.buffer[len(data) :]


async def back(c: Connection) -> None:
    """Send back what comes."""
    while True:
        await c.send(await c.take(1))


def far(backend: Backend) -> Connection:
    """The backend's end of the one connection."""
    (connection,) = backend.connections
    return connection


class TestBytes:
    def test_they_pass_unread(self, balancer: Balancer, backend: Backend) -> None:
        """Whatever they are: what is no frame is for the ends to refuse."""
        noise = random.Random(7).randbytes(300_000)

        async def mirror(c: Connection) -> None:
            await c.send(await c.take(len(noise)))

        backend.play(read_head, send(SWITCHED), mirror, stall)
        with balancer.client() as client:
            upgraded(client)
            client.send(noise)
            came(client, noise)

    def test_the_handshake_is_between_the_ends(self, balancer: Balancer, backend: Backend) -> None:
        """Sec-WebSocket-* as they are, both ways; Connection and Upgrade are ours."""
        extra = b"Sec-WebSocket-Accept: made up\r\nSec-WebSocket-Protocol: p\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
        backend.play(read_head, send(SWITCH + extra + b"Content-Length: 7\r\n\r\n"), stall)
        with balancer.client() as client:
            fields = ("Sec-WebSocket-Extensions: x; y=1, z", "Sec-WebSocket-Protocol: p, q", "Origin: http://a")
            client.send(
                request("/path?q", *HANDSHAKE[1:], "Connection: keep-alive, Upgrade, X-Gone", "X-Gone: 1", *fields)
            )
            status, _, got = client.head()
        asked = backend.requests[0]
        assert status == 101
        assert (b"sec-websocket-accept", b"made up") in got
        assert (b"sec-websocket-protocol", b"p") in got
        assert [value for name, value in got if name == b"connection"] == [b"upgrade"]
        assert [value for name, value in got if name == b"upgrade"] == [b"websocket"]
        assert not [name for name, _ in got if name in (b"content-length", b"x-hop", b"transfer-encoding")]
        assert asked.all("connection") == [b"upgrade"]
        assert asked.all("upgrade") == [b"websocket"]
        assert asked.get("sec-websocket-key") == "A" * 22 + "=="
        assert asked.get("sec-websocket-extensions") == "x; y=1, z"
        assert asked.get("sec-websocket-protocol") == "p, q"
        assert asked.get("x-gone") is None

    def test_what_comes_with_the_101(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, send(SWITCHED + b"welcome"), stall)
        with balancer.client() as client:
            upgraded(client)
            came(client, b"welcome")

    def test_what_the_client_sends_before_the_101(self, balancer: Balancer, backend: Backend) -> None:
        """It is for the other protocol, and reaches the backend behind its own 101."""
        gate = Gate()
        backend.play(read_head, pause(gate), send(SWITCHED), stall)
        with balancer.client() as client:
            client.send(UPGRADE + b"GET /smuggled HTTP/1.1\r\n")
            until(lambda: backend.requests, "the request")
            client.send(b"Host: a\r\n\r\n")
            assert not far(backend)._unread
            gate.open()
            assert client.head()[0] == 101
            expected = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            until(lambda: far(backend).received.endswith(expected), "what came early")
        assert len(backend.requests) == 1

    def test_interim_responses_before_it(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, send(b"HTTP/1.1 102 Processing\r\n\r\n" + SWITCHED), stall)
        with balancer.client() as client:
            client.send(UPGRADE)
            assert client.response().status == 101


@pytest.mark.parametrize("direction", ["to the client", "to the backend"])
def test_a_slow_reader_costs_no_memory(balancer: Balancer, backend: Backend, direction: str) -> None:
    """64 MiB for one that does not read: the sender is made to wait, and all of it comes when it does read."""
    size, piece = 64 * MIB, b"x" * MIB
    gate = Gate()

    async def pour(c: Connection) -> None:
        for _ in range(size // MIB):
            await c.send(piece)

    async def swallow(c: Connection) -> None:
        c.transport.pause_reading()
        await gate.passed()
        c.transport.resume_reading()
        await c.swallow()

    before = balancer.rss()
    balancer.forget_peak()
    with balancer.client(receive_buffer=65536) as client:
        if direction == "to the client":
            backend.play(read_head, send(SWITCHED), pour, stall)
            upgraded(client)
            stuck = settled(lambda: far(backend).sent)
            assert stuck < 16 * MIB
            got = len(client.buffer)
            while got < size:
                client.buffer = b""
                assert client.more()
                got += len(client.buffer)
            assert got == size
        else:
            backend.play(read_head, send(SWITCHED), swallow)
            upgraded(client)
            thread = threading.Thread(target=lambda: client.send(piece * (size // MIB)))
            thread.start()
            assert settled(lambda: far(backend).count) < 16 * MIB
            assert thread.is_alive()
            gate.open()
            thread.join()
            until(lambda: far(backend).count >= size, "all of it")
    assert balancer.rss("VmHWM") - before < 8 * MIB


class TestEnds:
    """Who goes takes the other with him."""

    @pytest.mark.parametrize("how", ["reset", "close"])
    def test_the_client(self, balancer: Balancer, backend: Backend, how: str) -> None:
        backend.play(read_head, send(SWITCHED), stall)
        client = upgraded(balancer.client(), request(f"/gone/{how}", *HANDSHAKE))
        client.reset() if how == "reset" else client.socket.close()
        until(lambda: far(backend).closed, "the backend to see it")
        assert balancer.record(lambda record: record["path"] == f"/gone/{how}")["status"] == 101
        until(lambda: control.idle(balancer), "its place to be given back")

    @pytest.mark.parametrize("how", [reset, close])
    def test_the_backend(self, balancer: Balancer, backend: Backend, how: Step) -> None:
        """What it said last still comes, when it did not break off."""
        gate = Gate()
        backend.play(read_head, send(SWITCHED), pause(gate), send(b"last words"), how)
        with balancer.client() as client:
            upgraded(client)
            gate.open()
            assert client.rest() in ((b"last words",) if how is close else (b"last words", b""))
        until(lambda: control.idle(balancer), "its place to be given back")

    def test_a_backend_that_goes_before_it_answers(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, close)
        with balancer.client() as client:
            assert client.ask(UPGRADE).status == 502

    def test_a_client_that_goes_before_it_is_answered(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, stall)
        client = balancer.client()
        client.send(request("/impatient", *HANDSHAKE))
        until(lambda: backend.requests, "the request")
        client.reset()
        until(lambda: far(backend).closed, "the attempt to be cancelled")
        assert balancer.record(lambda record: record["path"] == "/impatient")["status"] == 499

    def test_a_client_that_has_said_its_last_may_be_answered(self, balancer: Balancer, backend: Backend) -> None:
        """TCP has two halves, and so has a tunnel."""

        backend.play(read_head, send(SWITCHED), stall, send(b"answer"))
        backend.half_open = True
        try:
            with balancer.client() as client:
                upgraded(client)
                client.send(b"last")
                client.finish()
                assert client.rest() == b"answer"
        finally:
            backend.half_open = False
        assert far(backend).received.endswith(b"last")

    def test_a_backend_that_has_said_its_last_still_hears(self, balancer: Balancer, backend: Backend) -> None:
        async def finish(c: Connection) -> None:
            c.transport.write_eof()

        backend.play(read_head, send(SWITCHED), finish, stall)
        with balancer.client() as client:
            upgraded(client)
            assert client.rest() == b""
            client.send(b"heard")
            until(lambda: far(backend).received.endswith(b"heard"), "it to be heard")
            client.finish()
        until(lambda: far(backend).closed, "the end")


class TestStopping:
    """A close frame goes between two frames, or not at all."""

    def begin(self, backend: Backend, *steps: Step) -> Balancer:
        backend.play(read_head, send(SWITCHED), *steps)
        return Balancer({"LB_ROUTES": "/=main", "LB_DRAIN__GRACE": "1s", **pool("main", backend)})

    def test_between_frames(self, backend: Backend) -> None:
        with self.begin(backend, send(frame(b"one") + frame(b"two")), stall) as balancer, balancer.client() as client:
            upgraded(client)
            balancer.terminate()
            assert client.rest() == frame(b"one") + frame(b"two") + GOING_AWAY

    def test_a_frame_that_comes_to_its_end(self, backend: Backend) -> None:
        """And nothing behind it."""
        gate = Gate()
        long = frame(b"x" * 70_000)
        steps = (send(long[:-5]), pause(gate), send(long[-5:] + frame(b"too late")), stall)
        with self.begin(backend, *steps) as balancer, balancer.client() as client:
            upgraded(client)
            came(client, long[:-5])
            balancer.terminate()
            until(lambda: "graceful shutdown exceeded" in balancer.stderr, "the grace time to end")
            gate.open()
            assert client.rest() == long[-5:] + GOING_AWAY

    def test_a_frame_that_does_not(self, backend: Backend) -> None:
        """Its connection is cut; that the rest is missing can be seen."""
        with self.begin(backend, send(frame(b"x" * 100)[:50]), stall) as balancer, balancer.client() as client:
            upgraded(client)
            balancer.terminate()
            assert client.rest() == frame(b"x" * 100)[:50]

    def test_the_clients_answer_goes_on(self, backend: Backend) -> None:
        """So the backend hears of the end in its own protocol."""
        with self.begin(backend, stall) as balancer, balancer.client() as client:
            upgraded(client)
            balancer.terminate()
            came(client, GOING_AWAY)
            client.send(b"close frame of the client")
            until(lambda: far(backend).received.endswith(b"close frame of the client"), "the answer")

    def test_a_client_that_was_told_already_is_not_told_again(self, backend: Backend) -> None:
        with self.begin(backend, send(b"\x88\x02\x03\xe8"), stall) as balancer, balancer.client() as client:
            upgraded(client)
            balancer.terminate()
            assert client.rest() == b"\x88\x02\x03\xe8"

    def test_one_that_does_not_read(self, backend: Backend) -> None:
        """It ends all the same."""

        async def pour(c: Connection) -> None:
            while True:
                await c.send(frame(b"x" * 60_000))

        with self.begin(backend, pour) as balancer, balancer.client(receive_buffer=4096) as client:
            upgraded(client)
            settled(lambda: far(backend).sent)
            balancer.terminate()
            assert balancer.wait(within=10) == 0


class TestOtherProtocols:
    """A group says which."""

    allowing: ClassVar = {"LB_GROUPS__G__POOL": "main", "LB_GROUPS__G__UPGRADE": "websocket, Foo/2"}

    def test_one_that_is_listed(self, backend: Backend) -> None:
        """By its name, whatever the case; the first of the client's that is allowed."""
        backend.play(read_head, send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\nhello"), back)
        with Balancer({**self.allowing, **pool("main", backend)}) as balancer, balancer.client() as client:
            upgraded(
                client, request("/", "Connection: upgrade", "Upgrade: bar, h2c, foo/2, websocket", method="OPTIONS")
            )
            assert backend.requests[0].get("upgrade") == "Foo/2"
            came(client, b"hello")
            client.send(b"abc")
            came(client, b"abc")

    def test_it_is_cut_when_we_stop(self, backend: Backend) -> None:
        """Nobody knows how to say goodbye in it."""
        backend.play(read_head, send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n\r\nhello"), stall)
        settings = {**self.allowing, "LB_DRAIN__GRACE": "1s", **pool("main", backend)}
        with Balancer(settings) as balancer, balancer.client() as client:
            upgraded(client, request("/", "Connection: upgrade", "Upgrade: foo/2"))
            balancer.terminate()
            assert client.rest() == b"hello"


class TestBadHandshakes:
    """Whether one is good is for the backend to say."""

    def test_what_the_backend_says_passes(self, balancer: Balancer, backend: Backend) -> None:
        """Without a key; the field that says which versions there are goes on."""
        backend.play(read_all, send(reply(b"no", "Sec-WebSocket-Version: 13", status="426 Upgrade Required")), stall)
        with balancer.client() as client:
            response = client.ask(request("/", "Connection: upgrade", "Upgrade: websocket"))
            assert (response.status, response.body) == (426, b"no")
            assert response.get("sec-websocket-version") == "13"
            assert response.get("connection") == "close"
            assert client.rest() == b""
        assert backend.requests[0].get("sec-websocket-key") is None

    def test_what_was_sent_early_is_nothing_then(self, balancer: Balancer, backend: Backend) -> None:
        """Bytes that were meant for another protocol never become a request."""
        gate = Gate()
        backend.play(read_all, pause(gate), send(reply(b"no", status="403 Forbidden")), stall)
        with balancer.client() as client:
            client.send(UPGRADE + request("/smuggled"))
            until(lambda: backend.requests, "the request")
            client.send(request("/smuggled"))
            gate.open()
            assert client.response().status == 403
            assert client.rest() == b""
        assert [seen.target for seen in backend.requests] == [b"/"]

    def test_the_backends_connection_serves_nobody_else(self, balancer: Balancer, backend: Backend) -> None:
        """What a backend believes after an upgrade that it has refused is not certain."""
        backend.play(forever(read_all, send(reply(b"no", status="400 Bad Request"))))
        with balancer.client() as client:
            assert client.ask(UPGRADE).status == 400
        assert balancer.get("/").status == 400
        assert [len(c.requests) for c in backend.connections] == [1, 1]


class TestSmuggling:
    """An upgrade is what all three agree on, or none."""

    @pytest.mark.parametrize(
        ("framing", "body"),
        [("Content-Length: 5", b"hello"), ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")],
    )
    def test_with_a_body_it_is_a_plain_request(
        self, balancer: Balancer, backend: Backend, framing: str, body: bytes
    ) -> None:
        with balancer.client() as client:
            client.send(request("/", *HANDSHAKE, framing, method="POST") + body + request("/next"))
            assert [client.response().body, client.response().body] == [b"hello", b"hello"]
        assert backend.bodies == [b"hello", b""]
        assert backend.requests[0].get("upgrade") is None

    @pytest.mark.parametrize("upgrade", ["h2c", "H2C", "h2c, h2c"])
    def test_h2c_is_never_forwarded(self, balancer: Balancer, backend: Backend, upgrade: str) -> None:
        with balancer.client() as client:
            asked = request("/", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}", "HTTP2-Settings: AAMA")
            assert client.ask(asked).body == b"hello"
            assert client.ask(request("/next")).body == b"hello"
        assert [seen.get("upgrade") for seen in backend.requests] == [None, None]
        assert [seen.get("http2-settings") for seen in backend.requests] == [None, None]

    def test_beside_websocket_it_is_left_out(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, send(SWITCHED), stall)
        with balancer.client() as client:
            upgraded(client, request("/", *HANDSHAKE[2:], "Connection: upgrade", "Upgrade: h2c, websocket"))
        assert backend.requests[0].all("upgrade") == [b"websocket"]

    def test_a_101_that_nobody_asked_for(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_all, send(SWITCHED + b"smuggled"), stall)
        with balancer.client() as client:
            response = client.ask(request("/"))
            assert response.status == 502
            assert b"smuggled" not in response.body

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 101 X\r\n\r\n",
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: gzip\r\n\r\n",
        ],
    )
    def test_a_101_to_something_else(self, balancer: Balancer, backend: Backend, head: bytes) -> None:
        backend.play(read_head, send(head + b"smuggled"), stall)
        with balancer.client() as client:
            client.send(UPGRADE)
            answer = client.rest()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"smuggled" not in answer

    def test_a_200_is_no_101(self, balancer: Balancer, backend: Backend) -> None:
        """However much its fields look like one."""
        fields = "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: x"
        backend.play(read_all, send(reply(b"just a page", *fields)), stall)
        with balancer.client() as client:
            client.send(UPGRADE + request("/smuggled"))
            assert client.response().body == b"just a page"
            assert client.rest() == b""
        assert len(backend.requests) == 1

    def test_pipelined_behind_a_request(self, balancer: Balancer, backend: Backend) -> None:
        """It waits for its turn, and then the connection is its own."""

        async def play(c: Connection) -> None:
            while True:
                asked = await c.head()
                if asked.get("upgrade"):
                    await c.send(SWITCHED)
                    await back(c)
                await c.send(reply(b"first"))

        backend.play(play)
        with balancer.client() as client:
            client.send(request("/first") + UPGRADE + b"early")
            assert client.response().body == b"first"
            assert client.head()[0] == 101
            came(client, b"early")

    def test_the_control_plane_has_none(self, balancer: Balancer, backend: Backend) -> None:
        with balancer.client() as client:
            client.send(request("/-/live", *HANDSHAKE) + request("/-/live"))
            assert [client.response().status, client.response().status] == [200, 200]
        assert backend.requests == []

    def test_over_http_1_0(self, balancer: Balancer, backend: Backend) -> None:
        with balancer.client() as client:
            client.send(request("/", *HANDSHAKE, version="1.0"))
            assert client.rest().endswith(b"hello")
        assert backend.requests[0].get("upgrade") is None


def test_a_hedge_is_not_for_tunnels(start: Callable[..., Backend]) -> None:
    """Two would be opened where one was asked for."""
    gate = Gate()
    slow = start(read_head, pause(gate), send(SWITCHED), stall)
    settings = pool("main", slow, start(), hedge__enabled="true", hedge__min_delay="10ms", strategy="first")
    with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer, balancer.client() as client:
        client.send(UPGRADE)
        until(lambda: slow.requests, "the request")
        in_loop(later(gate))
        assert client.head()[0] == 101


async def later(gate: Gate) -> None:
    """Open *gate* long after a hedge would have been tried."""
    await asyncio.sleep(0.3)
    gate.open()


def test_a_mirror_copies_no_upgrade(backend: Backend, start: Callable[..., Backend]) -> None:
    """Nobody could talk to the copy."""
    other = start()
    backend.play(forever(read_head, send(SWITCHED), stall))
    settings = {"LB_GROUPS__G__POOL": "main", "LB_GROUPS__G__MIRROR__POOL": "other"}
    with Balancer({**settings, **pool("main", backend), **pool("other", other)}) as balancer:
        with balancer.client() as client:
            upgraded(client)
        backend.answer(b"hello")
        assert balancer.get("/copied").body == b"hello"
        until(lambda: other.requests, "the copy of the plain one")
        assert [seen.target for seen in other.requests] == [b"/copied"]


def test_the_time_to_the_101_is_limited(backend: Backend) -> None:
    """As that to any response."""
    backend.play(read_head, stall)
    with balancing(backend, pools__main__timeouts__response="200ms") as balancer, balancer.client() as client:
        assert client.ask(UPGRADE).status == 504


def test_the_whole_exchange_is_not(backend: Backend) -> None:
    """`timeouts.total` is over with the 101."""
    backend.play(read_head, send(SWITCHED), back)
    with balancing(backend, pools__main__timeouts__total="300ms") as balancer, balancer.client() as client:
        upgraded(client)
        in_loop(asyncio.sleep(0.6))
        client.send(b"abc")
        came(client, b"abc")
