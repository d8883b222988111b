"""Backends that refuse, reset, lie or say nothing: 502 and 504 with a reason, and never a byte to the wrong client."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

import pytest

from tests.support.backend import (
    Backend,
    Connection,
    Gate,
    Step,
    answers,
    close,
    forever,
    pause,
    read_all,
    read_head,
    reply,
    reset,
    send,
    stall,
)  # fmt: skip
from tests.support.raw import Response, Truncated, chunked, request
from tests.support.server import Balancer, pool
from tests.support.until import until

OK = b"HTTP/1.1 200 OK\r\n"
QUICK = {"timeouts__connect": "300ms", "timeouts__response": "300ms", "timeouts__idle": "300ms"}


@pytest.fixture(scope="module")
def refused() -> Backend:
    """A backend that has gone: its port refuses."""
    backend = Backend()
    backend.stop()
    return backend


@pytest.fixture(scope="module")
def settings(shared: Backend, refused: Backend, deaf: int) -> dict[str, str]:
    return {
        "LB_ROUTES": "/=main; /brief=brief; /refused=refused; /deaf=deaf; /unknown=unknown",
        **pool("main", shared, **QUICK),
        **pool("brief", shared, timeouts__total="300ms"),
        **pool("refused", refused),
        **pool("deaf", **QUICK, backends=f"http://127.0.0.1:{deaf}"),
        **pool("unknown", backends="http://no-such-host.invalid:80"),
    }


def assert_failed(response: Response, status: int, *types: str) -> None:
    """Problem details, and Proxy-Status with one of these error types."""
    assert status == response.status
    assert response.get("content-type") == "application/problem+json"
    assert status == json.loads(response.body)["status"]
    assert any(f"error={kind}" in (response.get("proxy-status") or "") for kind in types), response.fields


def test_a_refused_connection(balancer: Balancer) -> None:
    assert_failed(balancer.get("/refused"), 502, "connection_refused")


def test_a_connection_that_is_not_made(balancer: Balancer) -> None:
    assert_failed(balancer.get("/deaf"), 504, "connection_timeout")


def test_a_name_that_does_not_resolve(balancer: Balancer) -> None:
    assert_failed(balancer.get("/unknown"), 502, "dns_error")


LIES = {
    "garbage": b"\x00\x01 what is this\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "status of two digits": b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 High\r\nContent-Length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "unasked upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc"),
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "list of lengths": OK + b"Content-Length: 3, 4\r\n\r\nabcd",
    "negative length": OK + b"Content-Length: -3\r\n\r\nabc",
    "length with a sign": OK + b"Content-Length: +3\r\n\r\nabc",
    "length of letters": OK + b"Content-Length: three\r\n\r\nabc",
    "gzip as transfer coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(b"abc"),
    "chunked with a tab": OK + b"Transfer-Encoding: chunked\t\r\n\r\n" + chunked(b"abc"),
    "chunked not last": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + chunked(b"abc"),
    "space before the colon": OK + b"Content-Length: 0\r\nX-A : 1\r\n\r\n",
    "field without a colon": OK + b"Content-Length: 0\r\nX-A\r\n\r\n",
    "folded line": OK + b"Content-Length: 0\r\nX-A: 1\r\n 2\r\n\r\n",
    "NUL in a value": OK + b"Content-Length: 0\r\nX-A: 1\x002\r\n\r\n",
    "bare CR in a value": OK + b"Content-Length: 0\r\nX-A: 1\rSet-Cookie: a=1\r\n\r\n",
    "huge field": OK + b"Content-Length: 0\r\nX-Big: " + b"a" * 70_000 + b"\r\n\r\n",
    "huge head": OK + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 600) for n in range(150)) + b"Content-Length: 0\r\n\r\n",
    "201 fields": OK + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"Content-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", LIES)
def test_lies_get_502(balancer: Balancer, backend: Backend, name: str) -> None:
    """And the connection that told one is never used again. It was an answer: nobody is asked for another."""
    backend.play(read_head, send(LIES[name]), stall)

    assert_failed(balancer.get("/"), 502, "http_protocol_error", "http_response_header_section_size",
                  "http_response_header_size", "http_response_transfer_coding", "http_upgrade_failed")  # fmt: skip

    until(lambda: all(c.closed for c in backend.connections), "the lying connection to be closed")
    assert len(backend.requests) == 1


def test_white_space_behind_a_length_is_no_lie(balancer: Balancer, backend: Backend) -> None:
    backend.play(forever(read_all, send(OK + b"Content-Length: 5 \t \r\n\r\nhello")))

    assert (balancer.get("/").get("content-length"), balancer.get("/").body) == ("5", b"hello")


def test_two_hundred_fields_pass(balancer: Balancer, backend: Backend) -> None:
    backend.answer(b"", *(f"X-{n}: 1" for n in range(199)))

    response = balancer.get("/")

    assert (response.status, [response.get(f"x-{n}") for n in range(199)]) == (200, ["1"] * 199)


def test_a_head_without_end(balancer: Balancer, backend: Backend) -> None:
    """It is cut at its limit, long before memory or patience is."""

    async def endless(c: Connection) -> None:
        await c.head()
        await c.send(OK)
        for n in itertools.count():
            await c.send(b"X-%d: 1\r\n" % n * 1000)

    backend.play(endless)

    assert balancer.get("/").status == 502
    assert backend.connections[0].sent < 20_000_000


@pytest.mark.parametrize("step", [close, reset])
@pytest.mark.parametrize("sent", [b"", OK, b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["nothing", "half a head", "100"])
def test_a_connection_that_ends_before_the_response(
    balancer: Balancer, backend: Backend, sent: bytes, step: Step
) -> None:
    """POST: the backend may have acted on it, so it is not sent again."""
    backend.play(read_all, send(sent), step)

    assert_failed(balancer.get("/", method="POST", body=b"x"), 502, "connection_terminated", "http_response_incomplete")
    assert len(backend.requests) == 1


@pytest.mark.parametrize("step", [close, reset])
@pytest.mark.parametrize(
    ("sent", "attempts"),
    [(b"", 2), (OK, 1), (b"HTTP/1.1 100 Continue\r\n\r\n", 1)],
    ids=["nothing", "half a head", "100"],
)
def test_a_get_without_an_answer_is_tried_again(
    balancer: Balancer, backend: Backend, sent: bytes, attempts: int, step: Step
) -> None:
    """But not where one had begun. After the last attempt the error is what it was."""
    backend.play(read_all, send(sent), step)

    assert_failed(balancer.get("/"), 502, "connection_terminated")
    assert [len(c.requests) for c in backend.connections] == [1] * attempts


@pytest.mark.parametrize(
    ("sent", "attempts"),
    [(b"", 2), (OK, 1), (b"HTTP/1.1 103 Early Hints\r\n\r\n", 1)],
    ids=["nothing", "half a head", "103"],
)
def test_silence_gets_504(balancer: Balancer, backend: Backend, sent: bytes, attempts: int) -> None:
    """After one more attempt, unless the response had begun."""
    backend.play(read_all, *([send(sent)] if sent else []), stall)

    assert_failed(balancer.get("/"), 504, "http_response_timeout")
    assert len(backend.connections) == attempts
    until(lambda: all(c.closed for c in backend.connections), "the attempts to be given up")


def test_the_whole_exchange_has_an_end(balancer: Balancer, backend: Backend) -> None:
    """`timeouts.total`: a head that does not come is 504, a body that drips is cut, however lively it looks."""

    async def drip(c: Connection) -> None:
        await c.head()
        await c.send(OK + b"Content-Length: 1000\r\n\r\n")
        while True:
            await c.send(b"x")
            await asyncio.sleep(0.02)

    backend.play(read_all, stall)
    assert_failed(balancer.get("/brief"), 504, "http_response_timeout")
    backend.play(drip)
    with pytest.raises(Truncated):
        balancer.get("/brief")


def test_a_backend_that_does_not_read(balancer: Balancer, backend: Backend) -> None:
    """An upload that nobody takes ends, too."""

    async def deaf(c: Connection) -> None:
        c.transport.pause_reading()
        await Gate().passed()

    backend.play(deaf)
    with balancer.client() as client:
        client.socket.settimeout(20)
        try:
            client.send(request("/", "Content-Length: 50000000", method="POST") + b"a" * 50_000_000)
        except ConnectionError:
            pass
        else:
            assert_failed(
                client.response(), 504, "connection_read_timeout", "http_response_timeout", "connection_write_timeout"
            )


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"])
def test_a_flood_of_interim_responses_ends(balancer: Balancer, backend: Backend, interim: bytes) -> None:
    async def flood(c: Connection) -> None:
        await c.head()
        while True:
            await c.send(interim * 1000)

    backend.play(flood)

    assert balancer.get("/").status in (502, 504)
    until(lambda: backend.connections[0].closed, "the flood to be cut")


CUT = {
    "length": OK + b"Content-Length: 100\r\n\r\nabc",
    "chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "inside a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc",
    "before the last line": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
}


@pytest.mark.parametrize("step", [close, reset, stall])
@pytest.mark.parametrize("name", CUT)
def test_truncation_is_visible(balancer: Balancer, backend: Backend, name: str, step: Step) -> None:
    """The client's connection is cut where the backend's was: no invented end, no length made good."""
    gate = Gate()
    backend.play(read_all, send(CUT[name]), pause(gate), step)

    with balancer.client() as client:
        client.send(request("/"))
        until(lambda: b"abc" in client.buffer or (client.more() and False), "the first piece")
        gate.open()
        with pytest.raises(Truncated) as cut:
            client.response()

    assert cut.value.partial == b"abc"


@pytest.mark.parametrize("step", [close, reset])
@pytest.mark.parametrize("name", CUT)
def test_truncation_at_once(balancer: Balancer, backend: Backend, name: str, step: Step) -> None:
    """Head, piece and end in one go: 502 while nothing has gone out yet, or a cut that can be seen."""
    backend.play(read_all, send(CUT[name]), step)

    with contextlib.suppress(Truncated):
        assert balancer.get("/").status == 502


def test_bad_chunks_are_a_truncation(balancer: Balancer, backend: Backend) -> None:
    """The status has gone out with the first chunk; what follows cannot be trusted."""
    gate = Gate()
    backend.play(
        read_all,
        send(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        pause(gate),
        send(b"zz\r\nabc\r\n"),
        stall,
    )
    with balancer.client() as client:
        client.send(request("/"))
        status, _, _ = client.head()
        gate.open()
        rest = client.rest()

    assert (status, rest.endswith(b"abc\r\n")) == (200, True)


def test_an_old_client_sees_truncation_too(balancer: Balancer, backend: Backend) -> None:
    """Its body ends with the connection, so the end must not look like one: a reset, not a FIN."""
    gate = Gate()
    backend.play(read_all, send(OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), pause(gate), close)
    with balancer.client() as client:
        client.send(request("/", version="1.0"))
        until(lambda: client.buffer.endswith(b"abc") or (client.more() and False), "the first piece")
        gate.open()
        with pytest.raises(ConnectionResetError):
            client.socket.recv(100)


def test_a_reset_is_no_end_of_a_body_without_length(balancer: Balancer, backend: Backend) -> None:
    """A body that ends with the connection ends with a FIN; an RST cut it short."""
    gate = Gate()
    backend.play(read_all, send(b"HTTP/1.1 200 OK\r\n\r\nabc"), pause(gate), reset)
    with balancer.client() as client:
        client.send(request("/"))
        client.head()
        until(lambda: b"abc" in client.buffer or (client.more() and False), "the first piece")
        gate.open()
        assert not client.rest().endswith(b"0\r\n\r\n")


POISON = reply(b"poison", "Set-Cookie: evil=1")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "before", [reply(b"mine"), b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"]
)
def test_bytes_after_a_response_reach_nobody(balancer: Balancer, backend: Backend, before: bytes, method: str) -> None:
    """Response queue poisoning: what a backend adds would be the answer to the next client's request."""
    if method == "HEAD":
        before = before.removesuffix(b"mine")
    backend.play(forever(read_all, send(before + POISON)))

    with balancer.client() as client:
        responses = [client.ask(request("/", method=method)) for _ in range(5)]
    responses += [balancer.get("/", method=method) for _ in range(5)]

    assert all(b"poison" not in response.body and response.all("set-cookie") == [] for response in responses)
    assert [1] * len(backend.connections) == [len(c.requests) for c in backend.connections]


