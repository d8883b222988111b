"""What another server hands over goes on as one request of HTTP/1.1, or not at all."""

from __future__ import annotations

import pytest

from app.domain.errors import BadRequest, NotSupported
from app.domain.handed_over import UNSAID, taken_over
from app.domain.headers import DIGITS, Fields
from app.domain.request_head import CHUNKED

HOST = (b"host", b"a.test")


def test_what_is_usual_goes_on_as_it_is() -> None:
    fields = [HOST, (b"x-a", b"1"), (b"x-a", b"2"), (b"te", b"trailers")]
    assert taken_over("GET", b"a=b%20c", fields, "1.1") == (fields, 0)
    assert taken_over("M-SEARCH", b"", fields, "2") == (fields, UNSAID)


@pytest.mark.parametrize(
    ("version", "fields", "length"),
    [
        ("1.0", [], 0),
        ("1.1", [HOST, (b"content-length", b"12")], 12),
        ("1.1", [HOST, (b"transfer-encoding", b" \tChunked\t ")], CHUNKED),
        ("2", [HOST, (b"content-length", b"0")], 0),
        ("2", [HOST], UNSAID),
    ],
)
def test_the_length_of_the_body(version: str, fields: Fields, length: int) -> None:
    assert taken_over("POST", b"", fields, version) == (fields, length)


def test_crumbs_are_one_cookie() -> None:
    """RFC 9113 section 8.2.3; HTTP/1.1 has one field already."""
    fields = [HOST, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
    assert taken_over("GET", b"", fields, "2")[0] == [HOST, (b"x", b"y"), (b"cookie", b"a=1; b=2")]
    assert taken_over("GET", b"", fields, "1.1")[0] == fields


def test_nothing_of_a_connection_comes_out_of_http2() -> None:
    """RFC 9113 section 8.2.2."""
    fields = [HOST, (b"connection", b"x"), (b"upgrade", b"h2c"), (b"keep-alive", b"1"), (b"proxy-connection", b"x")]
    assert taken_over("GET", b"", fields, "2")[0] == [HOST]
    assert taken_over("GET", b"", [*fields, (b"x", b"y")], "2")[0] == [HOST, (b"x", b"y")]
    assert taken_over("GET", b"", fields, "1.1")[0] == fields


@pytest.mark.parametrize(
    ("method", "query", "fields", "why"),
    [
        ("", b"", [HOST], "not a method"),
        ("GET", b" ", [HOST], "the query holds a character that no query may hold unescaped"),
        ("GET", b"", [HOST, (b"X", b"y")], "not a header field"),
        ("GET", b"", [HOST, HOST], "more than one Host"),
        ("GET", b"", [], "no Host"),
        ("GET", b"", [HOST, (b"content-length", b"x")], "Content-Length is not one number, or not alone"),
        (
            "GET",
            b"",
            [HOST, (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
            "Transfer-Encoding beside another, or where there is none",
        ),
    ],
)
def test_the_log_says_why(method: str, query: bytes, fields: Fields, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        taken_over(method, query, fields, "1.1")

    assert refused.value.detail == why


def test_a_length_has_as_many_digits_as_it_may() -> None:
    longest = b"9" * DIGITS

    assert taken_over("POST", b"", [HOST, (b"content-length", longest)], "2")[1] == int(longest)
    with pytest.raises(BadRequest):
        taken_over("POST", b"", [HOST, (b"content-length", longest + b"9")], "2")


@pytest.mark.parametrize("method", ["", "GET ", "GET / HTTP/1.1\r\nx:", "G\0T", "é"])
def test_no_method(method: str) -> None:
    with pytest.raises(BadRequest):
        taken_over(method, b"", [HOST], "2")


@pytest.mark.parametrize("query", [b"a b", b"a\r\nx: y", b"\0", b"\t"])
def test_no_query(query: bytes) -> None:
    with pytest.raises(BadRequest):
        taken_over("GET", query, [HOST], "2")


@pytest.mark.parametrize(
    "field",
    [
        (b"", b"x"), (b"x y", b"x"), (b"x:y", b"x"), (b"X-Y", b"x"), (b":path", b"/"), (b"x\r\ny", b"x"),
        (b"x", b"1\r\ny: 2"), (b"x", b"1\n"), (b"x", b"\0"),
        (b"host", b"b.test"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_no_head(field: tuple[bytes, bytes], version: str) -> None:
    """Nor one with a second of what is there once."""
    with pytest.raises(BadRequest):
        taken_over("POST", b"", [HOST, (b"content-length", b"5"), field], version)


@pytest.mark.parametrize("value", [b"", b"abc", b"+1", b"-1", b"1_0", b"1, 1", b"\xb2", b"9" * 20])
def test_no_length(value: bytes) -> None:
    with pytest.raises(BadRequest):
        taken_over("POST", b"", [HOST, (b"content-length", value)], "2")


def test_no_coding() -> None:
    for coding in (b"gzip, chunked", b"\x0bchunked", b"Xchunked"):
        with pytest.raises(NotSupported, match=r"^a transfer coding other than chunked$"):
            taken_over("POST", b"", [HOST, (b"transfer-encoding", coding)], "1.1")
    with pytest.raises(BadRequest):
        taken_over("POST", b"", [HOST, (b"transfer-encoding", b"chunked")], "2")


@pytest.mark.parametrize("fields", [[], [(b"host", b"")], [(b"host", b"a@b")], [(b":authority", b"a")]])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_no_host(fields: Fields, version: str) -> None:
    with pytest.raises(BadRequest):
        taken_over("GET", b"", fields, version)
