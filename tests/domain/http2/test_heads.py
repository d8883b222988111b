"""Heads in HTTP/2."""

from __future__ import annotations

import hpack
import pytest

from app.domain.errors import ResponseInvalid
from app.domain.http2.heads import check, request_block, response_of, trailer_block

HEAD = (
    b"%b HTTP/1.1\r\nhost: a.example:8080\r\naccept: x\r\nx-own: y\r\nx-long: %b\r\n"
    b"connection: te\r\nte: trailers\r\n\r\n"
)


@pytest.mark.parametrize(
    ("first", "pseudo"),
    [
        (b"GET /", [b"GET", b"/"]),
        (b"POST /a?b=c", [b"POST", b"/a?b=c"]),
        (b"PATCH /%2F/..", [b"PATCH", b"/%2F/.."]),
        (b"OPTIONS *", [b"OPTIONS", b"*"]),
    ],
)
@pytest.mark.parametrize(("scheme", "said"), [("http", b"http"), ("h2c", b"http"), ("https", b"https")])
def test_a_request(first: bytes, pseudo: list[bytes], scheme: str, said: bytes) -> None:
    """Host is the authority, nothing is of the connection, the rest is as it was."""
    long = b"v" * 200
    fields = hpack.Decoder().decode(request_block(HEAD % (first, long), scheme), raw=True)

    assert [tuple(field) for field in fields] == [
        (b":method", pseudo[0]), (b":scheme", said), (b":path", pseudo[1]), (b":authority", b"a.example:8080"),
        (b"accept", b"x"), (b"x-own", b"y"), (b"x-long", long), (b"te", b"trailers"),
    ]  # fmt: skip


def test_a_request_is_short() -> None:
    """What is in the static table takes a byte; the longest value whose length takes one has 126 (RFC 7541)."""
    head = b"GET / HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n"

    assert request_block(head % b"y", "http") == b"\x82\x86\x84\x01\x01a\x00\x01x\x01y"
    assert request_block(head % (b"y" * 126), "h2c")[-128:-126] == b"x\x7e"
    assert request_block(head % (b"y" * 127), "h2c")[-130:-127] == b"x\x7f\x00"


def test_a_value_may_look_like_a_field() -> None:
    block = request_block(b"GET / HTTP/1.1\r\nhost: a\r\nx: y: z\r\n\r\n", "http")

    assert tuple(hpack.Decoder().decode(block, raw=True)[-1]) == (b"x", b"y: z")


def test_trailers_of_a_request() -> None:
    fields = hpack.Decoder().decode(trailer_block([(b"x-a", b"1"), (b"x-b", b"2")]), raw=True)

    assert [tuple(field) for field in fields] == [(b"x-a", b"1"), (b"x-b", b"2")]


def test_a_response() -> None:
    assert response_of([(b":status", b"204"), (b"x", b" y")]) == (204, [(b"x", b" y")])
    assert response_of([(b":status", b"100")]) == (100, [])


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"x", b"y"), (b":status", b"200")],
        *[[(b":status", status)] for status in (b"", b"20", b"2000", b"+20", b"099", b"2 0")],
        [(b":status", b"200"), (b":status", b"200")],
    ],
)
def test_what_is_no_response(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ResponseInvalid):
        response_of(fields)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ([], "a response head without a status"),
        ([(b":status", b"20")], "a status that is none"),
        ([(b":status", b"200"), (b"X", b"")], "the name of a field that is none, or is in capitals"),
        ([(b":status", b"200"), (b"upgrade", b"")], "a upgrade field, which there is none of in HTTP/2"),
        ([(b":status", b"200"), (b"x", b"\n")], "the value of a field that would end its line"),
    ],
)
def test_the_log_says_what_is_wrong_with_it(fields: list[tuple[bytes, bytes]], detail: str) -> None:
    with pytest.raises(ResponseInvalid) as caught:
        response_of(fields)

    assert caught.value.detail == detail


@pytest.mark.parametrize(
    "field",
    [
        (b"", b""), (b"X", b""), (b"x y", b""), (b"x:", b""), (b":path", b"/"), (b"x", b"a\nb"), (b"x", b"a\rb"),
        (b"x", b"\0"), (b"connection", b"x"), (b"keep-alive", b""), (b"upgrade", b"h2c"), (b"transfer-encoding", b""),
        (b"proxy-connection", b""),
    ],
)  # fmt: skip
def test_what_is_no_field(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ResponseInvalid):
        check([(b"x", b"y"), field])
