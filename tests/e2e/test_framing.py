"""Bodies: lengths, chunks, trailers, interim responses, and clients of HTTP/1.0."""

from __future__ import annotations

import hashlib
import random

from tests.support.backend import (
    Backend,
    Connection,
    Gate,
    answers,
    close,
    forever,
    pause,
    read_all,
    read_head,
    reply,
    send,
)
from tests.support.raw import chunked, request
from tests.support.server import Balancer
from tests.support.until import until

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_with_a_length_keeps_it(balancer: Balancer, backend: Backend) -> None:
    balancer.get("/", method="POST", body=b"a" * 70_000)

    assert (backend.requests[0].get("content-length"), backend.requests[0].all("transfer-encoding")) == ("70000", [])
    assert backend.bodies == [b"a" * 70_000]


def test_an_empty_body_with_a_length_keeps_it(balancer: Balancer, backend: Backend) -> None:
    balancer.get("/", method="POST", body=b"")

    assert backend.requests[0].get("content-length") == "0"


def test_a_chunked_body_stays_without_a_length(balancer: Balancer, backend: Backend) -> None:
    """The pieces may be cut differently; the bytes are the same, and chunk extensions end here."""
    asked = request("/", "Transfer-Encoding: chunked", method="POST") + b"3;a=b\r\nabc\r\n" + chunked(b"de" * 5000)

    assert balancer.ask(asked).status == 200

    assert backend.bodies == [b"abc" + b"de" * 5000]
    assert (backend.requests[0].all("transfer-encoding"), backend.requests[0].all("content-length")) == (
        [b"chunked"],
        [],
    )


def test_a_chunked_get_passes_too(balancer: Balancer, backend: Backend) -> None:
    """A body on a GET is unusual, not wrong."""
    balancer.ask(request("/", "Transfer-Encoding: chunked") + chunked(b"x"))

    assert backend.bodies == [b"x"]


def test_a_chunked_response_stays_chunked(balancer: Balancer, backend: Backend) -> None:
    backend.play(forever(read_all, send(CHUNKED + chunked(b"abc", b"d" * 9000))))

    with balancer.client() as client:
        first, second = client.ask(request("/")), client.ask(request("/"))

    for response in (first, second):
        assert response.body == b"abc" + b"d" * 9000
        assert (response.get("transfer-encoding"), response.all("content-length")) == ("chunked", [])


def test_a_response_that_ends_with_the_connection(balancer: Balancer, backend: Backend) -> None:
    """A backend without framing is given one, so that the client's connection can be kept."""
    backend.play(read_all, send(b"HTTP/1.0 200 OK\r\n\r\nall there is"), close)

    with balancer.client() as client:
        first, second = client.ask(request("/")), client.ask(request("/"))

    assert [first.body, second.body] == [b"all there is"] * 2
    assert first.get("transfer-encoding") == "chunked"


def test_an_old_client_gets_no_chunks(balancer: Balancer, backend: Backend) -> None:
    """HTTP/1.0 does not know Transfer-Encoding: the body ends with the connection."""
    backend.play(forever(read_all, send(CHUNKED + chunked(b"abc", b"def"))))

    with balancer.client() as client:
        client.send(request("/", version="1.0"))
        head, _, body = client.rest().partition(b"\r\n\r\n")

    assert body == b"abcdef"
    assert b"transfer-encoding" not in head.lower()


def test_an_old_client_needs_no_host(balancer: Balancer, backend: Backend) -> None:
    """HTTP/1.0 has no Host; the backend speaks HTTP/1.1 and gets one."""
    with balancer.client() as client:
        client.send(b"GET /old HTTP/1.0\r\n\r\n")
        answer = client.rest()

    assert answer.endswith(b"\r\n\r\nhello")
    assert (
        backend.requests[0].target, backend.requests[0].version, len(backend.requests[0].all("host")),
    ) == (b"/old", b"HTTP/1.1", 1)  # fmt: skip


def test_request_trailers_never_become_fields(balancer: Balancer, backend: Backend) -> None:
    """They would inject X-Forwarded-For, Authorization or Cookie behind every check, in this request or the next."""
    evil = b"X-Forwarded-For: 6.6.6.6\r\nCookie: admin=1\r\nX-Evil: 1\r\n"
    with balancer.client() as client:
        client.ask(request("/", "Transfer-Encoding: chunked", method="POST") + chunked(b"abc", trailers=evil))
        client.ask(request("/next"))

    assert backend.bodies == [b"abc", b""]
    for seen in backend.requests:
        assert [seen.all("x-evil"), seen.all("cookie")] == [[], []]
        assert b"6.6.6.6" not in b",".join(seen.all("x-forwarded-for"))


