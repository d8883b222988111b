"""What does not come at once: events, hints before the response, bodies that wait until they are wanted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.backend import (
    Backend,
    Connection,
    Gate,
    answers,
    close,
    forever,
    pause,
    read_all,
    read_body,
    read_head,
    reply,
    send,
    stall,
)
from tests.support.raw import Client, chunked, request
from tests.support.server import Balancer, balancing, pool
from tests.support.until import until

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTS = request("/", "Expect: 100-continue", "Content-Length: 5", method="POST")
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"


def came(client: Client, data: bytes) -> None:
    """Wait until *data* is there, and forget what was before it."""
    while data not in client.buffer:
        assert client.more(), client.buffer
    client.buffer = client.buffer.partition(data)[2]


class TestEvents:
    @pytest.mark.parametrize("framing", ["chunked", "until the end"])
    def test_each_comes_when_it_is_sent(self, balancer: Balancer, backend: Backend, framing: str) -> None:
        """Not one waits for the next, however small it is."""
        gates = [Gate() for _ in range(5)]

        async def tell(c: Connection) -> None:
            await c.send(EVENTS + (b"Transfer-Encoding: chunked\r\n\r\n" if framing == "chunked" else b"\r\n"))
            for number, gate in enumerate(gates):
                await gate.passed()
                event = b"data: %d\n\n" % number
                await c.send(b"%x\r\n%b\r\n" % (len(event), event) if framing == "chunked" else event)

        backend.play(read_all, tell, stall)
        with balancer.client() as client:
            client.send(request("/events", "Accept: text/event-stream"))
            status, _, fields = client.head()
            assert status == 200
            assert (b"content-type", b"text/event-stream") in fields
            for number, gate in enumerate(gates):
                gate.open()
                came(client, b"data: %d\n\n" % number)

    def test_a_client_that_has_gone_is_seen_within_a_second(self, balancer: Balancer, backend: Backend) -> None:
        """Between two events, when nothing is being sent."""
        backend.play(read_all, send(EVENTS + b"\r\ndata: 1\n\n"), stall)
        with balancer.client() as client:
            client.send(request("/events"))
            came(client, b"data: 1\n\n")
        gone = time.monotonic()
        until(lambda: backend.connections[0].closed, "the backend to see it")
        assert time.monotonic() - gone < 1.0

    def test_they_may_be_far_apart(self, backend: Backend) -> None:
        """As long as `timeouts.idle`, which a comment now and then keeps away."""

        async def tell(c: Connection) -> None:
            await c.send(EVENTS + b"\r\n")
            for _ in range(6):
                await asyncio.sleep(0.1)
                await c.send(b":\n\n")
            await c.send(b"data: end\n\n")

        backend.play(read_all, tell)
        with balancing(backend, pools__main__timeouts__idle="400ms") as balancer:
            assert balancer.get("/events").body.endswith(b"data: end\n\n")


class TestExpect:
    """RFC 9110 section 10.1.1, from end to end."""

    @pytest.mark.parametrize("status", ["401 Unauthorized", "413 Content Too Large", "417 Expectation Failed"])
    def test_who_is_refused_sends_no_body(self, balancer: Balancer, backend: Backend, status: str) -> None:
        """The backend's answer comes first, and nothing before it says Continue."""
        backend.play(read_head, send(reply(b"no", status=status)), stall)
        with balancer.client() as client:
            response = client.ask(EXPECTS)
            assert (response.status, response.body, response.interim) == (int(status[:3]), b"no", ())
            assert response.get("connection") == "close"
            assert client.rest() == b""
        assert backend.requests[0].get("expect") == "100-continue"
        assert backend.connections[0].received.endswith(b"\r\n\r\n")

    @pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
    def test_who_is_wanted_is_told_so(self, balancer: Balancer, backend: Backend, framing: str) -> None:
        """When the backend says it, not before."""
        gate = Gate()
        backend.play(read_head, pause(gate), send(CONTINUE), read_body, send(reply(b"thanks")), stall)
        with balancer.client(timeout=0.3) as client:
            client.send(request("/", "Expect: 100-continue", framing, method="PUT"))
            with pytest.raises(TimeoutError):
                client.more()
            client.socket.settimeout(15)
            gate.open()
            assert client.head()[0] == 100
            client.send(b"hello" if "Length" in framing else chunked(b"hello"))
            assert client.response().body == b"thanks"
        assert backend.bodies == [b"hello"]

    def test_a_backend_that_does_not_know_it(self, balancer: Balancer, backend: Backend) -> None:
        """After a second it is given the body."""
        backend.play(read_all, send(reply(b"thanks")), stall)
        with balancer.client() as client:
            began = time.monotonic()
            client.send(EXPECTS)
            assert client.head()[0] == 100
            assert 0.9 < time.monotonic() - began < 5
            client.send(b"hello")
            assert client.response().body == b"thanks"

    def test_a_client_that_does_not_wait(self, balancer: Balancer, backend: Backend) -> None:
        """The body leaves with the head."""
        backend.play(forever(read_all, send(CONTINUE + reply(b"thanks"))))
        with balancer.client() as client:
            for _ in range(2):
                response = client.ask(EXPECTS + b"hello")
                assert (response.status, response.body) == (200, b"thanks")
        assert backend.bodies == [b"hello", b"hello"]

    def test_a_client_that_does_not_wait_with_the_rest(self, balancer: Balancer, backend: Backend) -> None:
        """A backend that has a part of the body need not say Continue any more (RFC 9110 section 10.1.1)."""
        backend.play(forever(read_all, send(reply(b"thanks"))))
        took = []
        with balancer.client() as client:
            for number in range(1, 4):
                client.send(EXPECTS + b"he")
                until(lambda number=number: len(backend.requests) == number, "the head")
                began = time.monotonic()
                assert client.ask(b"llo").body == b"thanks"
                took.append(time.monotonic() - began)
        assert min(took) < 0.9, took

    def test_a_connection_is_not_used_again_where_a_body_is_owed(self, balancer: Balancer, backend: Backend) -> None:
        """Neither by us nor by the backend: the next request would be taken for it."""
        backend.play(forever(read_head, send(reply(b"no", status="401 Unauthorized"))))
        with balancer.client() as client:
            assert client.ask(EXPECTS).status == 401
        assert balancer.get("/").status == 401
        assert [len(c.requests) for c in backend.connections] == [1, 1]

    def test_a_retry_asks_again(self, backend: Backend) -> None:
        """The client has sent nothing yet, so that another backend may be asked."""
        backend.play(read_head, send(CONTINUE), read_body, send(reply(b"thanks")), stall)
        with Backend(read_head, send(reply(status="503 Service Unavailable")), close) as busy:
            settings: Any = {"pools__main__retry__methods": "PUT", "pools__main__strategy": "first"}
            with balancing(busy, backend, **settings) as balancer, balancer.client() as client:
                client.send(EXPECTS.replace(b"POST", b"PUT"))
                assert client.head()[0] == 100
                client.send(b"hello")
                assert client.response().body == b"thanks"
                assert busy.requests[0].get("expect") == "100-continue"
        assert backend.bodies == [b"hello"]

    def test_a_long_refusal_is_not_cut_by_the_body_that_does_not_come(self, backend: Backend) -> None:
        """The body's deadline is for bodies that are wanted."""

        async def refuse(c: Connection) -> None:
            await c.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\n")
            for _ in range(10):
                await asyncio.sleep(0.2)
                await c.send(b"x")

        backend.play(read_head, refuse, stall)
        with balancing(backend, edge__body_timeout="200ms") as balancer, balancer.client() as client:
            response = client.ask(EXPECTS)
            assert (response.status, response.body) == (403, b"x" * 10)

    def test_who_waits_and_leaves(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_head, stall)
        client = balancer.client()
        client.send(EXPECTS)
        until(lambda: backend.requests, "the request")
        client.reset()
        until(lambda: backend.connections[0].closed, "the attempt to be cancelled")

    def test_without_a_body_there_is_nothing_to_expect(self, balancer: Balancer, backend: Backend) -> None:
        assert balancer.get("/", "Expect: 100-continue").body == b"hello"
        assert backend.requests[0].get("expect") is None


