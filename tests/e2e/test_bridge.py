"""WebSockets under another server than ours: message by message, with a handshake of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection

from tests.support import control
from tests.support.backend import Backend, close, in_loop, read_head, reply, reset, send, stall
from tests.support.raw import request
from tests.support.server import Balancer, pool
from tests.support.talker import HANDSHAKE, Talker, echo, frame, talking
from tests.support.until import settled, until

MIB = 1 << 20
PARSERS = ["h11", "httptools"]


@pytest.fixture(scope="module", params=["asgi"], autouse=True)
def driver() -> str:
    """Another server knows no other."""
    return "asgi"


def deny(connection: ServerConnection, asked: Request) -> Response | None:
    """`/401` and the like are answered so, with a body; all else shakes hands."""
    if asked.path[1:].isdigit():
        return connection.respond(HTTPStatus(int(asked.path[1:])), "because\n")
    return None


@pytest.fixture(scope="module")
def shared_talker() -> Iterator[Talker]:
    with Talker(process_request=deny, select_subprotocol=lambda _, offered: offered[-1] if offered else None) as talker:
        yield talker


@pytest.fixture
def talker(shared_talker: Talker) -> Talker:
    """It sends everything back until it is told something else."""
    return shared_talker.play()


@pytest.fixture(scope="module", params=PARSERS)
def balancer(request: pytest.FixtureRequest, driver: str, shared_talker: Talker, shared: Backend) -> Iterator[Balancer]:
    settings = {
        "LB_ROUTES": "/=main; /raw=raw; /hasty=hasty", **control.OPEN,
        **pool("main", shared_talker), **pool("raw", shared), **pool("hasty", shared_talker, timeouts__tunnel="500ms"),
    }  # fmt: skip
    with Balancer(settings, "--http", request.param, "--ws", "websockets-sansio") as running:
        yield running
        complaint = "ASGI callable returned without completing handshake"  # uvicorn's, after each denial
        running.errors[:] = [line for line in running.errors if complaint not in line]


def ended(ws: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which the server ends it, once it does."""
    with pytest.raises(ConnectionClosed):
        ws.recv(timeout=15)
    return ws.close_code, ws.close_reason


def in_flight(balancer: Balancer) -> int:
    """Requests in flight at the backend of the pool `main`."""
    (backend,) = control.seen(balancer)["backends"].values()
    return int(backend["in_flight"])


def test_messages_pass(balancer: Balancer, talker: Talker) -> None:
    """Text, binary, empty, long."""
    messages: list[str | bytes] = ["hello", "", b"\0\1", b"", "ü" * 70_000, os.urandom(MIB)]
    with talking(balancer) as ws:
        for message in messages:
            ws.send(message)
        assert [ws.recv(timeout=15) for _ in messages] == messages


def test_the_handshake_with_the_backend_is_ours(balancer: Balancer, talker: Talker) -> None:
    """The client's extensions end at the server that it talks to; everything else goes on."""
    with talking(balancer, "/path?q", additional_headers={"Cookie": "a=1"}) as ws:
        asked = talker.first().request
        assert asked is not None
        assert (asked.path, asked.headers["Cookie"]) == ("/path?q", "a=1")
        assert asked.headers["X-Forwarded-For"] == "127.0.0.1"
        assert asked.headers["X-Forwarded-Proto"] == "http"
        assert "Sec-WebSocket-Extensions" not in asked.headers
        assert ws.response is not None
        assert ws.response.headers["via"] == "1.1 l7lb"


@pytest.mark.parametrize(("offered", "chosen"), [(["a", "b"], "b"), (["a"], "a"), ([], None)])
def test_the_backend_chooses_the_subprotocol(
    balancer: Balancer, talker: Talker, offered: list[str], chosen: str | None
) -> None:
    with talking(balancer, subprotocols=offered) as ws:
        assert ws.subprotocol == chosen


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4123])
def test_the_client_closes(balancer: Balancer, talker: Talker, code: int) -> None:
    with talking(balancer) as ws:
        ws.close(code, "because of ü")
    until(lambda: talker.first().close_code, "the close")
    assert (talker.first().close_code, talker.first().close_reason) == (code, "because of ü")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4123])
def test_the_backend_closes(balancer: Balancer, talker: Talker, code: int) -> None:
    """What it said before comes first."""

    async def leave(ws: ServerConnection) -> None:
        await ws.send("last words")
        await ws.close(code, "because of ü")

    talker.play(leave)
    with talking(balancer) as ws:
        assert ws.recv(timeout=15) == "last words"
        assert ended(ws) == (code, "because of ü")


