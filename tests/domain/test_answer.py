"""Our own answer when something went wrong."""

import json

import pytest

from app.domain.answer import answer, preferred
from app.domain.errors import ConnectFailed, NoBackend, ProxyError


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (b"", "application/problem+json"),
        (b"*/*", "application/problem+json"),
        (b"application/json", "application/problem+json"),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        (b"text/plain", "text/plain"),
        (b"text/html;q=0.2, text/plain;q=0.9", "text/plain"),
        (b"text/html;q=nonsense", "application/problem+json"),
        (b"text/html;level=1", "text/html"),
        (b"text/html;q=0", "application/problem+json"),
        (b"image/png", "application/problem+json"),
        (b"\xff;;;=,", "application/problem+json"),
    ],
)
def test_the_client_says_what_it_reads(accept: bytes, media: str) -> None:
    """RFC 9110 section 12.5.1."""
    assert preferred(accept) == media


def test_problem_details() -> None:
    """RFC 9457, with the machine name of the error and the request's name."""
    fields, body = answer(ConnectFailed("connection refused"), "id-1", b"")

    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Bad Gateway",
        "status": 502,
        "detail": "connection refused",
        "error": "connection_refused",
        "request_id": "id-1",
    }
    assert (b"content-type", b"application/problem+json") in fields
    assert (b"proxy-status", b"l7lb; error=connection_refused") in fields


def test_html_reflects_nothing_that_is_not_escaped() -> None:
    """The detail may hold what a client sent."""
    _, body = answer(ProxyError("<script>"), "<b>", b"text/html")

    assert b"<script>" not in body
    assert b"<b>" not in body
    assert b"&lt;script&gt;" in body


def test_text() -> None:
    """Short, one line."""
    assert answer(ProxyError(), "x", b"text/plain")[1] == b"502 Bad Gateway: proxy_internal_error\n"


@pytest.mark.parametrize(("seconds", "field"), [(0.2, b"1"), (1.0, b"1"), (1.2, b"2")])
def test_retry_after_is_rounded_up_and_never_zero(seconds: float, field: bytes) -> None:
    """A client that comes back at once is refused again."""
    fields, _ = answer(NoBackend(retry_after=seconds), "x", b"")

    assert (b"retry-after", field) in fields