class TestHints:
    """1xx responses (RFC 8297, RFC 9110 section 15.2)."""

    @pytest.mark.parametrize("fresh", [True, False], ids=["a new connection", "a kept one"])
    def test_they_come_before_the_response(self, balancer: Balancer, backend: Backend, fresh: bool) -> None:
        """At once, while the backend still thinks."""
        gate = Gate()

        async def play(c: Connection) -> None:
            if not fresh:
                await c.head()
                await c.send(reply(b"first"))
            await c.head()
            await c.send(HINTS)
            await gate.passed()
            await c.send(reply(b"done"))
            await c.swallow()

        backend.play(play)
        with balancer.client() as client:
            if not fresh:
                assert client.ask(request("/")).body == b"first"
            client.send(request("/"))
            assert client.head() == (
                103, b"Early Hints", [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>; rel=preload")],
            )  # fmt: skip
            gate.open()
            response = client.response()
            assert (response.status, response.body, response.all("link")) == (200, b"done", [])

    def test_several_and_in_one_piece_with_the_response(self, balancer: Balancer, backend: Backend) -> None:
        """On a connection that is kept for the next."""
        said = b"HTTP/1.1 102 Processing\r\nConnection: X-A\r\nX-A: 1\r\nX-B: 2\r\n\r\n" + HINTS + reply(b"done")
        backend.play(forever(read_all, send(said)))
        with balancer.client() as client:
            for _ in range(3):
                response = client.ask(request("/"))
                assert [one.status for one in response.interim] == [102, 103]
                assert response.interim[0].fields == [(b"x-b", b"2")]
                assert response.body == b"done"
        assert len(backend.connections) == 1

    def test_a_backends_own_continue_is_no_hint(self, balancer: Balancer, backend: Backend) -> None:
        """Nobody has asked for it."""
        backend.play(forever(read_all, send(CONTINUE + reply(b"done"))))
        with balancer.client() as client:
            assert client.ask(request("/")).interim == ()

    def test_not_for_http_1_0(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(forever(read_all, send(HINTS + reply(b"done"))))
        for _ in range(2):
            with balancer.client() as client:
                client.send(request("/", version="1.0"))
                assert client.rest().startswith(b"HTTP/1.1 200 ")

    def test_not_without_end(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(read_all, send(HINTS * 40), stall)
        with balancer.client() as client:
            assert client.ask(request("/")).status == 502

    def test_another_backend_may_answer_behind_them(self, backend: Backend) -> None:
        """A hint is no response: a retry is still free."""
        backend.play(answers(reply(b"done")))
        with (
            Backend(read_all, send(HINTS + reply(status="503 Service Unavailable")), close) as busy,
            balancing(busy, backend, pools__main__strategy="first") as balancer,
            balancer.client() as client,
        ):
            response = client.ask(request("/"))
            assert [one.status for one in response.interim] == [103]
            assert response.body == b"done"


SUMMED = b"X-Checksum: 1\r\nX-Other: 2\r\nCookie: evil=1\r\nX-Forwarded-For: 6.6.6.6\r\nVia: 1.1 evil\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class TestTrailers:
    """Where both sides are chunked HTTP/1.1 (RFC 9110 section 6.5)."""

    @pytest.mark.parametrize("cut", [False, True], ids=["in one piece", "late"])
    def test_those_of_a_response(self, balancer: Balancer, backend: Backend, cut: bool) -> None:
        """For a client that asks for them; not those that would change how it is read."""
        gate = Gate()
        said = CHUNKED + chunked(b"abc", b"def", trailers=SUMMED + b"Set-Cookie: evil=1\r\n")
        steps = (send(said[: len(CHUNKED) + 8]), pause(gate), send(said[len(CHUNKED) + 8 :])) if cut else (send(said),)
        backend.play(forever(read_all, *steps))
        gate.open()
        with balancer.client() as client:
            for _ in range(2):
                response = client.ask(request("/", "TE: trailers", "Connection: TE"))
                assert response.body == b"abcdef"
                assert response.trailers == [(b"x-checksum", b"1"), (b"x-other", b"2")]
        asked = backend.requests[0]
        assert [asked.get("te"), asked.get("connection")] == ["trailers", "te"]

    def test_not_for_who_does_not_ask(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(forever(read_all, send(CHUNKED + chunked(b"abc", trailers=SUMMED))))
        with balancer.client() as client:
            for fields in ((), ("TE: gzip",), ("TE: xtrailers",)):
                response = client.ask(request("/", *fields))
                assert (response.body, response.trailers) == (b"abc", [])
        assert [seen.get("te") for seen in backend.requests] == [None] * 3

    def test_not_for_http_1_0(self, balancer: Balancer, backend: Backend) -> None:
        backend.play(forever(read_all, send(CHUNKED + chunked(b"abc", trailers=SUMMED))))
        with balancer.client() as client:
            client.send(request("/", "TE: trailers", version="1.0"))
            assert client.rest().endswith(b"\r\n\r\nabc")

    def test_none_of_the_response_before(self, balancer: Balancer, backend: Backend) -> None:
        """On a kept connection, for another client."""
        with_one = CHUNKED + chunked(b"abc", trailers=b"X-Secret: 1\r\n")
        backend.play(read_all, send(with_one), read_all, send(CHUNKED + chunked(b"abc")), stall)
        balancer.get("/")
        assert balancer.get("/", "TE: trailers").trailers == []
        assert len(backend.connections) == 1

    def test_too_many(self, balancer: Balancer, backend: Backend) -> None:
        """The response is cut: its end cannot be told truly."""
        backend.play(read_all, send(CHUNKED + chunked(b"abc", trailers=b"X-A: 1\r\n" * 300)), stall)
        with balancer.client() as client:
            client.send(request("/", "TE: trailers"))
            assert not client.rest().endswith(b"0\r\n\r\n")

    @pytest.mark.parametrize("size", [3, 100_000])
    def test_those_of_a_request(self, backend: Backend, size: int) -> None:
        """Those that the group names, and no other."""
        settings = {"LB_GROUPS__G__POOL": "main", "LB_GROUPS__G__REQUEST_TRAILERS": "X-Checksum,X-Late"}
        body = chunked(b"x" * size, trailers=SUMMED)
        with Balancer({**settings, **pool("main", backend)}) as balancer, balancer.client() as client:
            for _ in range(2):
                assert client.ask(request("/", "Transfer-Encoding: chunked", method="POST") + body).body == b"hello"
            client.send(request("/", "Transfer-Encoding: chunked", method="POST") + body[:-10])
            until(lambda: len(backend.requests) == 3, "the third")
            client.send(body[-10:])
            assert client.response().body == b"hello"
            assert client.ask(request("/", "Transfer-Encoding: chunked", method="POST") + chunked(b"x")).status == 200
        assert backend.trailers == [b"x-checksum: 1"] * 3
        assert backend.bodies == [b"x" * size] * 3 + [b"x"]

    def test_none_by_itself(self, balancer: Balancer, backend: Backend) -> None:
        body = chunked(b"abc", trailers=SUMMED)
        assert balancer.ask(request("/", "Transfer-Encoding: chunked", method="POST") + body).body == b"hello"
        assert (backend.bodies, backend.trailers) == ([b"abc"], [])
