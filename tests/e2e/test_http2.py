"""HTTP/2 to backends, from outside: gRPC, real servers of others, and what must be as it is with HTTP/1.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hyperframe.frame import HeadersFrame, RstStreamFrame, WindowUpdateFrame

from tests.support.backend import Connection, answers, reply
from tests.support.grpc_server import SERVICE, GrpcServer, message, messages
from tests.support.h2 import H2Backend, Peer, data, goaway, listen, reset, said, serve
from tests.support.raw import Response, chunked, request
from tests.support.server import Balancer, pool
from tests.support.tls import Certificate
from tests.support.until import settled, until

FILE = bytes(range(256)) * 4000
GRPC = ("content-type: application/grpc", "te: trailers", "transfer-encoding: chunked")


@pytest.fixture(scope="module")
def grpc_servers() -> Iterator[list[GrpcServer]]:
    with GrpcServer("a") as one, GrpcServer("b") as other:
        yield [one, other]


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    with H2Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def settings(
    grpc_servers: list[GrpcServer], nghttpd: dict[str, str], either: dict[str, Either], certificate: Certificate
) -> dict[str, str]:
    both = {"tls__ca": certificate.ca, "tls__alpn": "h2,http/1.1"}
    strict = {"tls__ca": certificate.ca, "tls__alpn": "h2"}
    told = pool("nobody", backends="h2c://127.0.0.1:1") | pool("strict", either["old"], **strict)
    for name, backend in either.items():
        told |= pool(name, backend, **both)
    if nghttpd:
        probed = {"health__path": "/file", "health__interval": "100ms"}
        told |= pool("plain", backends=nghttpd["h2c"], **probed)
        told |= pool("secure", backends=nghttpd["https"], **strict, **probed)
        told |= pool("agreed", backends=nghttpd["https"], **both)
    for name in [key.split("__")[1] for key in told if key.endswith("__BACKENDS")]:
        group, path = f"LB_GROUPS__{name}__", f"/{name.lower()}"
        told |= {f"{group}PATH": path, f"{group}POOL": name.lower(), f"{group}STRIP_PREFIX": path}
    routes = {"LB_ROUTES": f"/{SERVICE}=grpc; /=main", "LB_INITIAL_GRACE": "100ms"}
    return {**routes, **pool("grpc", *grpc_servers), **told}


def call(balancer: Balancer, method: str, *sent: bytes, fields: tuple[str, ...] = ()) -> Response:
    body = chunked(*[message(one) for one in sent])
    with balancer.client() as client:
        return client.ask(request(f"/{SERVICE}/{method}", *GRPC, *fields, method="POST") + body)


def status_of(response: Response) -> tuple[bytes, list[bytes]]:
    """The status of a call, and its messages."""
    found = dict(response.fields) | dict(response.trailers)
    return found[b"grpc-status"], messages(response.body)


@pytest.mark.parametrize(
    ("method", "sent", "status", "answers_"),
    [
        ("Unary", [b"x" * 100_000], b"0", [b"x" * 100_000]),
        ("Count", [b"1000"], b"0", [b"%d" % i for i in range(1000)]),
        ("Both", [b"a", b"b", b"c"], b"0", [b"A", b"B", b"C"]),
        ("Sum", [b"1", b"2", b"3"], b"0", [b"6"]),
        ("Fail", [b""], b"5", []),
        ("Nothing", [b""], b"12", []),
    ],
)
def test_grpc(balancer: Balancer, method: str, sent: list[bytes], status: bytes, answers_: list[bytes]) -> None:
    """Each kind of call, its status in the trailers or, where there is nothing else, in the head."""
    response = call(balancer, method, *sent)

    found, got = status_of(response)
    assert (response.status, found) == (200, status)
    assert [one[-len(want) :] for one, want in zip(got, answers_, strict=True)] == answers_


def test_each_call_is_balanced(balancer: Balancer, grpc_servers: list[GrpcServer]) -> None:
    """However many go over one connection."""
    with balancer.client() as client:
        asked = request(f"/{SERVICE}/Unary", *GRPC, method="POST") + chunked(message(b"-"))
        who = [messages(client.ask(asked).body)[0] for _ in range(10)]

    assert sorted(who) == [b"a-"] * 5 + [b"b-"] * 5


def test_the_deadline_of_a_call(balancer: Balancer, grpc_servers: list[GrpcServer]) -> None:
    """It is passed on, less what has gone of it."""
    response = call(balancer, "Unary", b"x", fields=("grpc-timeout: 30S",))
    told = [server.deadlines[-1] for server in grpc_servers if server.deadlines and server.deadlines[-1]]

    assert status_of(response)[0] == b"0"
    assert any(25 < seconds <= 30 for seconds in told)


def test_a_call_that_nobody_answers(balancer: Balancer) -> None:
    """Its client looks for a status of gRPC; in our log it is what it would be for others."""
    with balancer.client() as client:
        response = client.ask(request("/nobody", *GRPC, method="POST") + chunked(message(b"")))
        web = client.ask(request("/nobody", "content-type: application/grpc-web", method="POST", body=b""))

    fields = dict(response.fields)
    assert (response.status, response.body, fields[b"content-type"]) == (200, b"", b"application/grpc")
    assert (fields[b"grpc-status"], fields[b"grpc-message"]) == (b"14", b"connection refused")
    assert fields[b"proxy-status"] == b"l7lb; error=connection_refused"
    assert web.status == 502
    balancer.record(lambda line: line["status"] == 502 and line["reason"] == "connection_refused")


def test_a_client_that_leaves_a_call(balancer: Balancer, grpc_servers: list[GrpcServer]) -> None:
    before = sum(server.cancelled for server in grpc_servers)
    with balancer.client() as client:
        client.send(request(f"/{SERVICE}/Late", *GRPC, method="POST") + chunked(message(b"")))
        until(lambda: sum(server.calls.count("Late") for server in grpc_servers) > before)
        client.reset()

    until(lambda: sum(server.cancelled for server in grpc_servers) == before + 1, "the call to be cancelled")


@pytest.fixture
def backend(shared: Any) -> H2Backend:
    """The module's backend, as if it were new."""
    shared.play(shared._play)
    shared.peers.clear()
    shared.scripts = (serve,)
    return shared


