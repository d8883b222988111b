"""The control plane: alive, ready, and with a token what is going on."""

from __future__ import annotations

import json

import pytest

from tests.support.backend import Backend
from tests.support.raw import Response
from tests.support.server import Balancer, balancing, pool
from tests.support.until import until

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"LB_ADMIN__TOKEN": TOKEN}


def ask(balancer: Balancer, path: str, token: str = TOKEN) -> Response:
    return balancer.get(f"/-/{path}", f"Authorization: Bearer {token}")


@pytest.mark.parametrize("path", ["/-/live", "/-/ready"])
def test_anybody_may_ask_whether_it_lives(balancer: Balancer, backend: Backend, path: str) -> None:
    assert balancer.get(path).status == 200
    assert backend.requests == []


def test_head_of_it(balancer: Balancer) -> None:
    """As `wget --spider` and some probes ask."""
    assert balancer.get("/-/live", method="HEAD")[0:4:3] == (200, b"")


@pytest.mark.parametrize("path", ["config", "pools", "routes"])
def test_with_the_token_there_is_more(balancer: Balancer, path: str) -> None:
    response = ask(balancer, path)

    assert (response.status, response.get("content-type")) == (200, "application/json")
    assert json.loads(response.body)
    assert TOKEN.encode() not in response.body


def test_metrics(balancer: Balancer, backend: Backend) -> None:
    balancer.get("/")

    response = ask(balancer, "metrics")

    assert (response.status, (response.get("content-type") or "").startswith("text/plain")) == (200, True)
    assert b"# TYPE " in response.body


def test_what_the_edge_refuses_is_counted(balancer: Balancer, backend: Backend) -> None:
    """Nothing is answered without a count."""

    def counted() -> bytes:
        return b"\n".join(
            line for line in ask(balancer, "metrics").body.splitlines() if b'"400"' in line or b'"4xx"' in line
        )

    before = counted()
    balancer.ask(b"GARBAGE\r\n\r\n")

    until(lambda: counted() != before, "the count to rise")


@pytest.mark.parametrize("path", ["config", "pools", "routes", "metrics"])
@pytest.mark.parametrize(
    "field",
    [
        [],
        ["Authorization: Bearer wrong"],
        [f"Authorization: Basic {TOKEN}"],
        [f"X: {TOKEN}"],
        ["Authorization: Bearer"],
        ["Authorization: Bearer \xff"],
    ],
)
def test_without_it_401(balancer: Balancer, path: str, field: list[str]) -> None:
    response = balancer.get(f"/-/{path}", *field)

    assert response.status == 401
    assert "Bearer" in (response.get("www-authenticate") or "")


@pytest.mark.parametrize("path", ["/-/", "/-/nothing", "/-/live/x"])
def test_unknown_paths_of_it_are_not_forwarded(balancer: Balancer, backend: Backend, path: str) -> None:
    assert balancer.get(path).status == 404
    assert backend.requests == []


@pytest.mark.parametrize("path", ["/-x", "/x/-/live"])
def test_what_only_looks_like_it_is_forwarded(balancer: Balancer, backend: Backend, path: str) -> None:
    assert balancer.get(path).status == 200
    assert [seen.target for seen in backend.requests] == [path.encode()]


def test_the_bare_prefix_is_somebodys(balancer: Balancer, backend: Backend) -> None:
    """A control plane's 404 or redirect, or a request like any other."""
    assert balancer.get("/-").status in (200, 307, 308, 404)


@pytest.mark.parametrize("path", ["//-/config", "/%2d/config", "/%2D/config", "/-//config", "/x/..%2f-/config"])
def test_no_back_door(balancer: Balancer, backend: Backend, path: str) -> None:
    """Other spellings of its paths neither open it nor reach a backend as something else that it is not."""
    assert b'"settings"' not in balancer.get(path).body


def test_without_a_token_there_is_no_more(start) -> None:
    with balancing(start()) as balancer:
        assert [balancer.get(f"/-/{path}").status for path in ("config", "pools", "routes", "metrics")] == [404] * 4


def test_the_prefix_is_a_setting(start) -> None:
    """Where it was, requests are forwarded."""
    backend = start().answer(b"mine")
    with Balancer(
        {"LB_ROUTES": "/=main", **pool("main", backend), "LB_ADMIN__PREFIX": "/inside"}, ready=False
    ) as balancer:
        until(lambda: balancer.get("/inside/ready").status == 200, "readiness")
        assert balancer.get("/-/live").body == b"mine"


def test_pools_show_why_a_backend_is_absent(start) -> None:
    gone = Backend()
    gone.stop()
    settings = {
        "LB_ADMIN__TOKEN": TOKEN, "LB_ROUTES": "/=main",
        **pool("main", start(), gone, health__interval="100ms", health__timeout="100ms"),
    }  # fmt: skip
    with Balancer(settings) as balancer:
        until(lambda: "down" in str(json.loads(ask(balancer, "pools").body)["main"]).lower(), "the backend to be down")
