"""What a request head says of its message, and what is answered to one that says it in two ways."""

from __future__ import annotations

import pytest

from app.domain.errors import BadRequest, NotSupported, ProxyError
from app.domain.headers import DIGITS, LARGEST
from app.edge.head import PLAIN, Framing, Headers, framing_of, offered, shown, split_target, with_host

HOST = (b"host", b"a")


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], PLAIN),
        ([(b"connection", b"close")], PLAIN),
        ([(b"expect", b"100-continue")], PLAIN),
        ([(b"content-length", b"0"), (b"expect", b"100-continue")], PLAIN),
        ([(b"content-length", b"7")], Framing(length=7)),
        ([(b"content-length", b"%d" % LARGEST)], Framing(length=LARGEST)),
        ([(b"content-length", b"7".zfill(DIGITS))], Framing(length=7)),
        ([(b"transfer-encoding", b"chunked")], Framing(chunked=True)),
        ([(b"transfer-encoding", b"\t Chunked \t")], Framing(chunked=True)),
        ([(b"content-length", b"7"), (b"expect", b" 100-Continue\t")], Framing(length=7, expects=True)),
        ([(b"content-length", b"7"), (b"expect", b"100-continue"), (b"expect", b"x")], Framing(length=7, expects=True)),
        ([(b"content-length", b"7"), (b"expect", b"100-continued")], Framing(length=7)),
        ([(b"content-length", b"7"), (b"expect", b"\x0b100-continue")], Framing(length=7)),
        ([(b"upgrade", b"WebSocket"), (b"upgrade", b"x")], Framing(upgrade=b"websocket,x,")),
        ([(b"connection", b"keep-alive, x-a")], Framing(lists=True)),
    ],
)
def test_what_a_head_says(fields: Headers, framing: Framing) -> None:
    assert framing_of([HOST, *fields], http11=True) == framing


def test_http_1_0_waits_for_no_continue() -> None:
    assert framing_of([(b"content-length", b"7"), (b"expect", b"100-continue")], http11=False) == Framing(length=7)


@pytest.mark.parametrize(
    ("fields", "http11", "error", "said"),
    [
        ([], True, BadRequest, "no Host"),
        ([HOST, HOST], True, BadRequest, "more than one Host"),
        ([HOST, HOST], False, BadRequest, "more than one Host"),
        ([HOST, (b"content-length", b"7".zfill(DIGITS + 1))], True, BadRequest, "Content-Length has too many digits"),
        ([HOST, (b"content-length", b"%d" % (LARGEST + 1))], True, BadRequest, "Content-Length is too large"),
        ([HOST, (b"transfer-encoding", b"chunked")], False, BadRequest, "Transfer-Encoding with HTTP/1.0"),
        *[
            ([HOST, (b"transfer-encoding", value)], True, BadRequest, "Transfer-Encoding is not chunked")
            for value in (
                b"gzip", b"chunked, gzip", b"chunked, chunked", b"chunked, gzip, chunked", b", chunked", b"\x0bchunked",
            )
        ],
        *[
            ([HOST, *[(b"transfer-encoding", value) for value in values]], True, NotSupported,
             "a transfer coding other than chunked")
            for values in ([b"gzip, chunked"], [b"gzip", b"chunked"], [b"gzip ,\tdeflate , Chunked"])
        ],
    ],
)  # fmt: skip
def test_what_is_refused(fields: Headers, http11: bool, error: type[ProxyError], said: str) -> None:
    """The words are what the client gets to read."""
    with pytest.raises(error) as refused:
        framing_of(fields, http11)

    assert refused.value.detail == said


def test_what_may_be_asked_of_a_backend() -> None:
    assert offered(b"websocket,h2c, \tx ,,") == (b"websocket", b"x")
    assert offered(b"\x0bx,") == (b"\x0bx",)


@pytest.mark.parametrize(
    ("url", "method", "parts"),
    [
        (b"/a?b?c", b"GET", (None, b"/a", b"b?c")),
        (b"/", b"GET", (None, b"/", b"")),
        (b"*", b"OPTIONS", (None, b"*", b"")),
        (b"http://b:8/x?y", b"GET", (b"b:8", b"/x", b"y")),
        (b"HTTPS://b", b"GET", (b"b", b"/", b"")),
        (b"http://b", b"OPTIONS", (b"b", b"*", b"")),
        (b"http://b?", b"OPTIONS", (b"b", b"/", b"")),
        (b"http://b?y", b"OPTIONS", (b"b", b"/", b"y")),
    ],
)
def test_a_target_has_three_parts(url: bytes, method: bytes, parts: tuple[bytes | None, bytes, bytes]) -> None:
    assert split_target(url, method) == parts


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (b"/a#b", "a fragment in the request target"),
        (b"http://b/#", "a fragment in the request target"),
        (b"*", "not a request target that can be served"),
        (b"a:80", "not a request target that can be served"),
        (b"ftp://b/", "not a request target that can be served"),
    ],
)
def test_a_target_that_is_none(url: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        split_target(url, b"GET")

    assert refused.value.detail == said


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"/a@b?secret", "/a@b"),
        (b"/a#secret?secret", "/a"),
        (b"/a?b?secret", "/a"),
        (b"http://user:secret@h/x?secret", "h/x"),
        (b"user:secret@more@h", "h"),
        (b"\xff", "\xff"),
    ],
)
def test_what_the_log_has_of_a_refused_target(text: bytes, told: str) -> None:
    assert shown(text) == told


def test_a_host_stays_in_its_place() -> None:
    assert with_host([(b"a", b"1"), HOST, (b"b", b"2")], b"x") == [(b"a", b"1"), (b"host", b"x"), (b"b", b"2")]
    assert with_host([HOST], b"x") == [(b"host", b"x")]
    assert with_host([(b"a", b"1")], b"x") == [(b"host", b"x"), (b"a", b"1")]
