"""What is let in, what is refused, and with which status."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.edge.protocol import MAX_PIPELINED, PIPELINED
from tests.edge.harness import GET, App, Edge, early, reply, statuses, waits

HOST = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    # fields (RFC 9112 section 5)
    "a line ended by a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a field ended by a bare LF": (HOST + b"X: y\nZ: w\r\n\r\n", 400),
    "a head ended by a bare LF": (HOST + b"\n\r\n", 400),
    "a bare CR in a value": (HOST + b"X: y\rz\r\n\r\n", 400),
    "NUL in a value": (HOST + b"X: y\0z\r\n\r\n", 400),
    "a control byte in a value": (HOST + b"X: y\x01z\r\n\r\n", 400),
    "DEL in a value": (HOST + b"X: y\x7fz\r\n\r\n", 400),
    "vertical tab in a value": (HOST + b"X: y\x0b\r\n\r\n", 400),
    "a byte over 127 in a name": (HOST + b"X\xff: y\r\n\r\n", 400),
    "a bracket in a name": (HOST + b"X(: y\r\n\r\n", 400),
    "NUL in a name": (HOST + b"X\0: y\r\n\r\n", 400),
    "an empty name": (HOST + b": y\r\n\r\n", 400),
    "space before the colon": (HOST + b"X : y\r\n\r\n", 400),
    "no colon": (HOST + b"Xyz\r\n\r\n", 400),
    "a folded field": (HOST + b"X: a\r\n b\r\n\r\n", 400),
    "a folded field by tab": (HOST + b"X: a\r\n\tb\r\n\r\n", 400),
    "space before the first field": (b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400),
    # Host (section 3.2)
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (HOST + b"Host: a\r\n\r\n", 400),
    "two Hosts on 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "an empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "no Host beside an absolute target": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    # the version (section 2.3)
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400),
    "no version": (b"GET /\r\n\r\n", 400),
    "a version in small letters": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0", 400),
    "TLS on the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    # the method
    "CONNECT": (b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "a method nobody knows": (b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "a method in small letters": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "something before the method": (b"\0GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    # the target (section 3.2)
    "a fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment in an absolute target": (b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a byte over 127": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a control byte": (b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk but for OPTIONS": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority form but for CONNECT": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another scheme": (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "user information": (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an absolute target without a host": (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    # the body's length (section 6)
    "CL and TE": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE and CL": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "two CL that differ": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "two CL that agree": (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    **{
        f"Content-Length: {value!r}": (POST + b"Content-Length: " + value + b"\r\n\r\nhello", 400)
        for value in (b"", b"+5", b"-5", b"0" * 19 + b"5", b"5, 5", b"5 5", b"0x5", b"5a", b"five", b"9" * 30,
                      b"9223372036854775808")
    },
    **{
        f"Transfer-Encoding: {value!r}": (POST + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n", status)
        for value, status in {
            b"": 400, b"gzip": 400, b"identity": 400, b"xchunked": 400, b"chunked;q=1": 400, b'"chunked"': 400,
            b"chunked, gzip": 400, b"chunked, chunked": 400, b"chunked,": 400, b",chunked": 400,
            b"gzip, chunked": 501,
        }.items()
    },
    "two TE fields": (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "TE with HTTP/1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # what the edge does not do
}  # fmt: skip


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", REFUSED)
async def test_refuses(name: str, pieces: str) -> None:
    """However the bytes come: a short answer, told to the observer, nothing to the app, and the connection ends."""
    data, status = REFUSED[name]
    edge = Edge(early)
    for piece in [data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]:
        edge.protocol.data_received(piece)

    answer = await edge.settle()

    if status == 501 and pieces != "whole" and not edge.refused[0].method:
        status = 400  # of an unknown method's request line, only the part that has come can be judged
    assert edge.app.calls == []
    assert [status] == statuses(answer) == [exchange.status for exchange in edge.refused]
    assert b"\r\nconnection: close\r\n" in answer
    assert edge.refused[0].error is not None
    assert edge.transport.eof
    edge.eof()
    assert edge.transport.closed


@pytest.mark.parametrize(
    "host", [b"a", b"A.b-c.example.", b"a_b", b"a:80", b"a:", b"192.0.2.1:8080", b"[::1]", b"[2001:db8::1]:443"]
)
async def test_takes_a_valid_host(host: bytes) -> None:
    edge = Edge()
    assert statuses(await edge.feed(b"GET / HTTP/1.1\r\nHost: " + host + b" \r\n\r\n")) == [200]
    assert [(b"host", host)] == edge.app.scopes[0]["headers"]


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a,b", b"a/b", b"a@b", b"a:x", b"a:80:80", b"a:99999", b"a:+1", b":80", b"[::1", b"::1", b"[::1]x",
     b"[::1]80", b"[::g]", b"[fe80::1%eth0]", b"[]", b"a%41", b"\xc3\xa9", b"a\\b", b"a?b", b"a#b", b"x" * 256],
)  # fmt: skip
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_refuses_an_invalid_host(host: bytes, version: bytes) -> None:
    edge = Edge()
    assert statuses(await edge.feed(b"GET / HTTP/" + version + b"\r\nHost: " + host + b"\r\n\r\n")) == [400]


async def test_scope_is_what_asgi_says() -> None:
    edge = Edge(early)
    await edge.feed(b"POST /a%20b/%C3%A9?q=%20&r HTTP/1.1\r\nHOST: a\r\nX-Y: 1\r\nx-y:  2\t\r\nCookie: \xff\r\n\r\n")
    (scope,) = edge.app.scopes
    extensions = scope.pop("extensions")
    assert scope.pop("state") == edge.app_state
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("192.0.2.1", 4711),
        "scheme": "http",
        "root_path": "",
        "headers": [(b"host", b"a"), (b"x-y", b"1"), (b"x-y", b"2"), (b"cookie", b"\xff")],
        "method": "POST",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"q=%20&r",
    }
    assert list(extensions) == ["lb.edge"]


async def test_state_is_a_copy() -> None:
    edge = Edge(early)
    await edge.feed(GET)
    edge.app.scopes[0]["state"]["new"] = 1
    assert "new" not in edge.app_state


async def test_root_path_stands_before_the_path() -> None:
    edge = Edge(early)
    edge.config.root_path = "/r"
    edge.connect()
    await edge.feed(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert tuple(edge.app.scopes[0][key] for key in ("path", "raw_path", "root_path")) == ("/r/x", b"/r/x", "/r")


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        (b"http://b:81/x?y", b"b:81", b"/x", b"y"),
        (b"HTTPS://b/x", b"b", b"/x", b""),
        (b"http://b", b"b", b"/", b""),
        (b"http://b?y=http://c/", b"b", b"/", b"y=http://c/"),
        (b"http://[::1]:80/", b"[::1]:80", b"/", b""),
    ],
)
async def test_the_authority_of_an_absolute_target_is_the_host(
    target: bytes, host: bytes, path: bytes, query: bytes
) -> None:
    edge = Edge()
    assert statuses(await edge.feed(b"GET " + target + b" HTTP/1.1\r\nX: 1\r\nHost: a\r\n\r\n")) == [200]
    (scope,) = edge.app.scopes
    assert scope["headers"] == [(b"x", b"1"), (b"host", host)]
    assert (path, query) == (scope["raw_path"], scope["query_string"])


async def test_http_1_0_needs_no_host_and_is_closed_after_one() -> None:
    edge = Edge()
    assert statuses(await edge.feed(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET)) == [200]
    assert edge.app.scopes[0]["headers"] == [(b"connection", b"keep-alive")]
    assert edge.app.scopes[0]["http_version"] == "1.0"
    assert edge.transport.eof  # lingering: more came than was asked for


async def test_http_1_0_with_an_absolute_target_gets_its_host() -> None:
    edge = Edge()
    await edge.feed(b"GET http://b/ HTTP/1.0\r\n\r\n")
    assert edge.app.scopes[0]["headers"] == [(b"host", b"b")]


@pytest.mark.parametrize("target", [b"*", b"http://a"])
async def test_options_may_ask_for_the_server(target: bytes) -> None:
    edge = Edge()
    assert statuses(await edge.feed(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")) == [200]
    assert edge.app.scopes[0]["raw_path"] == b"*"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PATCH", "PURGE", "PROPFIND", "M-SEARCH", "QUERY"])
async def test_methods_are_passed_as_they_are(method: str) -> None:
    edge = Edge()
    await edge.feed(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert method == edge.app.scopes[0]["method"]


async def test_blank_lines_before_a_request_are_skipped() -> None:
    edge = Edge()
    assert statuses(await edge.feed(b"\r\n", b"\r\n" + GET, b"\r\n" + GET)) == [200, 200]


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (POST + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (POST + b"Content-Length: 05 \r\n\r\nhello", b"hello"),
        (POST + b"Content-Length: 0\r\n\r\n", b""),
        (POST + b"\r\n", b""),
        (CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", b"hello!"),
        (POST + b"Transfer-Encoding: \tCHUNKED \r\n\r\n5;a=b\r\nhello\r\n0;x\r\n\r\n", b"hello"),
    ],
)
@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
async def test_bodies(data: bytes, body: bytes, pieces: str) -> None:
    """Each is followed by another request, which shows that its end was found."""
    edge = Edge()
    data += GET
    answer = await edge.feed(*([data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]))
    assert statuses(answer) == [200, 200]
    assert [body, b""] == edge.app.bodies


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
async def test_trailers_never_reach_the_scope(pieces: str) -> None:
    """FACTS: uvicorn appends them to scope["headers"], which lets a client add X-Forwarded-For after the fact."""
    edge = Edge()
    data = CHUNKED + b"1\r\nx\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\nHost: evil\r\n\r\n" + GET
    answer = await edge.feed(*([data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]))
    assert statuses(answer) == [200, 200]
    assert edge.app.scopes[0]["headers"] == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    assert edge.app.scopes[1]["headers"] == [(b"host", b"a")]


@pytest.mark.parametrize(
    "chunks",
    [b"3\nabc\n0\n\n", b"3 \r\nabc\r\n", b"0x3\r\nabc\r\n", b"-3\r\nabc\r\n", b"f" * 17 + b"\r\n", b"3\r\nabcd\r\n",
     b"\r\nabc\r\n", b"3;a=\nb\r\nabc\r\n", b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n", b"0\r\nBad name: 1\r\n\r\n"],
)  # fmt: skip
async def test_a_malformed_body_reaches_the_app_as_an_error(chunks: bytes) -> None:
    """The app has begun already: `receive` raises what Rescue makes a 400 of; here the edge does it."""
    edge = Edge()
    answer = await edge.feed(CHUNKED, chunks)
    assert statuses(answer) == [400]
    assert type(edge.app.ended[0]).__name__ == "BadRequest"
    assert edge.transport.eof
    assert not edge.app.bodies


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.2", b"foo, bar"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\r\n", b""),
        (b"Content-Length: 1\r\n\r\nh", b"h"),
        (b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    ],
)
@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
async def test_other_upgrades_are_ignored(upgrade: bytes, body: bytes, expected: bytes, pieces: str) -> None:
    """The parser takes what follows for another protocol, body or not: no byte of it may become a request."""
    edge = Edge()
    data = POST + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n" + body + GET
    answer = await edge.feed(*([data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]))
    assert statuses(answer) == [200, 200]
    assert edge.app.paths == ["/p", "/"]
    assert [expected, b""] == edge.app.bodies


async def test_many_ignored_upgrades_in_one_piece() -> None:
    edge = Edge()
    data = (HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n") * 5000
    assert statuses(await edge.feed(data) + await edge.settle(20)) == [200] * (MAX_PIPELINED + 1)


@pytest.mark.parametrize("data", [b"Upgrade: websocket\r\n\r\n", b"Connection: Upgrade\r\n\r\n"])
async def test_half_an_upgrade_is_none(data: bytes) -> None:
    edge = Edge()
    assert statuses(await edge.feed(HOST + data)) == [200]


async def test_websocket_over_http_1_0_is_a_plain_request() -> None:
    edge = Edge()
    data = b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert statuses(await edge.feed(data)) == [200]


class TestPipelining:
    async def test_in_order(self) -> None:
        edge = Edge()
        data = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(5))
        answer = await edge.feed(data)
        assert edge.app.paths == ["/0", "/1", "/2", "/3", "/4"]
        assert [part[:1] for part in answer.split(b"\r\n\r\n/")[1:]] == [b"0", b"1", b"2", b"3", b"4"]

    async def test_reading_waits_while_requests_wait(self) -> None:
        edge = Edge(waits)
        await edge.feed(*[GET] * PIPELINED)
        assert not edge.transport.paused
        await edge.feed(GET)
        assert edge.transport.paused
        assert len(edge.app.calls) == 1

    async def test_reading_goes_on_when_fewer_wait(self) -> None:
        """The answer that lets it go on is not the first: as many as may wait still do."""
        turn = asyncio.Semaphore(0)

        async def app(app: App, scope: Any, receive: Any, send: Any) -> None:
            await turn.acquire()
            await reply(send, b"")

        edge = Edge(app)
        await edge.feed(GET * (PIPELINED + 2))
        assert edge.transport.paused
        turn.release()
        assert statuses(await edge.settle()) == [200]
        assert edge.transport.paused
        turn.release()
        assert statuses(await edge.settle()) == [200]
        assert not edge.transport.paused

    async def test_bounded(self) -> None:
        """However many come in one piece; the last one served says that it is the last."""
        edge = Edge()
        answer = await edge.feed(GET * 9000) + await edge.settle(20)
        assert statuses(answer) == [200] * (MAX_PIPELINED + 1)
        assert answer.count(b"connection: close") == 1
        assert edge.transport.eof

    async def test_an_error_in_the_middle_is_answered_in_its_turn(self) -> None:
        edge = Edge()
        second = b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        answer = await edge.feed(GET + second + b"BAD\r\n\r\n" + GET)
        assert statuses(answer) == [200, 200, 400]
        assert edge.app.paths == ["/", "/2"]
        assert [exchange.status for exchange in edge.refused] == [400]

    async def test_nothing_follows_connection_close(self) -> None:
        edge = Edge()
        answer = await edge.feed(HOST + b"Connection: close\r\n\r\n" + GET, GET)
        assert statuses(answer) == [200]
        assert b"connection: close" in answer
        assert len(edge.app.calls) == 1
        assert edge.refused == []

    async def test_what_is_malformed_behind_connection_close_is_waited_for(self) -> None:
        """A close would be a reset, that could take the answer away from the client (RFC 9112 section 9.6)."""
        edge = Edge()
        assert statuses(await edge.feed(HOST + b"Connection: close\r\n\r\n\0\0")) == [200]
        assert edge.transport.eof
        assert not edge.transport.closed
        assert edge.transport.eof

    async def test_what_waits_is_dropped_when_the_client_goes(self) -> None:
        edge = Edge(waits)
        await edge.feed(GET + GET + b"BAD\r\n\r\n")
        edge.lose()
        await edge.settle()
        assert len(edge.app.calls) == 1
        assert edge.refused == []
        assert not edge.state.connections
        assert not edge.state.tasks


class TestLimits:
    async def test_head_at_the_limit_passes_and_over_it_does_not(self) -> None:
        """The size is that of target and fields."""
        for spare, status in ((0, 200), (1, 431)):
            edge = Edge(max_header_bytes=1024)
            size = 1024 - len(b"/" + b"Host: a\r\n" + b"X: \r\n") + spare
            assert [status] == statuses((await edge.feed(HOST + b"X: " + b"x" * size + b"\r\n\r\n"))[:40])

    @pytest.mark.parametrize("part", [b"x", b"x: y\r\n"])
    async def test_an_incomplete_head_is_bounded(self, part: bytes) -> None:
        edge = Edge(max_header_bytes=1024)
        await edge.feed(HOST + b"X: ")
        for _ in range(2000 // len(part)):
            edge.protocol.data_received(part)
        assert statuses(await edge.settle()) == [431]
        assert edge.refused[0].path == "/"

    async def test_a_head_in_one_piece_is_bounded(self) -> None:
        edge = Edge(max_header_bytes=1024)
        assert statuses(await edge.feed(HOST + b"X: " + b"x" * 2000)) == [431]

    async def test_a_long_target_is_bounded(self) -> None:
        edge = Edge(max_header_bytes=1024)
        assert statuses(await edge.feed(b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")) == [431]

    async def test_blank_lines_are_bounded(self) -> None:
        edge = Edge(max_header_bytes=1024)
        for _ in range(600):
            edge.protocol.data_received(b"\r\n")
        assert statuses(await edge.settle()) == [431]

    async def test_a_body_in_the_same_piece_is_not_head(self) -> None:
        edge = Edge(max_header_bytes=1024)
        data = POST + b"Content-Length: 50000\r\n\r\n" + b"x" * 50000
        assert statuses(await edge.feed(data + GET)) == [200, 200]

    async def test_a_head_behind_a_body_in_the_same_piece(self) -> None:
        """What came before its first byte is not counted against it."""
        edge = Edge(max_header_bytes=1024)
        body = POST + b"Content-Length: 50000\r\n\r\n" + b"x" * 50000
        assert statuses(await edge.feed(body + GET[:20], GET[20:])) == [200, 200]
        assert statuses(await edge.feed(body + GET[:20])) == [200]
        assert statuses(await edge.feed(b"x" * 1025)) == [431]

    async def test_number_of_fields(self) -> None:
        for count, status in ((99, 200), (100, 431)):
            edge = Edge()
            assert [status] == statuses(await edge.feed(HOST + b"a:b\r\n" * count + b"\r\n"))
            edge = Edge()
            await edge.feed(HOST)
            assert ([status] if status == 431 else []) == statuses(await edge.feed(b"a:b\r\n" * (count + 1)))

    @pytest.mark.parametrize("junk", [b"1;" + b"x" * 500 + b"\r\na\r\n", b"0\r\n" + b"x: y\r\n" * 90])
    async def test_extensions_and_trailers_are_bounded(self, junk: bytes) -> None:
        edge = Edge(max_header_bytes=1024)
        await edge.feed(CHUNKED)
        answer = b""
        for _ in range(4):
            edge.protocol.data_received(junk if not answer else b"x: y\r\n" * 90)
            junk = junk.removeprefix(b"0\r\n")
        assert statuses(await edge.settle()) == [400]

    async def test_small_chunks_are_no_extensions(self) -> None:
        edge = Edge(max_header_bytes=1024)
        await edge.feed(CHUNKED)
        for _ in range(5000):
            edge.protocol.data_received(b"1\r\nx\r\n")
            if edge.transport.paused:
                await edge.settle()
        assert statuses(await edge.feed(b"0\r\n\r\n")) == [200]
        assert edge.app.bodies == [b"x" * 5000]

    async def test_the_data_of_chunks_is_no_extension(self) -> None:
        """However many bytes they are."""
        edge = Edge(max_header_bytes=1024)
        await edge.feed(CHUNKED)
        for _ in range(20):
            await edge.feed(b"200\r\n" + b"x" * 512 + b"\r\n")
        assert statuses(await edge.feed(b"0\r\n\r\n")) == [200]
        assert edge.app.bodies == [b"x" * 20 * 512]

    async def test_a_body_that_ends_in_the_same_piece_leaves_no_room_to_the_next(self) -> None:
        edge = Edge(max_header_bytes=1024)
        await edge.feed(CHUNKED + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n" + CHUNKED)
        assert statuses(await edge.feed(b"0\r\n" + b"x: y\r\n" * 190)) == [400]

    @pytest.mark.parametrize("requests", [1, 2])
    async def test_limit_concurrency_of_requests(self, requests: int) -> None:
        """As many as are allowed, and no more, on however few connections."""
        edge = Edge(waits)
        edge.config.limit_concurrency = requests
        for _ in range(requests):
            edge.state.connections.clear()
            edge.connect()
            await edge.feed(GET)
        assert len(edge.app.calls) == requests
        edge.state.connections.clear()
        edge.connect()
        assert statuses(await edge.feed(GET)) == [503]

    @pytest.mark.parametrize("connections", [1, 2])
    async def test_limit_concurrency_of_connections(self, connections: int) -> None:
        """With this one, however idle the others are."""
        edge = Edge()
        edge.state.connections.clear()
        edge.config.limit_concurrency = connections
        for _ in range(connections):
            edge.connect()
        assert statuses(await edge.feed(GET)) == [200]
        edge.connect()
        assert statuses(await edge.feed(GET)) == [503]

    async def test_limit_concurrency(self) -> None:
        edge = Edge(waits)
        edge.config.limit_concurrency = 1
        edge.connect()
        await edge.feed(GET)
        edge.connect()
        assert statuses(await edge.feed(GET)) == [503]


async def test_405_says_what_is_allowed() -> None:
    edge = Edge()
    answer = await edge.feed(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nallow: GET, HEAD" in answer
    assert b"\r\ndate: " in answer


async def test_a_refused_head_request_gets_no_body() -> None:
    edge = Edge()
    answer = await edge.feed(b"HEAD / HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_refused_exchange_says_who_asked_for_what() -> None:
    edge = Edge()
    await edge.feed(b"PUT /x?y HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    (exchange,) = edge.refused
    assert (
        exchange.client, exchange.method, exchange.host, exchange.path, exchange.scheme, exchange.status,
    ) == ("192.0.2.1", "PUT", "a", "/x", "http", 400)  # fmt: skip
    assert exchange.ended >= exchange.started > 0


async def test_a_refused_exchange_without_a_host_says_none() -> None:
    edge = Edge()
    await edge.feed(b"GET / HTTP/1.1\r\n\r\n")
    assert edge.refused[0].host == ""


@pytest.mark.parametrize("version", [b"HTTP/1.2", b"HTTP/2.0"])
async def test_another_version_is_named(version: bytes) -> None:
    edge = Edge()
    await edge.feed(b"GET / %b\r\nHost: a\r\n\r\n" % version)
    assert str(edge.refused[0].error) == "not HTTP/1.1"
