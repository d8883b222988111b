"""HTTP/2 in front: the same app under other servers, by real clients. What each of them cannot carry is pinned, too."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.support.backend import Backend, Connection, Gate, close, hold, pause, read_all, read_head, reply, send, stall
from tests.support.fronts import SERVERS, Fronted, H2Client, run
from tests.support.server import pool
from tests.support.talker import Talker, talking
from tests.support.tls import Certificate
from tests.support.until import settled, until


@pytest.fixture(scope="module")
def driver() -> str:
    """Other servers know no driver of ours."""
    return "asgi"


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def balancer(server: str, shared: Backend) -> Iterator[Fronted]:
    with Talker() as talker:
        settings = {"LB_ROUTES": "/=main; /talk=talk", **pool("main", shared), **pool("talk", talker)}
        with Fronted(server, settings) as running:
            yield running


@pytest.fixture
def client(balancer: Fronted) -> Iterator[H2Client]:
    with H2Client(balancer.address) as connected:
        yield connected


def test_it_forwards(client: H2Client, backend: Backend) -> None:
    answer = client.ask("GET", "/a%20b?c", ("x-b", "1"), ("x-b", "2"))
    assert (answer.status, answer.body, answer.ended) == (200, b"hello", "")
    (asked,) = backend.requests
    assert (asked.method, asked.target, asked.version) == ("GET", b"/a%20b?c", b"HTTP/1.1")
    assert asked.all("x-b") == [b"1", b"2"]
    assert asked.get("host") == "lb.test"
    assert asked.all("transfer-encoding") + asked.all("content-length") == []


@pytest.mark.parametrize("size", [0, 3, 300_000])
@pytest.mark.parametrize("said", [True, False])
def test_bodies(client: H2Client, backend: Backend, size: int, said: bool) -> None:
    body = b"x" * size
    stream = client.begin("POST", "/", *([("content-length", str(size))] if said else []), end=False)
    client.pour(stream, size)
    assert client.answer(stream).status == 200
    assert backend.bodies == [body]


@pytest.mark.parametrize("early", [True, False], ids=["answered early", "in full"])
def test_a_large_upload(balancer: Fronted, backend: Backend, early: bool) -> None:
    """Answered before it was read, it does not hold up the connection's other streams."""
    if early:
        backend.play(read_head, send(reply(b"enough", status="413 X")), stall)
    with H2Client(balancer.address) as client:
        stream = client.begin("POST", "/", end=False)
        client.pour(stream, 8 << 20)
        assert client.answer(stream).status == (413 if early else 200)
        if not early:
            assert len(backend.bodies[0]) == 8 << 20
        backend.answer(b"hello")
        assert client.ask().body == b"hello"


def test_a_client_that_does_not_read(server: str, balancer: Fronted, backend: Backend) -> None:
    """The backend is made to wait, but under zttp, which takes all there is; and is let go when that client leaves."""
    backend.play(read_head, send(reply(b"x" * (64 << 20))), stall)
    with H2Client(balancer.address) as client:
        stream = client.begin()
        while not client.answers[stream].body:
            client.step(credit=False)
        waits = settled(backend.connections[0].transport.get_write_buffer_size)
        assert (waits > 32 << 20) == (server != "zttp")
    until(lambda: backend.connections[0].closed or server == "zttp", "the attempt to be cancelled")


def test_a_backend_that_does_not_read(balancer: Fronted, backend: Backend) -> None:
    """The client is made to wait."""
    backend.play(read_head, hold, pause(Gate()))
    with H2Client(balancer.address, timeout=0.5) as client:
        stream = client.begin("POST", "/", end=False)
        with pytest.raises(TimeoutError):
            client.pour(stream, 64 << 20)
        assert client.poured < 16 << 20


BODY = b"x"