def test_bytes_that_come_later_reach_nobody(balancer: Balancer, backend: Backend) -> None:
    """The same when the connection is already back among the idle ones."""
    gate = Gate()
    backend.play(read_all, send(reply(b"mine")), pause(gate), send(POISON), stall)
    balancer.get("/")
    poisoned = backend.connections[0]
    gate.open()
    until(lambda: poisoned.closed, "the poisoned connection to be closed")
    backend.script = answers(reply(b"clean"))

    assert balancer.get("/").body == b"clean"


def test_a_backend_that_speaks_first_is_no_fault_of_ours(balancer: Balancer, backend: Backend) -> None:
    """Its bytes may meet a connection that is being handed over; what comes after the request cannot be told apart."""

    async def eager(c: Connection) -> None:
        await c.send(POISON)
        await stall(c)

    backend.play(eager)

    assert {balancer.get("/").status for _ in range(50)} <= {200, 502, 504}


def test_a_body_in_answer_to_head_is_dropped(balancer: Balancer, backend: Backend) -> None:
    backend.play(forever(read_all, send(reply(b"a body where none may be"))))

    with balancer.client() as client:
        first, second = client.ask(request("/", method="HEAD")), client.ask(request("/"))

    assert (first.status, second.body) == (200, b"a body where none may be")


