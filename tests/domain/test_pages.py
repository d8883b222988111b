"""How errors look."""

from __future__ import annotations

import json

import pytest

from app.domain.answer import answer, page
from app.domain.errors import NoBackend, ProxyError, RateLimited
from app.domain.pages import Pages, phrase

HTML = ("text/html", "<h1>{status} {title}</h1>{request_id}{else}")


def pages(backend: bool = False, **said: tuple[str, str]) -> Pages:
    return Pages({name.removeprefix("s"): lambda found=found: found for name, found in said.items()}, backend=backend)


def test_a_status_is_nearer_than_its_class() -> None:
    ours = pages(s503=("text/plain", "exact"), s5xx=("text/plain", "class"))

    assert [ours.render(status, "") for status in (503, 502, 404)] == [
        ("text/plain", "exact"),
        ("text/plain", "class"),
        None,
    ]


def test_what_is_put_in_cannot_be_markup() -> None:
    """But stays as it is in what is no HTML; what looks like a place and is none stays, too."""
    assert pages(s4xx=HTML).render(404, "<i>") == ("text/html", "<h1>404 Not Found</h1>&lt;i&gt;{else}")
    assert pages(s4xx=("text/plain", "{request_id}")).render(404, "<i>") == ("text/plain", "<i>")


def test_a_backends_errors_are_its_own_unless_it_is_said() -> None:
    assert not pages(s5xx=HTML).replaces(500)
    assert pages(backend=True, s5xx=HTML).replaces(500)
    assert not pages(backend=True, s5xx=HTML).replaces(404)


def test_every_status_is_called_something() -> None:
    assert (phrase(404), phrase(599)) == ("Not Found", "Error")


@pytest.mark.parametrize(
    ("accept", "shown"),
    [
        (b"", True),
        (b"*/*", True),
        (b"text/html", True),
        (b"text/plain", True),
        (b"image/png", True),
        (b"application/json", False),
        (b"application/problem+json, text/html;q=0.9", False),
        (b"text/html, application/json;q=0.9", True),
    ],
)
def test_who_asks_for_json_gets_problem_details(accept: bytes, shown: bool) -> None:
    """All others get the page."""
    fields, body = answer(NoBackend("p"), "id", accept, pages(s503=HTML))

    assert (dict(fields)[b"content-type"] == b"text/html") is shown
    assert body.startswith(b"<h1>503 Service Unavailable</h1>id") is shown
    assert {b"proxy-status", b"retry-after", b"cache-control"} <= dict(fields).keys()
    assert shown or json.loads(body)["status"] == 503


def test_a_page_in_json_is_for_them_as_well() -> None:
    found = page(pages(s503=("application/json", '{"id": "{request_id}"}')), 503, "x", b"application/json")

    assert found == (b"application/json", b'{"id": "x"}')


@pytest.mark.parametrize("error", [RateLimited(), NoBackend()])
def test_what_has_no_page_is_answered_as_everywhere(error: ProxyError) -> None:
    assert answer(error, "id", b"", pages(s404=HTML)) == answer(error, "id", b"")