def test_the_deadline_of_a_call_is_over(balancer: Balancer, backend: H2Backend) -> None:
    """Its client is told so, and its backend that nobody wants the answer any more."""
    backend.scripts = (listen,)
    with balancer.client() as client:
        asked = request("/late", *GRPC, "grpc-timeout: 100m", method="POST") + chunked(message(b""))
        response = client.ask(asked)

    assert (response.status, status_of(response)) == (200, (b"4", []))
    until(lambda: said(backend.peers[0], RstStreamFrame), "the stream to be cancelled")
    balancer.record(lambda line: line["path"] == "/late" and line["status"] == 504)


# What is as it always is...


def test_requests_share_a_connection(balancer: Balancer, backend: H2Backend) -> None:
    """Those of different clients, whose own connections are theirs alone; each with its own fields."""
    with balancer.client() as one, balancer.client() as other:
        for i in range(3):
            assert one.ask(request(f"/one/{i}", "cookie: one")).body == b"/one/%d" % i
            assert other.ask(request(f"/other/{i}")).body == b"/other/%d" % i

    assert len(backend.connections) == 1
    asked = backend.peers[0].requests
    assert [one.all("cookie") for one in asked] == [[b"one"], []] * 3
    assert all(one.all(":authority") == [b"lb.test"] and one.all("x-request-id") for one in asked)


def test_a_head_and_a_body(balancer: Balancer, backend: H2Backend) -> None:
    """Length where there is one, chunked where there is not, and what a HEAD has."""

    async def play(peer: Peer) -> None:
        while True:
            asked = await peer.request()
            body = await peer.body(asked)
            length = [(b"content-length", b"%d" % len(body))] if b"?sized" in asked.all(":path")[0] else []
            if asked.all(":method") == [b"HEAD"]:
                await peer.send(peer.head(asked.stream, 200, (b"content-length", b"7"), end=True))
            else:
                await peer.answer(asked.stream, body, *length)

    backend.scripts = (play,)
    with balancer.client() as client:
        sized = client.ask(request("/?sized", method="POST", body=b"x" * 50_000))
        other = client.ask(request("/", "transfer-encoding: chunked", method="PUT") + chunked(b"a", b"b"))
        head = client.ask(request("/", method="HEAD"))

    assert (sized.body, sized.get("content-length")) == (b"x" * 50_000, "50000")
    assert (other.body, other.get("transfer-encoding")) == (b"ab", "chunked")
    assert (head.status, head.get("content-length")) == (200, "7")


