"""Our own answer when something went wrong."""

import json

import pytest

from app.domain.answer import answer, page, preferred
from app.domain.errors import ConnectFailed, NoBackend, ProxyError
from app.domain.pages import Pages


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
        (b"text/*", "text/plain"),
        (b"text/plain;q=1, text/html", "text/plain"),
        (b"application/*", "application/problem+json"),
        (b"text/plain, text/html", "text/plain"),
        (b"text/plain;q=0.8, text/html", "text/html"),
        (b"text/plain, text/html;q=7", "text/plain"),
        (b"text/plain;q=.9, text/html;q=.8", "text/plain"),
        (b"text/plain;q=0.9, */*", "application/problem+json"),
        (b"text/plain;q=-1, text/html;q=0.1", "text/html"),
    ],
)
def test_the_client_says_what_it_reads(accept: bytes, media: str) -> None:
    """RFC 9110 section 12.5.1."""
    assert preferred(accept) == media


@pytest.mark.parametrize(
    ("accept", "media"),
    [(b"", "text/css"), (b"image/png", "text/css"), (b"*/*", "text/css"), (b"text/html, */*;q=0.1", "text/html")],
)
def test_what_there_is_goes_to_who_takes_anything(accept: bytes, media: str) -> None:
    assert preferred(accept, "text/css") == media


def own(content_type: str = "text/html; charset=utf-8", text: str = "{status} {request_id}") -> Pages:
    """A page for what failed at a backend."""
    return Pages({"5xx": lambda: (content_type, text)})


@pytest.mark.parametrize("accept", [b"", b"*/*", b"text/html", b"text/plain", b"image/png", b"text/html, */*"])
def test_a_page_of_the_group_is_in_place_of_ours(accept: bytes) -> None:
    """Also for who wants text and gets HTML; the fields are those that every error has."""
    fields, body = answer(NoBackend(), "id-1", accept, own())

    assert fields == [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"proxy-status", b"l7lb; error=destination_unavailable"),
        (b"retry-after", b"1"),
    ]
    assert body == b"503 id-1"


@pytest.mark.parametrize("accept", [b"application/json", b"application/problem+json", b"application/*, text/html;q=.5"])
def test_a_program_gets_problem_details_whatever_the_page(accept: bytes) -> None:
    assert page(own(), 503, "id-1", accept) is None
    assert json.loads(answer(NoBackend(), "id-1", accept, own())[1])["status"] == 503


@pytest.mark.parametrize("media", ["application/json", "Application/Problem+JSON; x=y", "application/vnd.a+json ;x"])
def test_unless_the_page_is_json_itself(media: str) -> None:
    assert page(own(media, "{}"), 503, "", b"application/json") == (media.encode(), b"{}")


def test_there_is_no_page_for_every_status() -> None:
    assert page(own(), 404, "id-1", b"") is None
    assert page(None, 503, "id-1", b"") is None


def test_what_a_page_is_called_is_latin_1() -> None:
    """As fields are; its text is UTF-8."""
    assert page(own("text/x; a=\xe9", "\xe9"), 503, "", b"") == (b"text/x; a=\xe9", b"\xc3\xa9")


def test_no_cache_keeps_an_error() -> None:
    fields, _ = answer(ConnectFailed(), "id-1", b"")

    assert fields == [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"proxy-status", b"l7lb; error=connection_refused"),
    ]


@pytest.mark.parametrize("media", [b"text/html", b"text/plain"])
def test_what_people_read_is_utf_8_and_says_so(media: bytes) -> None:
    fields, body = answer(ConnectFailed("é"), "id-1", media)

    assert fields[0] == (b"content-type", media + b"; charset=utf-8")
    assert "é".encode() in body


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
