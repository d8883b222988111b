"""The control plane: what it answers, and to whom."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from app.admin.control import Control
from app.admin.routes import routes
from app.domain.routing import RouteTable
from app.engine.topology import Topology
from settings import Settings

TOKEN = "correct horse".replace(" ", "-")
SECURED = ["/-/config", "/-/pools", "/-/routes", "/-/metrics"]
BEARER = {"authorization": f"Bearer {TOKEN}"}


def settings(**given: Any) -> Settings:
    return Settings(
        pools={"a": {"backends": ["http://h:1", "http://h:2|weight=0|id=idle"], "health": {"kind": "none"}}},
        groups={
            "api": {"path": "/api", "pool": "a"},
            "all": {"respond": {"status": 204}},
            "api2": {"path": "/api", "pool": "a"},
        },
        **given,
    )


class Plane:
    """A control plane over real parts, without a socket."""

    def __init__(self, **given: Any) -> None:
        said = settings(**given)
        topology = Topology()
        topology.apply(said)
        self.ready = (True, {"a": {"available": 1, "backends": 2}})
        self.control = Control(
            settings=said,
            topology=topology,
            route_table=RouteTable.build(said.groups),
            metrics_text=lambda: "# TYPE up gauge\nup 1\n",
            ready=lambda: self.ready,
        )

    async def ask(self, path: str, method: str = "GET", headers: Any = None) -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=routes(self.control)))
        async with httpx.AsyncClient(transport=transport, base_url="http://lb") as client:
            return await client.request(method, path, headers=headers)


@pytest.fixture
def plane() -> Plane:
    return Plane(admin={"token": TOKEN})


def problem(response: httpx.Response) -> dict[str, Any]:
    """The problem details of *response*, which says the same status in both places."""
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["status"] == response.status_code
    assert {"type", "title", "detail"} <= set(found)
    return found


async def test_live_needs_nothing(plane: Plane) -> None:
    response = await plane.ask("/-/live")

    assert (response.status_code, response.json()) == (200, {"live": True})
    assert response.headers["cache-control"] == "no-store"


async def test_ready_tells_of_each_pool(plane: Plane) -> None:
    response = await plane.ask("/-/ready")

    assert (response.status_code, response.json()) == (200, {"ready": True, "pools": plane.ready[1]})


async def test_not_ready_is_a_503_that_says_why(plane: Plane) -> None:
    plane.ready = (False, {"a": {"available": 0, "backends": 2}})

    response = await plane.ask("/-/ready")

    assert response.status_code == 503
    assert problem(response)["pools"] == {"a": {"available": 0, "backends": 2}}
    assert response.json()["ready"] is False


@pytest.mark.parametrize("path", SECURED)
async def test_without_a_token_in_the_settings_the_rest_is_not_there(path: str) -> None:
    """Not even for whoever brings a token, and an empty one in the settings is none."""
    for plane in (Plane(), Plane(admin={"token": ""})):
        for headers in ({}, BEARER, {"authorization": "Bearer "}):
            response = await plane.ask(path, headers=headers)

            assert response.status_code == 404
            problem(response)


@pytest.mark.parametrize("path", SECURED)
async def test_with_the_token_it_answers(plane: Plane, path: str) -> None:
    assert (await plane.ask(path, headers=BEARER)).status_code == 200
    assert (await plane.ask(path, headers={"authorization": f"bearer  {TOKEN} "})).status_code == 200


WRONG = [
    [], [("authorization", "")], [("authorization", "Bearer")], [("authorization", "Bearer ")],
    [("authorization", TOKEN)], [("authorization", f"Basic {TOKEN}")], [("authorization", f"Bearer {TOKEN}x")],
    [("authorization", f"Bearer {TOKEN[:-1]}")], [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer x")],
    [("authorization", b"Bearer \xff\xfe")], [("x-authorization", f"Bearer {TOKEN}")],
]  # fmt: skip


@pytest.mark.parametrize("headers", WRONG, ids=str)
@pytest.mark.parametrize("path", SECURED)
async def test_any_other_token_is_a_401(plane: Plane, path: str, headers: list[tuple[str, Any]]) -> None:
    response = await plane.ask(path, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith('Bearer realm="l7lb"')
    assert TOKEN not in response.text
    problem(response)


async def test_the_token_is_never_shown(plane: Plane) -> None:
    for path in SECURED:
        assert TOKEN not in (await plane.ask(path, headers=BEARER)).text


async def test_config_has_the_settings_and_their_origins(plane: Plane) -> None:
    found = (await plane.ask("/-/config", headers=BEARER)).json()

    assert found["settings"]["admin"] == {"prefix": "/-", "token": "**********"}
    assert found["settings"]["pools"]["a"]["timeouts"]["connect"] == "1s"
    assert set(found) == {"settings", "origins", "warnings"}


async def test_pools_tell_why_a_backend_is_not_available(plane: Plane) -> None:
    found = (await plane.ask("/-/pools", headers=BEARER)).json()["a"]

    assert (found["strategy"], found["available"]) == ("round_robin", 1)
    assert [
        (b["id"], b["url"], b["health"], b["available"], b["absence"], b["in_flight"]) for b in found["backends"]
    ] == [
        ("h:1", "http://h:1", "up", True, "", 0),
        ("idle", "http://h:2", "up", False, "weight 0", 0),
    ]


async def test_routes_are_in_order_of_precedence_with_their_overlaps(plane: Plane) -> None:
    found = (await plane.ask("/-/routes", headers=BEARER)).json()

    assert [(group["group"], group["path"], group["answer"]) for group in found["groups"]] == [
        ("api", "/api", "pool a"),
        ("api2", "/api", "pool a"),
        ("all", "/", "respond 204"),
    ]
    assert [(finding["kind"], finding["group"], finding["other"]) for finding in found["overlaps"]] == [
        ("unreachable", "api2", "api")
    ]


async def test_metrics_are_prometheus_text(plane: Plane) -> None:
    response = await plane.ask("/-/metrics", headers=BEARER)

    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text == "# TYPE up gauge\nup 1\n"


@pytest.mark.parametrize(
    "path", ["/-/", "/-/nothing", "/-/live/", "/-/live/more", "/-/config/x", "/-/%2e%2e/live", "/-//live"]
)
async def test_an_unknown_path_is_a_404(plane: Plane, path: str) -> None:
    response = await plane.ask(path, headers=BEARER)

    assert response.status_code == 404
    problem(response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
async def test_another_method_is_a_405(plane: Plane, method: str) -> None:
    for path in ("/-/live", "/-/ready", *SECURED):
        response = await plane.ask(path, method, BEARER)

        assert response.status_code == 405
        assert {part.strip() for part in response.headers["allow"].split(",")} == {"GET", "HEAD"}
        problem(response)


async def test_head_is_answered_without_a_body(plane: Plane) -> None:
    assert (await plane.ask("/-/live", "HEAD")).status_code == 200


async def test_the_prefix_is_a_setting() -> None:
    plane = Plane(admin={"prefix": "/lb/admin/", "token": TOKEN})

    assert (await plane.ask("/lb/admin/live")).status_code == 200
    assert (await plane.ask("/lb/admin/pools", headers=BEARER)).status_code == 200
    assert (await plane.ask("/-/live")).status_code == 404


async def test_a_defect_is_a_logged_500_without_details(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> str:
        raise RuntimeError("hunter2")

    plane.control.metrics_text = broken
    with caplog.at_level(logging.ERROR):
        response = await plane.ask("/-/metrics", headers=BEARER)

    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert "the control plane failed at" in caplog.text
    problem(response)


async def test_what_breaks_after_its_start_is_cut() -> None:
    """A second start would be a lie; the server cuts the connection."""
    from app.admin.answers import Problems

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError, match="broken"):
        await Problems(half)({"type": "http", "path": "/"}, None, send)  # type: ignore[arg-type]
    assert len(sent) == 1


@pytest.mark.parametrize("replaced", ["settings", "route_table"])
async def test_what_is_replaced_is_shown(plane: Plane, replaced: str) -> None:
    said = Settings(groups={"only": {"respond": {}}}, admin={"token": TOKEN})
    plane.control.settings, plane.control.route_table = said, RouteTable.build(said.groups)

    found = (await plane.ask("/-/routes" if replaced == "route_table" else "/-/config", headers=BEARER)).json()

    assert "only" in str(found)
    assert "api2" not in str(found)