@pytest.mark.parametrize("framing", ["Content-Length: 5000000", "Transfer-Encoding: chunked"])
def test_an_early_answer_during_an_upload(balancer: Balancer, backend: Backend, framing: str) -> None:
    """The backend has heard enough: its answer reaches the client, who may still be sending."""
    backend.play(read_head, send(reply(b"too much", "Connection: close", status="413 Content Too Large")), close)

    with balancer.client() as client:
        client.send(request("/", framing, method="POST") + b"3\r\nabc\r\n")
        response = client.response()

    assert (response.status, response.body) == (413, b"too much")


def test_a_head_does_not_wait_for_its_body(balancer: Balancer, backend: Backend) -> None:
    """A backend may answer, or ask for the body, by the head alone; a client may wait for that before it sends."""
    backend.play(read_head, send(reply(b"no need", "Connection: close")), close)

    with balancer.client() as client:
        client.send(request("/", "Transfer-Encoding: chunked", method="POST"))
        assert client.response().body == b"no need"


def test_an_early_answer_on_a_kept_connection(balancer: Balancer, backend: Backend) -> None:
    """What is left of the upload must not become the backend's next request."""
    backend.play(read_head, send(reply(b"enough")), stall)

    with balancer.client() as client:
        client.send(request("/", "Content-Length: 60", method="POST") + b"a" * 30)
        assert client.response().body == b"enough"
        client.send(request("/next", body=b"")[:30])
    backend.script = answers(reply(b"next"))

    assert balancer.get("/").body == b"next"
    assert all(b"/next" not in seen.target for seen in backend.requests)


def test_after_all_that_it_still_serves(balancer: Balancer, backend: Backend) -> None:
    assert [balancer.get("/").status for _ in range(20)] == [200] * 20