def test_pings_are_answered_on_either_side(balancer: Balancer, talker: Talker) -> None:
    async def ping(ws: ServerConnection) -> None:
        await (await ws.ping("from the backend"))
        await ws.send("heard")
        await echo(ws)

    talker.play(ping)
    with talking(balancer) as ws:
        assert ws.recv(timeout=15) == "heard"
        assert ws.ping("from the client").wait(15)


def test_fragments_are_put_together(balancer: Balancer, talker: Talker) -> None:
    async def pieces(ws: ServerConnection) -> None:
        await ws.send([await ws.recv(decode=False), b" and ", b"back"])

    talker.play(pieces)
    with talking(balancer) as ws:
        ws.send([b"there", b""])
        assert ws.recv(timeout=15) == b"there and back"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_denial_passes_with_its_body(balancer: Balancer, talker: Talker, status: int) -> None:
    with pytest.raises(InvalidStatus) as denied, talking(balancer, f"/{status}"):
        pass
    assert (denied.value.response.status_code, denied.value.response.body) == (status, b"because\n")
    assert balancer.record(lambda record: record["path"] == f"/{status}")["status"] == status


def test_our_own_denial(balancer: Balancer, backend: Backend) -> None:
    """And a status that not every server knows."""
    backend.play(read_head, close)
    with pytest.raises(InvalidStatus) as denied, talking(balancer, "/raw"):
        pass
    assert denied.value.response.status_code == 502
    backend.play(read_head, send(reply(b"strange", status="477 Strange")), stall)
    with pytest.raises(InvalidStatus) as denied, talking(balancer, "/raw"):
        pass
    assert (denied.value.response.status_code, denied.value.response.body) == (400, b"strange")


def test_the_control_plane_has_none(balancer: Balancer, talker: Talker) -> None:
    with pytest.raises(InvalidStatus) as denied, talking(balancer, "/-/live"):
        pass
    assert denied.value.response.status_code == 403


def test_it_is_logged_once_at_its_end(balancer: Balancer, talker: Talker) -> None:
    """Status 101, and the bytes of its messages."""
    with talking(balancer, "/logged") as ws:
        ws.send("x" * 100)
        ws.recv(timeout=15)
        assert in_flight(balancer) == 1
        assert not [record for record in balancer.records() if record["path"] == "/logged"]
    record = balancer.record(lambda record: record["path"] == "/logged")
    assert (record["status"], record["reason"], record["scheme"]) == (101, "", "http")
    assert (record["bytes_in"], record["bytes_out"]) == (100, 100)
    until(lambda: in_flight(balancer) == 0, "its place to be given back")


class TestEnds:
    def test_a_client_that_is_lost(self, balancer: Balancer, talker: Talker) -> None:
        """The backend's side is cut: there is no code for what the client did not say."""
        with talking(balancer) as ws:
            ws.send("hello")
            ws.recv(timeout=15)
            ws.socket.close()
            until(lambda: talker.first().close_code, "the backend to see it")
        assert talker.first().close_code in (CloseCode.ABNORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD)
        until(lambda: in_flight(balancer) == 0, "its place to be given back")

    def test_a_client_that_leaves_before_it_is_answered(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, stall)
        client = balancer.client()
        client.send(request("/raw/impatient", *HANDSHAKE))
        until(lambda: backend.requests, "the request")
        client.reset()
        until(lambda: backend.connections[0].closed, "the attempt to be cancelled")
        assert balancer.record(lambda record: record["path"] == "/raw/impatient")["status"] == 499

    @pytest.mark.parametrize("how", [reset, close])
    def test_a_backend_that_is_lost(self, balancer: Balancer, talker: Talker, how: object) -> None:
        """The client is told that it is the gateway's backend that is bad."""

        async def vanish(ws: ServerConnection) -> None:
            await ws.send("last words")
            await ws.recv()
            ws.transport.abort() if how is reset else ws.transport.close()

        talker.play(vanish)
        with talking(balancer) as ws:
            assert ws.recv(timeout=15) == "last words"
            ws.send("go")
            assert ended(ws)[0] == CloseCode.BAD_GATEWAY
        until(lambda: in_flight(balancer) == 0, "its place to be given back")

    def test_idle(self, balancer: Balancer, talker: Talker) -> None:
        """Both sides are told."""
        with talking(balancer, "/hasty") as ws:
            assert ended(ws)[0] == CloseCode.GOING_AWAY
        until(lambda: talker.first().close_code == CloseCode.GOING_AWAY, "the backend to be told")
        record = balancer.record(lambda record: record["path"] == "/hasty")
        assert (record["status"], record["reason"]) == (101, "connection_read_timeout")

    def test_a_backend_that_is_drained_with_a_deadline(self, balancer: Balancer, talker: Talker) -> None:
        (name,) = control.seen(balancer)["backends"]
        try:
            with talking(balancer) as ws:
                control.change(balancer, name, draining=True, deadline=0.2)
                assert ended(ws)[0] == CloseCode.GOING_AWAY
                until(lambda: talker.first().close_code == CloseCode.GOING_AWAY, "the backend to be told")
        finally:
            control.change(balancer, name, draining=False)

    def test_a_client_that_does_not_read(self, balancer: Balancer, talker: Talker) -> None:
        """It cannot be told, and is no reason to stay."""

        async def pour(ws: ServerConnection) -> None:
            while True:
                await ws.send(b"x" * 60_000)

        talker.play(pour)
        (name,) = control.seen(balancer)["backends"]
        try:
            with balancer.client(receive_buffer=4096) as client:
                client.send(request("/", *HANDSHAKE))
                assert client.head()[0] == 101
                control.change(balancer, name, draining=True, deadline=0.2)
                until(lambda: in_flight(balancer) == 0, "its place to be given back")
        finally:
            control.change(balancer, name, draining=False)

    def test_the_grace_time_ends(self, talker: Talker) -> None:
        """That server tells the client by itself, the backend is told by us."""
        settings = {"LB_ROUTES": "/=main", "LB_DRAIN__GRACE": "1s", **pool("main", talker)}
        with Balancer(settings, "--http", "h11") as balancer, talking(balancer) as ws:
            balancer.terminate()
            assert ended(ws)[0] in (CloseCode.GOING_AWAY, CloseCode.SERVICE_RESTART)
            until(lambda: talker.first().close_code, "the backend to be told")
            assert balancer.wait(within=10) == 0


