"""What a client is told that is refused: in words, for whoever looks why, and the connection closes behind it."""

from __future__ import annotations

import pytest

from tests.edge.harness import GET, Edge

HOST = b" HTTP/1.1\r\nHost: a\r\n"
CHUNKS = b"POST /" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = "431 Request Header Fields Too Large: the request head is too large"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "400 Bad Request: not HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400 Bad Request: not HTTP/1.1"),
        (b"WHAT /" + HOST + b"\r\n", "501 Not Implemented: a method that is not known"),
        (b"CONNECT a:80" + HOST + b"\r\n", "405 Method Not Allowed: CONNECT and TRACE are not served"),
        (b"TRACE /" + HOST + b"\r\n", "405 Method Not Allowed: CONNECT and TRACE are not served"),
        (b"GET /" + b"x" * 70_000, TOO_LARGE),
        (b"GET /" + HOST + b"X: " + b"x" * 70_000 + b"\r\n\r\n", TOO_LARGE),
        (b"GET /" + HOST + b"X: y\r\n" * 101 + b"\r\n", TOO_LARGE),
        (CHUNKS + b"x\r\n", "400 Bad Request: the request body is malformed"),
    ],
)
async def test_why(sent: bytes, said: str) -> None:
    edge = Edge()

    answer = await edge.feed(sent)

    assert answer.decode().endswith(f"\r\nconnection: close\r\n\r\n{said}\n")


async def test_chunk_extensions_that_do_not_end() -> None:
    edge = Edge()

    answer = await edge.feed(CHUNKS, b"1;" + b"x" * 70_000)

    assert answer.endswith(b"\r\n\r\n400 Bad Request: chunk extensions or trailers are too large\n")


async def test_a_head_that_does_not_come() -> None:
    edge = Edge(header_timeout=5.0)
    await edge.feed(GET[:-2])
    edge.loop.advance(6.0)

    answer = await edge.settle()

    assert answer.endswith(b"\r\n\r\n408 Request Timeout: the request head did not arrive in time\n")


async def test_more_than_uvicorn_was_told_to_take() -> None:
    edge = Edge()
    edge.config.limit_concurrency = 0
    edge.connect()

    assert (await edge.feed(GET)).endswith(b"\r\n\r\n503 Service Unavailable: too many requests at once\n")


async def test_a_head_may_have_as_many_fields_as_is_said() -> None:
    for fields, status in ((7, b"200 OK"), (8, b"431 Request Header Fields Too Large")):
        edge = Edge(max_headers=8)
        answer = await edge.feed(GET[:-2] + b"X: y\r\n" * fields + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 " + status)
