"""The control plane: what it answers, and to whom."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from app.admin import views
from app.domain.routing import RouteTable
from settings import Settings
from settings.groups import GroupSettings
from tests.support.plane import BEARER, TOKEN, Plane, problem

SECURED = ["/-/config", "/-/pools", "/-/routes", "/-/metrics"]


@pytest.fixture
def plane() -> Plane:
    return Plane(admin={"token": TOKEN})


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

    assert found["settings"]["admin"] == {"prefix": "/-", "token": "**********", "allow_backends": []}
    assert found["settings"]["pools"]["a"]["timeouts"]["connect"] == "1s"
    assert set(found) == {"settings", "origins", "warnings"}


async def test_pools_tell_why_a_backend_is_not_available(plane: Plane) -> None:
    found = (await plane.ask("/-/pools", headers=BEARER)).json()["a"]

    assert (found["strategy"], found["available"]) == ("round_robin", 1)
    assert (found["panic"], found["in_flight"], found["limit"]) == (False, 0, 0)
    assert [(b["breaker"], b["ejections"], b["level"], b["max_in_flight"]) for b in found["backends"]] == [
        ("closed", {}, 0, 0),
        ("closed", {}, 0, 0),
    ]
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


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"pool": "a"}, "pool a"),
        ({"redirect": "https://h{path}"}, "redirect 308 https://h{path}"),
        ({"respond": {"status": 404}}, "respond 404"),
        ({"split": {"pools": "stable=95,canary=5"}}, "split stable=95,canary=5"),
        ({"pool": "a", "fallback": "b,c"}, "pool a; fallback b,c"),
        ({"pool": "a", "fallback_respond": {"status": 503}}, "pool a; fallback_respond 503"),
        ({"pool": "a", "mirror": "shadow"}, "pool a; mirror shadow"),
        (
            {
                "split": {"pools": "x=1,y=0"},
                "fallback": "b",
                "fallback_respond": {},
                "mirror": {"pool": "s", "share": 0.005},
            },
            "split x=1,y=0; fallback b; fallback_respond 200; mirror s 0.5%",
        ),
    ],
)
def test_what_a_group_answers_is_told_in_the_words_of_its_settings(said: dict[str, Any], shown: str) -> None:
    """Every pool that may get its requests is among them."""
    assert views.answer(GroupSettings.model_validate(said)) == shown


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
    async def broken() -> str:
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