class TestLies:
    """What a backend says that is no WebSocket."""

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: nonsense\r\n\r\n",
        ],
    )
    def test_no_handshake(self, balancer: Balancer, backend: Backend, head: bytes) -> None:
        backend.play(read_head, send(head), stall)
        with pytest.raises(InvalidStatus) as denied, talking(balancer, "/raw"):
            pass
        assert denied.value.response.status_code == 502

    @pytest.mark.parametrize(
        "said",
        [b"\xff\xff\xff\xff", frame(b"masked", mask=True), b"\x81\x02\xff\xfe"],
        ids=["no frame", "masked", "no UTF-8"],
    )
    def test_no_frames(self, balancer: Balancer, talker: Talker, said: bytes) -> None:
        async def lie(ws: ServerConnection) -> None:
            ws.transport.write(said)
            await ws.wait_closed()

        talker.play(lie)
        with talking(balancer) as ws:
            assert ended(ws)[0] == CloseCode.BAD_GATEWAY

    def test_a_message_without_end(self, balancer: Balancer, talker: Talker) -> None:
        """Over 16 MiB it is refused: ASGI takes messages whole only."""

        async def lie(ws: ServerConnection) -> None:
            ws.transport.write(b"\x82\x7f" + (1 << 40).to_bytes(8, "big") + b"x" * 1000)
            await ws.wait_closed()

        talker.play(lie)
        with talking(balancer) as ws:
            assert ended(ws)[0] == CloseCode.BAD_GATEWAY
        until(lambda: talker.first().close_code == CloseCode.MESSAGE_TOO_BIG, "the backend to be told")


@pytest.mark.parametrize("direction", ["to the client", "to the backend"])
def test_a_slow_reader_costs_no_memory(balancer: Balancer, talker: Talker, direction: str) -> None:
    """64 MiB in messages for one that does not read."""
    sent = 0
    piece = os.urandom(MIB // 4)

    async def pour(ws: ServerConnection) -> None:
        nonlocal sent
        for _ in range(256):
            await ws.send(piece)
            sent += len(piece)

    async def wait(ws: ServerConnection) -> None:
        ws.transport.pause_reading()
        await ws.wait_closed()

    talker.play(pour if direction == "to the client" else wait)
    before = balancer.rss()
    balancer.forget_peak()
    with balancer.client(receive_buffer=65536, timeout=1.0) as client:
        client.send(request("/", *HANDSHAKE))
        assert client.head()[0] == 101
        if direction == "to the client":
            assert settled(lambda: sent) < 16 * MIB
        else:
            with pytest.raises(TimeoutError):
                client.send(frame(piece, mask=True) * 256)
    assert balancer.rss("VmHWM") - before < 16 * MIB
    for ws in talker.sockets:
        in_loop(cut(ws))


async def cut(ws: ServerConnection) -> None:
    """End it at once."""
    ws.transport.abort()