def test_response_trailers_never_become_fields(balancer: Balancer, backend: Backend) -> None:
    backend.play(forever(read_all, send(CHUNKED + chunked(b"abc", trailers=b"Set-Cookie: evil=1\r\n"))))

    with balancer.client() as client:
        responses = [client.ask(request("/")) for _ in range(2)]

    assert [(response.body, response.all("set-cookie")) for response in responses] == [(b"abc", [])] * 2


def test_interim_responses_do_not_break_the_final_one(balancer: Balancer, backend: Backend) -> None:
    """100 and 103 pass or are dropped; the 200 is the answer, on this connection and on the next use of it."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    backend.play(forever(read_all, send(interim + reply(b"final"))))

    with balancer.client() as client:
        responses = [client.ask(request("/")) for _ in range(2)]

    assert [(response.status, response.body) for response in responses] == [(200, b"final")] * 2
    assert {response.status for response in responses[0].interim} <= {100, 103}
    assert responses[0].all("link") == []


def test_an_old_client_gets_no_interim_response(balancer: Balancer, backend: Backend) -> None:
    """RFC 9110 section 15.2."""
    backend.play(forever(read_all, send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(b"final"))))

    with balancer.client() as client:
        client.send(request("/", version="1.0"))
        assert client.rest().startswith(b"HTTP/1.1 200")


def test_continue_is_sent_when_the_body_is_wanted(balancer: Balancer, backend: Backend) -> None:
    """RFC 9110 section 10.1.1: the client waits for 100 before it sends its body."""
    with balancer.client() as client:
        client.send(request("/", "Expect: 100-continue", "Content-Length: 3", method="POST"))
        assert client.head()[0] == 100
        client.send(b"abc")
        assert client.response().status == 200

    assert backend.bodies == [b"abc"]


def test_a_refused_request_is_not_continued(balancer: Balancer, backend: Backend) -> None:
    """Routing comes before the first byte of the body is asked for."""
    with balancer.client() as client:
        client.send(request("/", "Expect: 100-continue", "Content-Length: 3", method="TRACE"))
        assert client.response().status == 405

    assert backend.requests == []


def test_a_large_body_comes_back_unchanged(balancer: Balancer, backend: Backend) -> None:
    """8 MiB of noise, both ways, with a length and in chunks."""
    noise = random.Random(7).randbytes(8 << 20)

    async def echo(c: Connection) -> None:
        while True:
            asked = await c.head()
            body = await c.body()
            await c.send(CHUNKED + chunked(body) if asked.all("transfer-encoding") else reply(body))

    backend.play(echo)
    with balancer.client() as client:
        plain = client.ask(request("/", method="POST", body=noise))
        pieces = chunked(*(noise[n : n + 100_000] for n in range(0, len(noise), 100_000)))
        cut = client.ask(request("/", "Transfer-Encoding: chunked", method="POST") + pieces)

    digest = hashlib.blake2b(noise).digest()
    assert [digest] * 2 == [hashlib.blake2b(response.body).digest() for response in (plain, cut)]


def test_connections_to_a_backend_are_kept(balancer: Balancer, backend: Backend) -> None:
    """One after the other, requests of many clients use one connection."""
    for _ in range(10):
        balancer.get("/")

    assert len(backend.connections) == 1


def test_a_backend_that_says_close_is_not_asked_again(balancer: Balancer, backend: Backend) -> None:
    backend.play(answers(reply(b"bye", "Connection: close")))

    bodies = [balancer.get("/").body for _ in range(3)]

    assert bodies == [b"bye"] * 3
    assert [len(c.requests) for c in backend.connections] == [1, 1, 1]
    until(lambda: all(c.closed for c in backend.connections), "the balancer to close them")


def test_bytes_stream_before_the_end_is_there(balancer: Balancer, backend: Backend) -> None:
    """The first piece of a response reaches the client while the backend still works on the next."""
    gate = Gate()
    backend.play(read_head, send(CHUNKED + b"3\r\nabc\r\n"), pause(gate), send(b"3\r\ndef\r\n0\r\n\r\n"), close)
    with balancer.client() as client:
        client.send(request("/"))
        client.head()
        until(lambda: b"abc" in client.buffer or (client.more() and False), "the first piece")
        gate.open()
        until(lambda: b"def" in client.buffer or (client.more() and False), "the second piece")