@pytest.mark.parametrize("fields", [
    [("x-a", "1\r\nx-b: 2")], [("x-a", "1\nx-b: 2")], [("x-a", "\0")], [("x a", "1")], [("x:a", "1")],
    [("X-A", "1")], [("transfer-encoding", "chunked")], [("connection", "x-a")], [("upgrade", "websocket")],
    [("content-length", "abc")], [("content-length", "1_0")], [("content-length", "+1")], [("content-length", "0")],
    [("content-length", "9")], [("content-length", "1"), ("content-length", "2")],
    [("host", "other.test"), ("host", "another.test")],
])  # fmt: skip
def test_what_cannot_be_read_in_one_way_goes_no_further(
    client: H2Client, backend: Backend, fields: list[tuple[str, str]]
) -> None:
    """Refused by the server or by us; the backend sees nothing of it, and its connection is not out of step."""
    answer = client.ask("POST", "/", *fields, body=BODY)
    assert answer.ended or answer.status == 400
    assert backend.bodies in ([], [b""])  # the latter is all of it, where it says that it is nothing


@pytest.mark.parametrize(
    "path", ["/a b", "/ HTTP/1.1\r\nx: y", "/?\r\nb", "/a#b", "http://other.test/", "x", "", "/\0"]
)
def test_targets(client: H2Client, backend: Backend, path: str) -> None:
    answer = client.ask("GET", path)
    if path == "/a#b" and answer.status == 200:  # granian leaves out what is behind it
        assert [asked.target for asked in backend.requests] == [b"/a"]
        return
    assert answer.ended or answer.status == 400
    assert backend.requests == []


@pytest.mark.parametrize("method", ["GET / HTTP/1.1\r\nx:", "A B", "", "CONNECT", "TRACE"])
def test_methods(client: H2Client, backend: Backend, method: str) -> None:
    answer = client.ask(method)
    assert answer.ended or answer.status in (400, 405)
    assert backend.requests == []


@pytest.mark.parametrize("authority", [None, "", "a@lb.test", "a\r\nx: y", "a/b", "a,b"])
def test_authorities(client: H2Client, backend: Backend, authority: str | None) -> None:
    answer = client.ask(authority=authority)
    assert answer.ended or answer.status == 400
    assert backend.requests == []


def test_a_length_without_a_body(client: H2Client, backend: Backend) -> None:
    """hypercorn lets it through; the next request must not become the body that is missing."""
    answer = client.ask("POST", "/", ("content-length", "5"))
    assert answer.ended or answer.status == 400
    assert backend.bodies == []
    with H2Client(client.socket.getpeername()) as other:
        assert other.ask("GET", "/next").body == b"hello"
    assert backend.requests[-1].target == b"/next"


def test_a_refused_upload(client: H2Client, backend: Backend) -> None:
    """What still comes of it is no matter for the connection's other streams."""
    stream = client.begin("POST", "/", authority="a@lb.test", end=False)
    client.pour(stream, 1 << 20)
    answer = client.answer(stream)
    assert answer.ended or answer.status == 400
    assert backend.requests == []
    if not client.dead:
        assert client.ask().body == b"hello"


@pytest.mark.parametrize(
    "fields",
    [[(f"x-{i}", "1") for i in range(101)], [("x-a", "1" * 33000), ("x-b", "1" * 33000)]],
    ids=["many", "long"],
)
def test_large_heads(client: H2Client, backend: Backend, fields: list[tuple[str, str]]) -> None:
    """The limits of our edge."""
    answer = client.ask("GET", "/", *fields)
    assert answer.ended or answer.status == 431
    assert backend.requests == []


def test_one_cookie_of_many_crumbs(client: H2Client, backend: Backend) -> None:
    """RFC 9113 section 8.2.3."""
    client.ask("GET", "/", ("cookie", "a=1"), ("cookie", "b=2"))
    assert backend.requests[0].all("cookie") == [b"a=1; b=2"]


def test_nothing_of_the_connection_comes_back(client: H2Client, backend: Backend) -> None:
    backend.answer(
        b"hello", "Connection: keep-alive, X-A", "X-A: 1", "Keep-Alive: timeout=5", "X-B: 2", "Server: theirs"
    )
    answer = client.ask()
    names = [name for name, _ in answer.fields]
    assert not {b"connection", b"keep-alive", b"x-a", b"transfer-encoding"} & set(names)
    assert (answer.get("x-b"), answer.get("via")) == ("2", "1.1 l7lb")
    assert names.count(b"date") == names.count(b"content-length") == 1


