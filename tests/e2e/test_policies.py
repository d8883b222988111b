"""What a group does at its edge: networks, scripts of other origins, bodies, how errors look."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend, read_all, read_head, reply, send, stall
from tests.support.raw import chunked, request
from tests.support.server import Balancer, pool
from tests.support.until import until

APP = "https://app.example.org"
PAGE = "<h1>{status} {title}</h1><p>{request_id}</p>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a page."""
    path = tmp_path_factory.mktemp("pages") / "503.html"
    path.write_text("<h1>before</h1>")
    return path


@pytest.fixture(scope="module")
def settings(page: Path) -> dict[str, str]:
    """A group for each."""
    said = {
        "lan": {"access__allow": "10.0.0.0/8", "cors__origins": APP},
        "not": {"access__deny": "127.0.0.2"},
        "cors": {
            "cors__origins": f"{APP},https://*.example.net",
            "cors__methods": "GET,PUT",
            "cors__headers": "x-mine",
            "cors__expose": "x-yours",
            "cors__credentials": "true",
            "limit": "few",
        },
        "anybody": {"cors__origins": "*"},
        "body": {"max_body": "8B"},
        "any": {"max_body": "0"},
        "errors": {
            "errors__texts": f"413={PAGE}",
            "errors__files": f"503={page}",
            "errors__backend": "true",
            "max_body": "8B",
        },
        "down": {"pool": "none", "errors__texts": f"5xx={PAGE}"},
        "ours": {"errors__texts": f"503={PAGE}"},
    }
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"path": f"/{name}", "pool": "main", **keys}.items()
    }
    limits = {"LB_EDGE__MAX_BODY": "64B", "LB_LIMITS__FEW__RATE": "20/h", "LB_LIMITS__FEW__KEY": "header:x-user"}
    return {"LB_ROUTES": "", "LB_INITIAL_GRACE": "0", **limits, **pool("none"), **groups}


def test_networks_that_may_not_come_are_refused(balancer: Balancer, backend: Backend) -> None:
    """Whatever they send; no backend is asked, and nothing is told of what else is there."""
    refused = balancer.get("/lan", f"Origin: {APP}")
    with balancer.client(source="127.0.0.2") as client:
        denied = client.ask(request("/not"))

    assert (refused.status, refused.get("proxy-status")) == (403, "l7lb; error=http_request_denied")
    assert refused.get("access-control-allow-origin") is None
    assert denied.status == 403
    assert backend.requests == []
    assert balancer.get("/not").status == 200


@pytest.mark.parametrize("origin", [APP, "https://a.b.example.net"])
def test_a_preflight_is_answered_here(balancer: Balancer, backend: Backend, origin: str) -> None:
    """And costs no token of the limit."""
    for _ in range(30):
        asked = ("Access-Control-Request-Method: PUT", "X-User: preflight")
        response = balancer.get("/cors", f"Origin: {origin}", *asked, method="OPTIONS")

    assert (response.status, backend.requests) == (204, [])
    assert response.get("access-control-allow-origin") == origin
    assert response.get("access-control-allow-methods") == "GET, PUT"
    assert response.get("access-control-allow-headers") == "x-mine"
    assert response.get("access-control-allow-credentials") == "true"
    assert response.get("access-control-max-age") == "600"
    assert "Origin" in (response.get("vary") or "")


@pytest.mark.parametrize(
    "origin",
    ["https://example.net", "https://evilexample.net", "http://a.example.net", "https://a.example.net.evil", "null",
     "https://evil.org/.example.net", "https://.example.net", "https://user@a.example.net", "\xff", "*", APP + "x"],
)  # fmt: skip
def test_other_origins_get_no_word(balancer: Balancer, backend: Backend, origin: str) -> None:
    """Neither to a preflight nor to a request, which goes on: it is the browser that keeps the answer from a script."""
    method = "Access-Control-Request-Method: PUT"
    preflight = balancer.get("/cors", f"Origin: {origin}".encode("latin-1"), method, method="OPTIONS")
    real = balancer.get("/cors", f"Origin: {origin}".encode("latin-1"), f"X-User: {origin}".encode("latin-1"))

    assert [name for name, _ in preflight.fields + real.fields if name.startswith(b"access-control")] == []
    assert "Origin" in (preflight.get("vary") or "")
    assert real.get("vary") == "Origin"
    assert (preflight.status, real.status) == (204, 200)


def test_what_a_backend_says_of_origins_is_replaced(balancer: Balancer, backend: Backend) -> None:
    """Two of a field, and browsers take neither. Other fields of the backend stay."""
    backend.answer(b"hello", "Access-Control-Allow-Origin: *", "Vary: Accept", "X-Yours: 1")

    response = balancer.get("/cors", f"Origin: {APP}", "X-User: replaced")

    assert response.get("access-control-allow-origin") == APP
    assert response.get("access-control-allow-credentials") == "true"
    assert response.get("access-control-expose-headers") == "x-yours"
    assert (response.all("vary"), response.get("x-yours")) == ([b"Accept", b"Origin"], "1")


