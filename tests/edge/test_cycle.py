"""What passes beside heads and bodies: trailers, hints, and what is said of an app that makes no response."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import BodyTooLarge
from tests.edge.harness import GET, Edge, early
from tests.edge.test_exchange import OLD, body, length, sends, start

CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"
LAST = b"0\r\n\r\n"
TRAILERS = b"0\r\nX-T: 1\r\n\r\n"
PIECE = {"type": "http.request", "body": b"hi"}
END = {"type": "http.request", "body": b"", "more_body": False}


async def received(*pieces: bytes) -> list[dict[str, Any]]:
    """The messages that an app gets of a request that comes in *pieces*."""
    messages: list[dict[str, Any]] = []

    async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
        while not messages or messages[-1]["more_body"]:
            messages.append(dict(await receive()))
        await early(app, scope, receive, send)

    edge = Edge(app)
    for piece in pieces:
        await edge.feed(piece)
    return messages


@pytest.mark.parametrize(
    ("pieces", "messages"),
    [
        ([CHUNKS + LAST], [{**PIECE, "more_body": False}]),
        ([CHUNKS, LAST], [{**PIECE, "more_body": True}, {**END, "lb.trailers": ()}]),
        ([CHUNKS + TRAILERS], [{**PIECE, "more_body": False, "lb.trailers": [(b"x-t", b"1")]}]),
        ([CHUNKS, TRAILERS], [{**PIECE, "more_body": True}, {**END, "lb.trailers": [(b"x-t", b"1")]}]),
    ],
)
async def test_trailers_of_a_request_are_in_its_last_message(
    pieces: list[bytes], messages: list[dict[str, Any]]
) -> None:
    assert await received(*pieces) == messages


@pytest.mark.parametrize(
    ("messages", "written"),
    [
        ([body(b"hi", more=True), body()], b"2\r\nhi\r\n0\r\n\r\n"),
        ([body(b"hi", more=True), {**body(), "lb.trailers": [(b"x-t", b"1")]}], b"2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n"),
        ([{**body(b"hi"), "lb.trailers": [(b"x-t", b"1"), (b"y", b"2")]}], b"2\r\nhi\r\n0\r\nx-t: 1\r\ny: 2\r\n\r\n"),
        ([body(b"x" * 171)], b"ab\r\n" + b"x" * 171 + b"\r\n0\r\n\r\n"),
        ([{"type": "http.response.body"}], LAST),
    ],
)
async def test_trailers_of_a_response_are_behind_its_chunks(messages: list[dict[str, Any]], written: bytes) -> None:
    answer = await Edge(sends(start(), *messages)).feed(GET)

    assert answer == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + written


async def test_a_response_without_fields() -> None:
    """ASGI lets an app leave them out."""
    head = {"type": "http.response.start", "status": 204}

    assert await Edge(sends(head, {"type": "http.response.body"})).feed(GET) == b"HTTP/1.1 204 No Content\r\n\r\n"
    answer = await Edge(sends(start(length(5), (b"x", b"y"), status=204), body())).feed(GET)
    assert answer == b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"


def hints(*messages: dict[str, Any]) -> Any:
    """An app that hints, before and after it has begun its response."""

    async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
        edge = scope["extensions"]["lb.edge"]
        edge.hint(103, [(b"link", b"</a>")])
        for message in messages:
            await send(message)
            if not edge.complete:
                edge.hint(103, [(b"link", b"</late>")])

    return app


async def test_hints_come_before_the_response() -> None:
    answer = await Edge(hints(start(length(0)), body())).feed(GET)

    assert answer == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


async def test_http_1_0_knows_no_hints() -> None:
    answer = await Edge(hints(start(length(0)), body())).feed(OLD)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_no_hints_for_a_client_that_has_gone_or_reads_slowly() -> None:
    for leave in (lambda edge: edge.lose(), lambda edge: edge.protocol.pause_writing()):
        edge = Edge(waiting)
        await edge.feed(GET)
        leave(edge)
        await edge.settle()
        edge.app.scopes[0]["extensions"]["lb.edge"].hint(103, [])
        assert edge.take() == b""
        edge.protocol.resume_writing()
        edge.lose()
        await edge.settle()


async def waiting(app: Any, scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await receive()


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "the app returned without a complete response"),
        ([start(length(2))], "the app returned without a complete response"),
        ([{"type": "x"}], "unexpected ASGI message 'x'"),
        ([body()], "unexpected ASGI message 'http.response.body'"),
        ([start(length(0)), body(), body()], "unexpected ASGI message 'http.response.body'"),
        ([start(length(2), length(2))], "a response needs one Content-Length, of digits"),
        ([start((b"content-length", b"+2"))], "a response needs one Content-Length, of digits"),
        ([start(length(1)), body(b"hi")], "the response body is not as long as its Content-Length"),
        ([start(length(3)), body(b"hi")], "the response body is not as long as its Content-Length"),
    ],
)
async def test_what_is_wrong_with_an_app_is_said(
    messages: list[dict[str, Any]], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    await Edge(sends(*messages)).feed(GET)

    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("l7lb.edge", "ERROR", "the app failed")
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == said


async def test_a_refusal_of_a_head_request_has_no_body() -> None:
    async def app(app: Any, scope: Any, receive: Any, send: Any) -> None:
        raise BodyTooLarge("more than is allowed")

    whole, head = [await Edge(app).feed(GET.replace(b"GET", method)) for method in (b"GET", b"HEAD")]

    assert whole.endswith(b": more than is allowed\n")
    assert head == whole[: whole.index(b"\r\n\r\n") + 4]


async def test_an_app_that_waits_for_a_body_is_told_that_it_stopped() -> None:
    edge = Edge(body_timeout=5.0)
    await edge.feed(CHUNKS)
    edge.loop.advance(6.0)

    answer = await edge.settle()

    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert answer.endswith(b"\r\n\r\n408 Request Timeout: the request body stopped arriving\n")
    assert b"connection: close\r\n" in answer