def test_the_log_line(balancer: Fronted, client: H2Client, backend: Backend) -> None:
    client.ask("GET", "/logged?q", ("user-agent", "me"))
    record = balancer.record(lambda record: record["path"] == "/logged")
    assert (record["status"], record["host"], record["scheme"], record["client"]) == (
        200,
        "lb.test",
        "http",
        "127.0.0.1",
    )
    assert record["bytes_out"] == 5


def test_streams_come_as_they_are(client: H2Client, backend: Backend) -> None:
    gate = Gate()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.play(read_head, send(head + b"3\r\na\n\n\r\n"), pause(gate), send(b"3\r\nb\n\n\r\n0\r\n\r\n"))
    stream = client.begin()
    while not client.answers[stream].body:
        client.step()
    gate.open()
    assert client.answer(stream).body == b"a\n\nb\n\n"


def test_a_truncated_response(balancer: Fronted, client: H2Client, backend: Backend) -> None:
    """No invented end: that stream is reset, the others go on."""
    backend.play(read_head, send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), close)
    answer = client.ask("GET", "/cut")
    assert answer.body in (b"abc", b"")
    assert answer.ended.startswith("reset")
    backend.answer(b"hello")
    assert client.ask().body == b"hello"
    # uvicorn shows the exception that it is told by
    balancer.errors[:] = [line for line in balancer.errors if "Traceback" not in line]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("body", [b"", b"x"])
def test_a_stream_that_is_cancelled(client: H2Client, backend: Backend, when: str, body: bytes) -> None:
    """The attempt goes with it, and nothing else does."""

    async def begin(c: Connection) -> None:
        if when == "after":
            await c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")

    backend.play(read_all, begin, stall)
    stream = client.begin("POST" if body else "GET", "/", end=not body)
    if body:
        client.send(stream, body, end=True)
    until(lambda: backend.requests, "the request")
    while when == "after" and not client.answers[stream].body:
        client.step()
    client.h2.reset_stream(stream, 8)
    client.flush()
    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")
    backend.answer(b"hello")
    assert client.ask().body == b"hello"


def test_trailers(server: str, client: H2Client, backend: Backend) -> None:
    """To those who take them, where the server can."""
    trailed = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n"
    backend.play(read_all, send(trailed), read_all, send(trailed), read_all, send(reply(b"none")), stall)
    answer = client.ask("GET", "/", ("te", "trailers"))
    assert (answer.body, answer.ended) == (b"abc", "")
    assert answer.trailers == ([] if server == "granian" else [(b"x-t", b"1"), (b"x-u", b"2")])
    assert client.ask().trailers == []
    assert (answer := client.ask("GET", "/", ("te", "trailers"))).body == b"none"
    assert answer.ended == ""


def test_no_trailers_after_all(client: H2Client, backend: Backend) -> None:
    backend.play(read_all, send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), stall)
    answer = client.ask("GET", "/", ("te", "trailers"))
    assert (answer.body, answer.trailers, answer.ended) == (b"abc", [], "")


