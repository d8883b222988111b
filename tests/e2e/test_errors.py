"""Our own answers: problem details by default, text or HTML by Accept, and why, by RFC 9209."""

from __future__ import annotations

import json

import pytest

from tests.support.backend import Backend
from tests.support.raw import request
from tests.support.server import Balancer, pool


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    gone = Backend()
    gone.stop()
    return {
        "LB_ROUTES": "/api=main; /gone=gone; /down=down",
        **pool("gone", gone),
        **pool("down", gone, health__interval="100ms", health__timeout="100ms", health__down_interval="100ms"),
        "LB_INITIAL_GRACE": "100ms",
    }


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/nowhere", 404, "destination_not_found"),
        ("/api/../x", 400, "http_request_error"),
        ("/gone", 502, "connection_refused"),
        ("/down", 503, "destination_unavailable"),
    ],
)
def test_what_and_why(balancer: Balancer, backend: Backend, path: str, status: int, error: str) -> None:
    """RFC 9457 says what, RFC 9209 why; nobody stores it; the request id is the one in the log."""
    response = balancer.get(path, "X-Request-ID: abc-123")
    problem = json.loads(response.body)

    assert (status, "application/problem+json") == (response.status, response.get("content-type"))
    assert (status, True) == (problem["status"], bool(problem["title"]))
    assert f"error={error}" in (response.get("proxy-status") or "")
    assert error in response.body.decode()
    assert (response.get("cache-control"), response.all("server"), len(response.all("date"))) == ("no-store", [], 1)
    assert error in json.dumps(balancer.record(lambda record: record["path"] == path))


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/plain", "text/plain"),
        ("text/html;q=0.5, text/plain", "text/plain"),
        ("application/json", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("image/png", "application/problem+json"),
        ("text/html;q=0", "application/problem+json"),
        ("text/html;q=nonsense;;,,", "application/problem+json"),
        ("\xff\xfe", "application/problem+json"),
    ],
)
def test_accept_decides_the_form(balancer: Balancer, accept: str, media: str) -> None:
    response = balancer.get("/nowhere", f"Accept: {accept}")

    assert (404, media) == (response.status, (response.get("content-type") or "").partition(";")[0])
    assert b"404" in response.body


def test_html_cannot_be_scripted(balancer: Balancer) -> None:
    """What the client sent does not become markup."""
    response = balancer.get("/<script>alert(1)</script>", "Accept: text/html", "X-Request-ID: <script>")

    assert b"<script>" not in response.body


def test_an_answer_to_head_has_no_body(balancer: Balancer) -> None:
    response = balancer.get("/nowhere", method="HEAD")

    assert (response.status, response.body) == (404, b"")


def test_no_available_backend_says_when_to_come_back(balancer: Balancer) -> None:
    """503 at once, with Retry-After in whole seconds."""
    response = balancer.get("/down")

    assert response.status == 503
    assert int(response.get("retry-after") or 0) >= 1


def test_an_error_keeps_the_connection(balancer: Balancer, backend: Backend) -> None:
    """A wrong path is no reason to hang up."""
    with balancer.client() as client:
        statuses = [client.ask(request(path)).status for path in ("/nowhere", "/gone", "/down", "/api")]

    assert statuses == [404, 502, 503, 200]