def test_scripts_can_read_our_errors_where_they_may(balancer: Balancer, backend: Backend) -> None:
    """A 429 has the fields; for another origin it has none."""
    for _ in range(20):
        assert balancer.get("/cors", "X-User: spent").status == 200

    ours = balancer.get("/cors", "X-User: spent", f"Origin: {APP}")
    theirs = balancer.get("/cors", "X-User: spent", "Origin: https://evil.org")

    assert (ours.status, ours.get("access-control-allow-origin")) == (429, APP)
    assert (theirs.status, theirs.get("access-control-allow-origin")) == (429, None)


def test_everybody_may_without_credentials(balancer: Balancer, backend: Backend) -> None:
    """The same for all, so nothing varies."""
    for fields in (["Origin: https://evil.org"], []):
        response = balancer.get("/anybody", *fields)
        assert response.get("access-control-allow-origin") == "*"
        assert response.get("vary") is None
        assert response.get("access-control-allow-credentials") is None


def test_an_options_that_is_no_preflight_goes_on(balancer: Balancer, backend: Backend) -> None:
    assert balancer.get("/cors", f"Origin: {APP}", "X-User: options", method="OPTIONS").body == b"hello"
    assert [asked.method for asked in backend.requests] == ["OPTIONS"]


def test_a_body_is_as_long_as_its_group_says(balancer: Balancer, backend: Backend) -> None:
    """By its declared length at once, and while it comes; over or under what is said for all."""
    assert balancer.get("/body", method="POST", body=b"12345678").status == 200
    assert balancer.get("/body", method="POST", body=b"123456789").status == 413
    assert balancer.get("/any", method="POST", body=b"x" * 65).status == 200
    assert balancer.get("/cors", "X-User: body", method="POST", body=b"x" * 65).status == 413
    before = len(backend.requests)
    with balancer.client() as client:  # the body does not come before the answer
        client.send(request("/body", "Content-Length: 9", method="POST"))
        assert client.response().status == 413
    assert len(backend.requests) == before

    backend.play(read_head, stall)
    with balancer.client() as client:
        client.send(request("/body", "Transfer-Encoding: chunked", method="POST") + chunked(b"12345", b"6789"))
        assert client.response().status == 413


def test_errors_look_as_the_group_says(balancer: Balancer, backend: Backend) -> None:
    """Ours by class; a backend's only where that is said. The reason stays in Proxy-Status."""
    backend.answer(b"theirs", status="503 Oh")

    down, ours = balancer.get("/down", "X-Request-ID: <i>1"), balancer.get("/ours")

    assert (down.status, down.get("content-type")) == (503, "text/html; charset=utf-8")
    assert down.body.startswith(b"<h1>503 Service Unavailable</h1><p>")
    assert b"<i>" not in down.body
    assert (down.get("retry-after"), down.get("proxy-status")) == ("1", "l7lb; error=destination_unavailable")
    assert (ours.status, ours.body) == (503, b"theirs")


@pytest.mark.parametrize("asked", [request("/errors"), request("/errors", method="POST", body=b"1")])
def test_a_page_may_stand_for_a_backends_error(balancer: Balancer, backend: Backend, page: Path, asked: bytes) -> None:
    """Fields of the answer that are not about its body stay; a file that changes is read again."""
    page.write_text("<h1>before</h1>")
    length = 'ETag: "x"', "X-Mine: 1", "Retry-After: 7", "Content-Language: de", "Content-Encoding: br"
    backend.answer(b"theirs", "Content-Type: text/plain", *length, status="503 Oh")

    response = until(lambda: (found := balancer.ask(asked)).body == b"<h1>before</h1>" and found, "the page")

    assert (response.status, response.get("content-type")) == (503, "text/html; charset=utf-8")
    assert (response.get("x-mine"), response.get("retry-after")) == ("1", "7")
    for name in ("etag", "content-language", "content-encoding"):
        assert response.get(name) is None
    page.write_text("<h1>after, and longer</h1>")
    until(lambda: balancer.ask(asked).body == b"<h1>after, and longer</h1>", "the new page")
    page.unlink()
    assert balancer.ask(asked).body == b"<h1>after, and longer</h1>"


def test_who_asks_for_problem_details_gets_them(balancer: Balancer, backend: Backend) -> None:
    """Ours, or what the backend said."""
    backend.answer(b"theirs", status="503 Oh")

    ours = balancer.get("/down", "Accept: application/problem+json")
    theirs = balancer.get("/errors", "Accept: application/json")

    assert ours.get("content-type") == "application/problem+json"
    assert (theirs.status, theirs.body) == (503, b"theirs")
    assert balancer.get("/down", "Accept: */*").get("content-type") == "text/html; charset=utf-8"
    head = balancer.get("/down", method="HEAD")
    assert (head.status, head.body) == (503, b"")


def test_a_long_error_of_a_backend_is_not_read(balancer: Balancer, backend: Backend, page: Path) -> None:
    """Its connection is cut; the page leaves at once."""
    page.write_text("<h1>before</h1>")
    backend.play(read_all, send(reply(b"x" * 100, status="503 Oh")[:-50]), stall)

    assert balancer.get("/errors").status == 503
    backend.answer(b"hello")
    assert balancer.get("/errors").body == b"hello"


@pytest.fixture(autouse=True)
def no_defect(balancer: Balancer) -> Iterator[None]:
    """Nothing of all this is a defect of ours."""
    yield
    assert not [record for record in balancer.records() if record["reason"] == "proxy_internal_error"]