def test_a_refused_request_goes_elsewhere(balancer: Balancer, backend: H2Backend) -> None:
    """The backend has not looked at it, so it may, whatever it is; and the client knows of nothing."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(reset(n, 7))
        await peer.body(await peer.request())
        await peer.send(goaway(n))
        await listen(peer)

    backend.scripts = (play, serve)

    response = balancer.get("/x", method="POST", body=b"body")

    assert (response.status, response.body) == (200, b"/x")
    assert len(backend.connections) == 2
    record = balancer.record(lambda line: line["path"] == "/x")
    assert (record["attempts"], record["status"]) == (2, 200)  # the first has had a second stream


def test_a_websocket_goes_over_http_1(balancer: Balancer, backend: H2Backend) -> None:
    """A connection of its own, for the backend may speak both."""

    async def both(c: Connection) -> None:
        await c.head()
        await c.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello")
        await c.swallow()

    backend.play(both)
    with balancer.client() as client:
        client.send(request("/ws", "upgrade: websocket", "connection: upgrade"))
        status, _, _ = client.head()
        while b"hello" not in client.buffer:
            assert client.more()

    assert status == 101


def test_a_slow_client_holds_nobody_up(balancer: Balancer, backend: H2Backend) -> None:
    """What is sent to it waits at the backend, whatever it is; others go by on the same connection."""
    sent = 0

    async def play(peer: Peer) -> None:
        nonlocal sent
        slow = (await peer.request()).stream
        await peer.send(peer.head(slow))
        credit = 262_144
        other: int | None = None
        while other is None or credit >= 16_384:
            while credit >= 16_384:
                await peer.send(data(slow, b"x" * 16_384, end=False))
                credit -= 16_384
                sent += 16_384
            frame = await peer.next()
            if isinstance(frame, WindowUpdateFrame) and frame.stream_id == slow:
                credit += frame.window_increment
            elif isinstance(frame, HeadersFrame):
                other = frame.stream_id
        await peer.answer(other, b"quick")
        await listen(peer)

    backend.scripts = (play,)
    with balancer.client(receive_buffer=4096) as slow:
        slow.send(request("/slow"))
        settled(lambda: sent)

        assert balancer.get("/quick").body == b"quick"
        assert sent < 16 * 2**20
        assert len(backend.connections) == 1


# Others' servers, and TLS...


@pytest.fixture(scope="module")
def nghttpd(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[dict[str, str]]:
    """nghttp2's server: h2c and TLS, HTTP/2 only."""
    program = shutil.which("nghttpd")
    if program is None:
        yield {}
        return
    root = tmp_path_factory.mktemp("root")
    (root / "file").write_bytes(FILE)
    ports = [free_port(), free_port()]
    plain = [program, "--no-tls", "-d", str(root), str(ports[0])]
    secure = [program, "-d", str(root), str(ports[1]), str(certificate.key), str(certificate.cert)]
    started = [subprocess.Popen(one, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for one in (plain, secure)]
    for port in ports:
        until(lambda port=port: connects(port), "nghttpd")
    yield {"h2c": f"h2c://127.0.0.1:{ports[0]}", "https": f"https://localhost:{ports[1]}"}
    for one in started:
        one.terminate()
        one.wait()


@pytest.mark.parametrize("which", ["plain", "secure", "agreed"])
def test_nghttpd(balancer: Balancer, nghttpd: dict[str, str], which: str) -> None:
    """Probed, asked, and asked for much."""
    if not nghttpd:
        pytest.skip("no nghttpd")
    until(lambda: balancer.get(f"/{which}/file", method="HEAD").status == 200, "the first probe")

    assert balancer.get(f"/{which}/file").body == FILE
    assert balancer.get(f"/{which}/nothing").status == 404


class Either(H2Backend):
    """Offers *alpn*, and speaks what is agreed on; HTTP/1.1 where nothing is.

    Attributes:
        agreed: for each connection.
    """

    def __init__(self, certificate: Certificate, *alpn: str) -> None:
        context = certificate.server()
        if alpn:
            context.set_alpn_protocols(alpn)
        self.agreed: list[str | None] = []
        super().__init__(tls=context)

    async def _play(self, c: Connection) -> None:
        self.agreed.append(c.transport.get_extra_info("ssl_object").selected_alpn_protocol())
        await (super()._play(c) if self.agreed[-1] == "h2" else answers(reply(b"/"))(c))


@pytest.fixture(scope="module")
def either(certificate: Certificate) -> Iterator[dict[str, Either]]:
    with (
        Either(certificate, "h2", "http/1.1") as both,
        Either(certificate, "http/1.1") as old,
        Either(certificate) as none,
    ):
        yield {"both": both, "old": old, "none": none}


@pytest.mark.parametrize(("which", "agreed"), [("both", "h2"), ("old", "http/1.1"), ("none", None)])
def test_what_alpn_agrees_on(balancer: Balancer, either: dict[str, Either], which: str, agreed: str | None) -> None:
    """Of both, the backend chooses; one that knows nothing of ALPN speaks HTTP/1.1. Each keeps its connection."""
    either[which].agreed.clear()
    with balancer.client() as client:
        answered = [client.ask(request(f"/{which}")).status for _ in range(3)]

    assert answered == [200] * 3
    assert either[which].agreed == [agreed]


def test_a_backend_that_does_not_agree(balancer: Balancer) -> None:
    """Where HTTP/2 alone is asked for."""
    response = balancer.get("/strict")

    assert response.status == 502
    assert "tls_protocol_error" in response.body.decode()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def connects(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
