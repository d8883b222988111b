"""What a client may take of us: bytes, fields and time, each with an end."""

from __future__ import annotations

import itertools

import pytest

from tests.support.backend import Backend, Connection, Gate, pause, read_head, reply, send, stall
from tests.support.raw import Client, chunked, request
from tests.support.server import Balancer
from tests.support.until import until


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {
        "LB_EDGE__HEADER_TIMEOUT": "400ms",
        "LB_EDGE__BODY_TIMEOUT": "400ms",
        "LB_EDGE__KEEP_ALIVE": "400ms",
        "LB_EDGE__WRITE_TIMEOUT": "400ms",
        "LB_EDGE__MAX_BODY": "10KiB",
        "LB_EDGE__MAX_HEADER_BYTES": "16KiB",
    }


def refusal(client: Client) -> int:
    """The status of the last response there is; then the connection ends."""
    status = client.response().status
    assert client.rest() == b""
    return status


def pour(client: Client, piece: bytes) -> None:
    """Send *piece* again and again until the balancer has had enough; it has to, within some megabytes."""
    client.socket.settimeout(5)
    try:
        for _ in range(200):
            client.send(piece * (65536 // len(piece)))
    except ConnectionError:
        return
    raise AssertionError("13 MB were taken without a word")


def test_a_head_up_to_the_limit_passes(balancer: Balancer, backend: Backend) -> None:
    assert balancer.get("/", "X-Big: " + "a" * 15_000).status == 200


@pytest.mark.parametrize(
    "asked",
    [
        request("/", "X-Big: " + "a" * 17_000),
        request("/", *(f"X-{n}: {'a' * 200}" for n in range(90))),
        request("/" + "a" * 17_000),
        request("/?" + "a" * 17_000),
    ],
    ids=["one field", "many fields", "path", "query"],
)
def test_a_larger_head_gets_431(balancer: Balancer, backend: Backend, asked: bytes) -> None:
    with balancer.client() as client:
        client.send(asked)
        assert refusal(client) in (431, 414)

    assert backend.requests == []


def test_a_hundred_fields_pass_and_one_more_gets_431(balancer: Balancer, backend: Backend) -> None:
    """Host is one of them."""
    assert balancer.get("/", *(f"X-{n}: 1" for n in range(99))).status == 200
    with balancer.client() as client:
        client.send(request("/", *(f"X-{n}: 1" for n in range(100))))
        assert refusal(client) == 431

    assert len(backend.requests) == 1


def test_a_body_in_the_same_segment_is_not_head(balancer: Balancer, backend: Backend) -> None:
    """Limits of the head count the head alone: 10 KiB of body right behind 10 KiB of head are fine."""
    assert balancer.get("/", "X-Big: " + "a" * 10_000, method="POST", body=b"b" * 10_000).status == 200


@pytest.mark.parametrize(
    "start",
    [b"GET / HTTP/1.1\r\nHost: lb.test\r\nX-Big: ", b"GET /", b"", b"GET / HTTP/1.1\r\nHost: lb.test\r\nX-A:1\r\n"],
    ids=["value", "target", "method", "fields"],
)
def test_a_head_without_end_is_cut(balancer: Balancer, backend: Backend, start: bytes) -> None:
    with balancer.client() as client:
        client.send(start)
        pour(client, b"X-A:1\r\n" if start.endswith(b"\r\n") else b"A")

    assert balancer.get("/").status == 200


def test_a_declared_body_over_the_limit_gets_413(balancer: Balancer, backend: Backend) -> None:
    """By its length alone: not a byte of it is waited for, and nothing is forwarded."""
    with balancer.client() as client:
        client.send(request("/", "Content-Length: 10241", method="POST"))
        assert refusal(client) == 413

    assert backend.requests == []


def test_a_declared_body_over_the_limit_is_not_continued(balancer: Balancer, backend: Backend) -> None:
    with balancer.client() as client:
        client.send(request("/", "Expect: 100-continue", "Content-Length: 10241", method="POST"))
        response = client.response()

    assert (response.status, response.interim) == (413, ())


def test_a_chunked_body_over_the_limit_gets_413(balancer: Balancer, backend: Backend) -> None:
    """It is counted as it comes; the backend never sees an end of it."""
    with balancer.client() as client:
        client.send(request("/", "Transfer-Encoding: chunked", method="POST") + chunked(*[b"a" * 1000] * 11))
        assert refusal(client) == 413

    assert backend.bodies == []


def test_a_client_that_sends_on_can_read_its_413(balancer: Balancer, backend: Backend) -> None:
    """Closing at once would reset the connection and take the answer with it: RFC 9112 section 9.6."""
    with balancer.client() as client:
        client.send(request("/", "Content-Length: 500000", method="POST") + b"a" * 500_000)
        assert client.response().status == 413


@pytest.mark.parametrize(
    ("start", "piece"),
    [(b"5;", b"x"), (b"0\r\n", b"X-A: 1\r\n"), (b"0\r\nX-A: ", b"x"), (b"", b"1;" + b"x" * 4090 + b"\r\na\r\n")],
    ids=["extension", "trailers", "trailer", "an extension to each chunk"],
)
def test_extensions_and_trailers_are_bounded(balancer: Balancer, backend: Backend, start: bytes, piece: bytes) -> None:
    """They are dropped, so no limit of the body sees them."""
    with balancer.client() as client:
        client.send(request("/", "Transfer-Encoding: chunked", method="POST") + start)
        pour(client, piece)

    assert backend.bodies == []


def test_a_body_in_tiny_chunks_is_still_counted_by_its_bytes(balancer: Balancer, backend: Backend) -> None:
    """10 KiB in chunks of one byte are within the limit."""
    asked = request("/", "Transfer-Encoding: chunked", method="POST") + chunked(*[b"a"] * 5000)

    assert balancer.ask(asked).status == 200
    assert backend.bodies == [b"a" * 5000]


@pytest.mark.parametrize(
    "sent", [b"GET", b"GET / HTTP/1.1\r\nHost: lb.test\r\n", b"GET / HTTP/1.1\r\nHost: lb.test\r\nX-A"]
)
def test_a_head_that_stops_gets_408(balancer: Balancer, backend: Backend, sent: bytes) -> None:
    with balancer.client() as client:
        client.send(sent)
        assert refusal(client) == 408


def test_a_head_that_drips_gets_408(balancer: Balancer, backend: Backend) -> None:
    """Slowloris: a byte now and then does not move the deadline."""
    with balancer.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: lb.test\r\n")
        client.socket.settimeout(0.05)
        for _ in range(200):
            try:
                client.send(b"X-A: 1\r\n")
                if not client.more():
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert client.buffer.startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_ends(balancer: Balancer) -> None:
    """With 408 or without a word: nothing was asked."""
    with balancer.client() as client:
        assert client.rest()[:13] in (b"", b"HTTP/1.1 408 ")


def test_an_idle_connection_ends_without_a_word(balancer: Balancer, backend: Backend) -> None:
    """Between two requests a 408 would be taken for the answer to the next."""
    with balancer.client() as client:
        assert client.ask(request("/")).status == 200
        assert client.rest() == b""


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_gets_408(balancer: Balancer, backend: Backend, framing: str) -> None:
    with balancer.client() as client:
        client.send(request("/", framing, method="POST") + b"3\r\nab")
        assert refusal(client) == 408

    until(lambda: all(c.closed for c in backend.connections), "the attempt to be given up")
    assert backend.bodies == []


def test_a_client_that_reads_nothing_is_cut(balancer: Balancer, backend: Backend) -> None:
    """It would hold a connection to a backend for ever."""
    piece = b"x" * 65536
    gone = [False]

    async def endless(c: Connection) -> None:
        await c.head()
        await c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        try:
            for _ in itertools.count():
                await c.send(piece)
        finally:
            gone[0] = True

    backend.play(endless)
    with balancer.client(receive_buffer=4096) as client:
        client.send(request("/"))
        until(lambda: gone[0] or None, "the balancer to let go of the backend")


def test_waiting_for_a_backend_is_not_the_clients_delay(balancer: Balancer, backend: Backend) -> None:
    """No deadline of the client's side runs while the backend is at work."""
    gate = Gate()
    backend.play(read_head, pause(gate), send(reply(b"late")), stall)
    with balancer.client() as client, balancer.client() as idle:
        client.send(request("/"))
        assert idle.rest()[:13] in (b"", b"HTTP/1.1 408 "), "one header_timeout is over"
        gate.open()
        assert client.response().body == b"late"
