"""Heads of responses, to the byte."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from app.domain.errors import BadRequest, MethodNotAllowed, ProxyError, RateLimited
from app.edge.wire import STATUS_LINES, block, interim, refusal

DATE = (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT")


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, b"HTTP/1.1 200 OK"), (404, b"HTTP/1.1 404 Not Found"), (299, b"HTTP/1.1 299 "), (999, b"HTTP/1.1 999 ")],
)
def test_a_status_has_its_phrase_where_there_is_one(status: int, line: bytes) -> None:
    """The space before it is there without it, too (RFC 9112 section 4)."""
    assert STATUS_LINES[status] == line


def test_a_head_is_its_lines_and_an_empty_one() -> None:
    assert block([b"HTTP/1.1 200 OK", b"a: b"]) == b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0"])
def test_no_field_is_more_than_a_field(byte: bytes) -> None:
    with pytest.raises(ValueError, match=r"^a response field has CR, LF or NUL in it$"):
        block([b"HTTP/1.1 200 OK", b"a: b" + byte + b"c"])


def test_an_interim_response() -> None:
    hints = [(b"link", b"</a.css>; rel=preload"), (b"x", b"y")]

    assert interim(103, hints) == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nx: y\r\n\r\n"
    assert interim(199, []) == b"HTTP/1.1 199 \r\n\r\n"


@pytest.mark.parametrize(
    ("error", "fields", "body"),
    [
        (BadRequest("no Host"), b"", b"400 Bad Request: no Host\n"),
        (BadRequest(), b"", b"400 Bad Request\n"),
        (
            MethodNotAllowed("CONNECT"),
            b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
            b"405 Method Not Allowed: CONNECT\n",
        ),
        (RateLimited("more", retry_after=1.2), b"retry-after: 2\r\n", b"429 Too Many Requests: more\n"),
        (RateLimited("more", retry_after=0.0), b"retry-after: 1\r\n", b"429 Too Many Requests: more\n"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_closes(error: ProxyError, fields: bytes, body: bytes) -> None:
    said = refusal(error, [DATE, (b"server", b"l7lb")], head_only=False)

    assert said == b"".join((
        STATUS_LINES[error.status] + b"\r\n",
        b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        b"server: l7lb\r\n",
        b"content-type: text/plain; charset=utf-8\r\n",
        b"content-length: %d\r\n" % len(body),
        fields,
        b"connection: close\r\n\r\n",
        body,
    ))  # fmt: skip
    assert refusal(error, [DATE, (b"server", b"l7lb")], head_only=True) == said.removesuffix(body)


def test_a_refusal_has_a_date_in_any_case() -> None:
    """RFC 9110 section 5.6.7: in GMT."""
    (line,) = [line for line in refusal(BadRequest(), [], head_only=True).split(b"\r\n") if line.startswith(b"date: ")]

    assert line.endswith(b" GMT")
    assert parsedate_to_datetime(line[6:].decode()).tzinfo is not None
