"""One exchange as the app sees it: what it receives, what its messages become on the wire, and how it may end."""

from __future__ import annotations

import asyncio
import re
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.errors import BodyTooLarge
from app.edge.cycle import HIGH_WATER
from app.edge.protocol import STOPPING
from tests.edge.harness import GET, INET, Edge, early, ok, read, reply, statuses, waits

HOST = b"GET / HTTP/1.1\r\nHost: a\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
EXPECTS = POST + b"Expect: 100-Continue\r\n\r\n"


def sends(*messages: dict[str, Any]) -> Any:
    """An app that sends these."""

    async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def length(count: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % count)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged as an error."""
    messages: list[str] = []
    monkeypatch.setattr("app.edge.cycle.logger.error", lambda message, **_: messages.append(message))
    return messages


class TestFraming:
    @pytest.mark.parametrize(
        ("request_", "messages", "answer"),
        [
            (GET, [start(length(2)), body(b"hi")], b"content-length: 2\r\n\r\nhi"),
            (GET, [start(length(2)), body(b"h", more=True), body(b"i")], b"content-length: 2\r\n\r\nhi"),
            (GET, [start(length(0)), body()], b"content-length: 0\r\n\r\n"),
            (GET, [start(), body(b"hi")], b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
            (GET, [start(), body()], b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            (
                GET,
                [start(), body(b"hi", more=True), body(b"", more=True), body(b"x" * 17, more=True), body()],
                b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n",
            ),
            (GET, [start((b"transfer-encoding", b"chunked"), length(2)), body(b"hi")], b"content-length: 2\r\n\r\nhi"),
            (GET, [start(status=204), body()], b"\r\n"),
            (GET, [start(length(0), status=204), body()], b"\r\n"),
            (GET, [start(length(5), status=304), body()], b"content-length: 5\r\n\r\n"),
            (GET, [start(status=304), body(b"not there")], b"\r\n"),
            (b"HEAD" + GET[3:], [start(length(5)), body()], b"content-length: 5\r\n\r\n"),
            (b"HEAD" + GET[3:], [start(length(5)), body(b"hello")], b"content-length: 5\r\n\r\n"),
            (b"HEAD" + GET[3:], [start(), body(b"hello")], b"\r\n"),
            (OLD, [start(length(2)), body(b"hi")], b"content-length: 2\r\nconnection: close\r\n\r\nhi"),
            (OLD, [start(), body(b"h", more=True), body(b"i")], b"connection: close\r\n\r\nhi"),
            (GET, [start(length(2), (b"connection", b"Close")), body(b"hi")],
             b"content-length: 2\r\nconnection: close\r\n\r\nhi"),
            (GET, [start((b"keep-alive", b"timeout=5"), (b"connection", b"keep-alive"), length(0)), body()],
             b"content-length: 0\r\n\r\n"),
        ],
    )  # fmt: skip
    async def test_on_the_wire(self, request_: bytes, messages: list[dict[str, Any]], answer: bytes) -> None:
        edge = Edge(sends(*messages))
        written = await edge.feed(request_)
        head, _, rest = written.partition(b"\r\n")
        assert re.fullmatch(rb"HTTP/1\.1 \d{3} [A-Za-z ]+", head)
        assert rest == answer
        assert edge.app.ended == [None]
        assert edge.transport.closed is (b"close" in answer)

    async def test_fields_keep_their_order_bytes_and_duplicates(self) -> None:
        fields = [(b"x-b", b"\xff"), (b"set-cookie", b"a"), (b"x-a", b""), (b"set-cookie", b"b")]
        edge = Edge(sends(start(*fields, length(0)), body()))
        written = await edge.feed(GET)
        assert written.split(b"\r\n")[1:5] == [b"x-b: \xff", b"set-cookie: a", b"x-a: ", b"set-cookie: b"]

    async def test_head_and_body_leave_in_one_write(self) -> None:
        edge = Edge(early)
        edge.protocol.data_received(GET)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(edge.transport.written) == 1

    @pytest.mark.parametrize("fields", [[], [length(200_000)]])
    async def test_a_large_body_is_whole(self, fields: list[tuple[bytes, bytes]]) -> None:
        edge = Edge(sends(start(*fields), body(b"x" * 100_000, more=True), body(b"y" * 100_000)))
        written = (await edge.feed(GET)).partition(b"\r\n\r\n")[2]
        assert (written.count(b"x"), written.count(b"y")) == (100_000, 100_000)
        assert len(written) == 200_000 + (0 if fields else len(b"186a0\r\n\r\n" * 2 + b"0\r\n\r\n"))

    async def test_an_empty_piece_lets_the_head_go(self) -> None:
        """So that an event stream begins before its first event."""
        edge = Edge(sends(start(length(1)), body(more=True), body(more=True)))
        assert statuses(await edge.feed(GET)) == [200]

    async def test_receiving_lets_the_head_go(self) -> None:
        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await read(app, receive)
            await receive()

        edge = Edge(app)
        assert statuses(await edge.feed(GET)) == [200]

    async def test_uvicorns_own_fields_stand_first(self) -> None:
        edge = Edge(early)
        edge.state.default_headers = [(b"x-by-flag", b"1")]
        assert b"OK\r\nx-by-flag: 1\r\n" in await edge.feed(GET)

    @pytest.mark.parametrize("bad", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\0b"])
    async def test_a_field_that_would_be_two(self, bad: bytes, errors: list[str]) -> None:
        for field in ((b"x", bad), (bad, b"x")):
            edge = Edge(sends(start(field, length(0)), body()))
            assert statuses(await edge.feed(GET)) == [500]
        assert len(errors) == 2


class TestAppsThatFail:
    @pytest.mark.parametrize(
        "messages",
        [
            [],
            [body(b"hi")],
            [start(length(1), length(1)), body()],
            [start((b"content-length", b"-1")), body()],
            [start(status=99)],
            [{"type": "http.nonsense"}],
        ],
    )
    async def test_before_the_response(self, messages: list[dict[str, Any]], errors: list[str]) -> None:
        """500, and the connection ends; there is no other way to know what the app meant."""
        edge = Edge(sends(*messages))
        assert statuses(await edge.feed(GET)) == [500]
        assert edge.transport.closed
        assert errors == ["the app failed"]
        assert not edge.state.tasks

    @pytest.mark.parametrize(
        "messages",
        [
            [start(length(5)), body(b"hell", more=True)],
            [start(length(5)), body(b"hell")],
            [start(length(5)), body(b"hell", more=True), body(b"oo")],
            [start(), body(b"hell", more=True)],
            [start(), body(b"hell", more=True), start()],
        ],
    )
    async def test_in_the_response(self, messages: list[dict[str, Any]], errors: list[str]) -> None:
        """The connection is cut: no end is invented."""
        edge = Edge(sends(*messages))
        written = await edge.feed(GET)
        assert statuses(written) == [200]
        assert b"hello" not in written
        assert not written.endswith(b"0\r\n\r\n")
        assert edge.transport.closed
        assert len(errors) == 1

    async def test_after_the_response(self, errors: list[str]) -> None:
        edge = Edge(sends(start(length(0)), body(), body()))
        assert statuses(await edge.feed(GET, GET)) == [200, 200]
        assert len(errors) == 2

    async def test_by_our_own_errors_before_the_response(self, errors: list[str]) -> None:
        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            raise BodyTooLarge("over")

        edge = Edge(app)
        assert statuses(await edge.feed(GET)) == [413]
        assert errors == []

    async def test_an_end_by_close_is_cut_by_reset(self) -> None:
        """To an HTTP/1.0 client an orderly close would be the end of the response."""
        options: list[tuple[Any, ...]] = []
        sock = SimpleNamespace(setsockopt=lambda *option: options.append(option))
        edge = Edge(sends(start(), body(b"hell", more=True)), extra={**INET, "socket": sock})
        await edge.feed(OLD)
        assert edge.transport.aborted
        assert [option[:2] for option in options] == [(socket.SOL_SOCKET, socket.SO_LINGER)]

    async def test_cancelled_by_the_server(self) -> None:
        edge = Edge(waits)
        await edge.feed(GET)
        (task,) = edge.state.tasks
        task.cancel()
        assert await edge.settle() == b""
        assert edge.transport.closed
        assert not edge.state.tasks


class TestRequestBody:
    async def test_early_answer_ends_the_connection(self) -> None:
        """What the client still sends is read and dropped for a while, so that it can read the answer."""
        edge = Edge(early)
        answer = await edge.feed(POST + b"\r\nhe")
        assert b"connection: close" in answer
        assert (edge.transport.eof, edge.transport.closed) == (True, False)
        edge.protocol.data_received(b"llo")
        edge.eof()
        assert edge.transport.closed

    async def test_lingering_ends(self) -> None:
        for end in ("time", "bytes"):
            edge = Edge(early)
            await edge.feed(POST + b"\r\nhe")
            for _ in range(20):
                if end == "bytes":
                    edge.protocol.data_received(b"x" * 65536)
                else:
                    edge.loop.advance(0.15)
            assert edge.transport.closed

    async def test_a_body_that_has_come_keeps_the_connection(self) -> None:
        edge = Edge(early)
        assert statuses(await edge.feed(POST + b"\r\nhello", GET)) == [200, 200]

    async def test_a_large_body_makes_the_client_wait(self) -> None:
        pieces: list[int] = []
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            more = True
            while more:
                message = await receive()
                more = message["more_body"]
                pieces.append(len(message["body"]))
            await reply(send, b"")

        edge = Edge(app)
        await edge.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n", b"x" * (HIGH_WATER + 1))
        assert edge.transport.paused
        go.set()
        await edge.settle()
        assert not edge.transport.paused
        await edge.feed(b"x" * (200_000 - HIGH_WATER - 1))
        assert sum(pieces) == 200_000

    async def test_100_continue_when_the_app_asks_for_the_body(self) -> None:
        edge = Edge(ok)
        assert await edge.feed(EXPECTS) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert statuses(await edge.feed(b"he", b"llo")) == [200]
        assert edge.app.bodies == [b"hello"]

    @pytest.mark.parametrize(
        ("request_", "answer"),
        [
            (EXPECTS + b"hello", ok),  # it did not wait
            (EXPECTS, early),  # the answer is final
            (b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello", ok),
            (HOST + b"Expect: 100-continue\r\n\r\n", ok),  # no body
        ],
    )
    async def test_no_100_continue(self, request_: bytes, answer: Any) -> None:
        edge = Edge(answer)
        assert statuses(await edge.feed(request_)) == [200]

    async def test_no_100_continue_once_the_response_has_begun(self) -> None:
        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await send(start(length(1)))
            await receive()

        edge = Edge(app)
        assert statuses(await edge.feed(EXPECTS)) == [200]


class TestConnection:
    """What the app may ask of its connection beside ASGI."""

    @pytest.mark.parametrize(
        ("sent", "target"),
        [
            (b"GET /a%2Fb//?x=%20", b"/a%2Fb//?x=%20"),
            (b"GET /?", b"/?"),
            (b"GET http://b?x", b"/?x"),
            (b"GET http://b/y", b"/y"),
            (b"GET http://b/y?", b"/y?"),
            (b"OPTIONS http://b", b"*"),
            (b"OPTIONS http://b?", b"/?"),
        ],
    )
    async def test_target_is_as_sent(self, sent: bytes, target: bytes) -> None:
        edge = Edge(early)
        await edge.feed(sent + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert edge.app.scopes[0]["extensions"]["lb.edge"].target == target

    async def test_ready_when_there_is_something_to_receive(self) -> None:
        edge = Edge(waits)
        edge.protocol.data_received(POST + b"\r\n")
        connection = edge.protocol._cycle
        assert connection is not None
        assert not connection.ready
        edge.protocol.data_received(b"he")
        assert connection.ready
        await edge.settle()
        assert not connection.ready
        edge.protocol.data_received(b"llo")
        assert connection.ready


class TestDisconnect:
    @pytest.mark.parametrize("how", ["eof", "lose"])
    async def test_receive_says_so(self, how: str) -> None:
        edge = Edge(waits)
        await edge.feed(GET)
        getattr(edge, how)()
        await edge.settle()
        assert edge.app.ended == [None]
        assert not edge.state.connections

    @pytest.mark.parametrize("how", ["eof", "lose"])
    async def test_in_the_middle_of_the_body(self, how: str) -> None:
        edge = Edge(ok)
        await edge.feed(POST + b"\r\nhe")
        getattr(edge, how)()
        await edge.settle()
        assert edge.app.bodies == [b"he"]
        assert not edge.state.connections

    @pytest.mark.parametrize("how", ["eof", "lose"])
    async def test_the_watcher_is_called_once_and_at_once(self, how: str) -> None:
        gone: list[int] = []
        edge = Edge(waits)
        await edge.feed(GET)
        edge.app.scopes[0]["extensions"]["lb.edge"].watch(lambda: gone.append(1))
        if how == "eof":
            edge.eof()
            assert gone == [1]
        else:
            edge.lose()
        await edge.settle()
        assert gone == [1]
        edge.app.scopes[0]["extensions"]["lb.edge"].watch(lambda: gone.append(2))
        assert gone == [1, 2]

    async def test_nobody_watches_any_more(self) -> None:
        gone: list[int] = []
        for unwatch in (True, False):
            edge = Edge(waits if unwatch else early)
            await edge.feed(GET)
            connection = edge.app.scopes[0]["extensions"]["lb.edge"]
            connection.watch(lambda: gone.append(1))
            if unwatch:
                connection.watch(None)
            edge.lose()
            await edge.settle()
        assert gone == []

    async def test_send_is_silent(self) -> None:
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await reply(send, b"late")

        edge = Edge(app)
        await edge.feed(GET)
        edge.lose()
        go.set()
        assert await edge.settle() == b""
        assert edge.app.ended == [None]

    async def test_a_stuck_send_is_let_go(self) -> None:
        edge = Edge(sends(start(length(2)), body(b"h", more=True), body(b"i")))
        edge.protocol.pause_writing()
        await edge.feed(GET)
        assert edge.app.ended == []
        edge.lose()
        await edge.settle()
        assert edge.app.ended == [None]

    async def test_half_close_lets_a_client_wait(self) -> None:
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await reply(send, b"late")

        edge = Edge(app, half_close=True)
        await edge.feed(GET + GET)
        edge.eof()
        go.set()
        assert statuses(await edge.settle()) == [200, 200]
        assert edge.transport.closed

    async def test_half_close_is_no_excuse_for_half_a_body_nor_for_tls(self) -> None:
        for request_, extra in ((POST + b"\r\nhe", INET), (GET, {**INET, "sslcontext": 1})):
            edge = Edge(waits, half_close=True, extra=extra)
            await edge.feed(request_)
            edge.eof()
            assert edge.transport.closed

    async def test_half_close_is_no_excuse_for_half_a_head(self) -> None:
        edge = Edge(waits, half_close=True)
        await edge.feed(GET + GET[:9])
        edge.eof()
        assert edge.transport.closed

    async def test_a_client_that_reset_before_we_knew_its_address(self) -> None:
        edge = Edge(extra={"sockname": ("127.0.0.1", 1)})
        assert edge.transport.aborted
        await edge.settle()
        assert not edge.state.connections

    async def test_a_unix_socket_has_no_address(self) -> None:
        edge = Edge(early, extra={"sockname": "/run/x.sock", "peername": ""})
        await edge.feed(GET + b"BAD\r\n\r\n")
        assert edge.app.scopes[0]["client"] is None
        assert edge.app.scopes[0]["server"] == ("/run/x.sock", None)
        assert [exchange.peer for exchange in edge.refused] == ["unix"]

    async def test_abort_cuts(self) -> None:
        edge = Edge(waits)
        await edge.feed(GET)
        edge.app.scopes[0]["extensions"]["lb.edge"].abort()
        assert edge.transport.closed
        await edge.settle()
        assert edge.app.ended == [None]


class TestDeadlines:
    async def test_a_silent_connection_is_closed_without_a_word(self) -> None:
        edge = Edge(header_timeout=2.0)
        edge.loop.advance(1.9)
        assert not edge.transport.closed
        edge.loop.advance(0.2)
        assert edge.transport.closed
        assert await edge.settle() == b""
        assert edge.refused == []

    @pytest.mark.parametrize("begun", [b"G", b"\r\n", HOST])
    async def test_a_slow_head_gets_408(self, begun: bytes) -> None:
        """From the connection on, for the first request; more bytes do not prolong it."""
        edge = Edge(header_timeout=2.0)
        edge.loop.advance(1.0)
        await edge.feed(begun[:1])
        edge.loop.advance(0.9)
        assert await edge.feed(begun[1:]) == b""
        edge.loop.advance(0.2)
        assert statuses(await edge.settle()) == [408]
        assert [exchange.status for exchange in edge.refused] == [408]

    async def test_a_slow_second_head_gets_408(self) -> None:
        edge = Edge(header_timeout=2.0, keep_alive=10.0)
        await edge.feed(GET)
        edge.loop.advance(9.0)
        await edge.feed(b"G")
        edge.loop.advance(1.9)
        assert await edge.settle() == b""
        edge.loop.advance(0.2)
        assert statuses(await edge.settle()) == [408]

    @pytest.mark.parametrize("with_the_first", [b"", b"G"])
    async def test_a_second_head_that_comes_by_drops_gets_408(self, with_the_first: bytes) -> None:
        """Its bytes do not prolong it, whether they began before or after the first answer."""
        edge = Edge(header_timeout=2.0)
        await edge.feed(GET + with_the_first)
        for byte in HOST[len(with_the_first) :][:3]:
            await edge.feed(bytes([byte]))
            edge.loop.advance(0.6)
            assert await edge.settle() == b""
        edge.loop.advance(0.3)
        assert statuses(await edge.settle()) == [408]

    async def test_a_malformed_body_is_waited_for_by_nobody(self) -> None:
        """Nothing is due until the app wants it."""
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await receive()

        edge = Edge(app)
        await edge.feed(POST + b"\r\nh", b"\x00")
        edge.loop.advance(100_000.0)
        assert not edge.transport.closed
        go.set()
        await edge.settle()

    async def test_half_a_pipelined_head_is_timed_from_the_response_on(self) -> None:
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await reply(send, b"")

        edge = Edge(app, header_timeout=2.0)
        await edge.feed(GET + b"GET")
        edge.loop.advance(100.0)
        go.set()
        assert statuses(await edge.settle()) == [200]
        edge.loop.advance(1.9)
        assert await edge.settle() == b""
        edge.loop.advance(0.2)
        assert statuses(await edge.settle()) == [408]

    async def test_an_idle_connection_is_closed(self) -> None:
        edge = Edge(keep_alive=5.0)
        await edge.feed(GET)
        edge.loop.advance(4.9)
        await edge.feed(GET)
        edge.loop.advance(4.9)
        assert not edge.transport.closed
        edge.loop.advance(0.2)
        assert edge.transport.closed

    async def test_an_exchange_may_take_its_time(self) -> None:
        edge = Edge(waits)
        await edge.feed(POST + b"\r\nhel", b"lo")
        edge.loop.advance(100_000.0)
        assert not edge.transport.closed

    async def test_a_stalled_body(self) -> None:
        """Each piece gives new time; then `receive` raises, which is 408."""
        edge = Edge(body_timeout=3.0)
        await edge.feed(POST + b"\r\n")
        for piece in (b"h", b"e"):
            edge.loop.advance(2.9)
            assert await edge.feed(piece) == b""
        edge.loop.advance(3.1)
        assert statuses(await edge.settle()) == [408]
        assert type(edge.app.ended[0]).__name__ == "BodyTimeout"
        assert edge.transport.eof

    async def test_a_body_that_the_app_does_not_want_yet(self) -> None:
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await go.wait()
            await read(app, receive)
            await reply(send, b"")

        edge = Edge(app, body_timeout=3.0)
        await edge.feed(POST + b"\r\n", b"he")
        edge.loop.advance(100.0)
        go.set()
        await edge.settle()
        assert statuses(await edge.feed(b"llo")) == [200]

    async def test_a_client_that_reads_nothing_is_cut(self) -> None:
        gone: list[int] = []
        edge = Edge(sends(start(length(2)), body(b"h", more=True), body(b"i")), write_timeout=4.0)
        edge.transport.unsent = 1000
        edge.protocol.pause_writing()
        await edge.feed(GET)
        edge.app.scopes[0]["extensions"]["lb.edge"].watch(lambda: gone.append(1))
        edge.loop.advance(3.9)
        edge.transport.unsent = 999  # progress
        edge.loop.advance(3.9)
        assert not edge.transport.aborted
        edge.loop.advance(4.1)
        assert edge.transport.aborted
        await edge.settle()
        assert gone == [1]
        assert edge.app.ended == [None]

    async def test_a_client_that_does_not_read_the_end_is_cut(self) -> None:
        edge = Edge(early, write_timeout=4.0)
        edge.transport.unsent = 1000
        await edge.feed(HOST + b"Connection: close\r\n\r\n")
        assert (edge.transport.closed, edge.transport.aborted) == (True, False)
        edge.loop.advance(4.1)
        assert edge.transport.aborted

    async def test_nor_one_that_reads_all_but_the_end(self) -> None:
        edge = Edge(early, write_timeout=4.0)
        edge.transport.unsent = 1000
        await edge.feed(HOST + b"Connection: close\r\n\r\n")
        edge.protocol.pause_writing()
        edge.transport.unsent = 10
        edge.protocol.resume_writing()
        edge.loop.advance(4.1)
        assert edge.transport.aborted

    async def test_no_timer_is_left(self) -> None:
        edge = Edge(early)
        first = edge.protocol
        edge.connect()
        first.connection_lost(None)
        assert len(edge.loop.timers) == 1
        edge.lose()
        await edge.settle()
        assert edge.loop.timers == []


class TestStopping:
    async def test_an_idle_connection_is_closed(self) -> None:
        edge = Edge(early)
        await edge.feed(GET)
        edge.loop.advance(STOPPING)
        edge.protocol.shutdown()
        assert edge.transport.closed

    async def test_one_that_was_answered_a_moment_ago_may_ask_again(self) -> None:
        """Its next request may be on its way, and would meet a connection that is closed."""
        edge = Edge(early, keep_alive=5.0)
        await edge.feed(GET)
        edge.loop.advance(0.1)
        edge.protocol.shutdown()
        edge.loop.advance(0.8)
        assert not edge.transport.closed
        assert b"connection: close" in await edge.feed(GET)
        assert edge.transport.closed

    async def test_one_that_does_not_is_closed_then(self) -> None:
        edge = Edge(early, keep_alive=5.0)
        await edge.feed(GET)
        edge.loop.advance(0.9)
        edge.protocol.shutdown()
        edge.loop.advance(0.2)
        assert edge.transport.closed

    async def test_it_is_not_kept_for_longer_than_it_would_have_been(self) -> None:
        edge = Edge(early, keep_alive=0.5)
        await edge.feed(GET)
        edge.protocol.shutdown()
        edge.loop.advance(0.6)
        assert edge.transport.closed

    @pytest.mark.parametrize("begun", [b"", GET[:9]])
    async def test_a_new_connection_may_still_ask(self, begun: bytes) -> None:
        """It was accepted: its request may be on its way."""
        edge = Edge(early)
        if begun:
            await edge.feed(begun)
        edge.protocol.shutdown()
        edge.loop.advance(0.9)
        assert not edge.transport.closed
        answer = await edge.feed(GET[len(begun) :])
        assert b"connection: close" in answer
        assert edge.transport.closed

    async def test_a_new_connection_that_does_not_ask_is_closed(self) -> None:
        edge = Edge(early)
        edge.protocol.shutdown()
        edge.loop.advance(1.1)
        assert edge.transport.closed

    async def test_what_is_in_flight_finishes(self) -> None:
        go = asyncio.Event()

        async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await reply(send, b"")

        edge = Edge(app)
        await edge.feed(GET)
        edge.protocol.shutdown()
        assert not edge.transport.closed
        go.set()
        assert b"connection: close" in await edge.settle()
        assert edge.transport.closed

    async def test_draining_says_close(self) -> None:
        edge = Edge(early)
        edge.link.draining = True
        assert b"connection: close" in await edge.feed(GET)
        assert edge.transport.closed


async def test_requests_are_counted_for_limit_max_requests() -> None:
    edge = Edge(early)
    await edge.feed(GET, GET)
    assert edge.state.total_requests == 2


async def test_nothing_of_an_exchange_is_left() -> None:
    edge = Edge(early)
    await edge.feed(GET)
    assert not edge.state.tasks
    assert edge.state.connections == {edge.protocol}


async def test_a_server_whose_app_brought_no_link() -> None:
    """Embedded: default limits, one link for all connections."""
    edge = Edge(early)
    edge.app_state.clear()
    edge.connect()
    link = edge.protocol.link
    assert statuses(await edge.feed(b"BAD\r\n\r\n")) in ([400], [501])
    edge.connect()
    assert edge.protocol.link is link
    assert link.settings.max_headers == 100


async def test_a_head_whose_body_lets_itself_be_waited_for_is_sent_alone() -> None:
    """At the next sweep, so that a body that follows at once still leaves in one write with it."""
    gate = asyncio.Event()

    async def late(app: Any, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await gate.wait()
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": False})

    edge = Edge(late)
    assert await edge.feed(GET) == b""
    edge.loop.advance(0.05)
    head = edge.take()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"transfer-encoding: chunked\r\n\r\n")
    edge.loop.advance(3600)
    assert edge.take() == b""
    assert not edge.transport.closed
    gate.set()
    assert await edge.settle() == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
    assert edge.transport.protocol is not None
    edge.loop.advance(3600)  # idle again, it has a deadline again
    assert edge.transport.closed