def test_early_hints(server: str, client: H2Client, backend: Backend) -> None:
    backend.play(
        read_all,
        send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-A: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"),
        send(reply(b"hello")), stall,
    )  # fmt: skip
    answer = client.ask()
    assert answer.body == b"hello"
    links = [value for hint in answer.hints for name, value in hint if name == b"link"]
    assert links == ([] if server == "granian" else [b"</a>", b"</b>"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_methods_without_a_body(client: H2Client, backend: Backend, method: str) -> None:
    answer = client.ask(method)
    assert (answer.status, answer.ended) == (200, "")
    asked = backend.requests[0]
    assert asked.method == method
    assert asked.all("transfer-encoding") + asked.all("content-length") == []


def test_a_post_without_a_body(server: str, balancer: Fronted, backend: Backend) -> None:
    """Nor a word about that; under zttp nobody is told that none comes."""
    with H2Client(balancer.address, timeout=0.5 if server == "zttp" else 15) as client:
        if server == "zttp":
            with pytest.raises(TimeoutError):
                client.ask("POST")
        else:
            assert client.ask("POST").status == 200
            assert backend.bodies == [b""]
            assert backend.requests[0].all("transfer-encoding") == []


def test_a_body_where_none_is_usual(server: str, client: H2Client, backend: Backend) -> None:
    """A GET with one, whose length nobody says."""
    answer = client.ask("GET", "/", body=b"x")
    assert answer.status == 200
    assert backend.bodies == [b"" if server == "zttp" else b"x"]


def test_websockets(server: str, balancer: Fronted) -> None:
    """Bridged, over HTTP/1.1; uvicorn takes its own protocol for them."""
    with talking(balancer, "/talk") as ws:
        ws.send("hello")
        assert ws.recv(timeout=15) == "hello"


# The same over TLS, as people look at it...


@pytest.fixture(scope="module")
def secured(server: str, shared: Backend, certificate: Certificate) -> Iterator[Fronted]:
    settings = {"LB_ROUTES": "/=main", **pool("main", shared)}
    with Fronted(server, settings, certificate=certificate) as running:
        yield running


@pytest.mark.parametrize("version", ["http2", "http1.1"])
def test_curl(secured: Fronted, backend: Backend, certificate: Certificate, version: str) -> None:
    """ALPN has both."""
    url = f"https://localhost:{secured.port}/a?b"
    said = run("curl", "-sv", "-m", "10", f"--{version}", "--cacert", str(certificate.ca), "-d", "body", url)
    assert "server accepted " + {"http2": "h2", "http1.1": "http/1.1"}[version] in said
    assert said.rstrip().endswith("left intact")
    assert "hello" in said
    assert (backend.requests[0].get("x-forwarded-proto"), backend.bodies) == ("https", [b"body"])


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="Debian's nghttp2-client has it")
def test_nghttp(secured: Fronted, backend: Backend) -> None:
    """With its weights and dependencies between streams."""
    url = f"https://localhost:{secured.port}"
    said = run("nghttp", "-vn", "--no-dep", f"{url}/a", f"{url}/b", f"{url}/c")
    assert said.count(":status: 200") == 3, said
    said = run("nghttp", "-ans", f"{url}/a")
    assert "200" in said


@pytest.mark.skipif(shutil.which("h2load") is None, reason="Debian's nghttp2-client has it")
def test_h2load(secured: Fronted, backend: Backend) -> None:
    """Many streams on a few connections."""
    said = run("h2load", "-n", "400", "-c", "4", "-m", "20", f"https://localhost:{secured.port}/")
    assert "400 succeeded, 0 failed" in said, said
    assert "Application protocol: h2" in said


@pytest.mark.parametrize("server", ["hypercorn", "granian"], scope="function")
def test_clients_certificates_need_our_edge(server: str, shared: Backend, certificate: Certificate) -> None:
    """The start ends with the setting and what to do about it."""
    settings = {"LB_ROUTES": "/=main", "LB_TLS__CLIENT__CA": str(certificate.ca), **pool("main", shared)}
    said = run(*SERVERS[server], **settings)
    assert "LB_TLS__CLIENT__CA: tls.client.ca: another server" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("server", list(SERVERS), scope="function")
def test_what_is_on_its_way_is_finished(server: str, start: Callable[..., Backend]) -> None:
    """When the server stops, within the time that it gives."""
    gate = Gate()
    backend = start(read_head, pause(gate), send(reply(b"hello")), stall)
    with Fronted(server, {"LB_ROUTES": "/=main", **pool("main", backend)}) as balancer:
        with H2Client(balancer.address) as client:
            stream = client.begin()
            until(lambda: backend.requests, "the request")
            balancer.terminate()
            gate.open()
            assert client.answer(stream).body == b"hello"
        assert balancer.wait() == 0
