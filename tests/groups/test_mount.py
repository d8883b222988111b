"""A group in `app.routes`."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Match

from app.domain.exchange import Exchange
from app.domain.routing import RouteTable
from app.engine.asgi import Receive, Scope, Send
from app.groups.gateway import Gateway
from app.groups.mount import GroupMount
from settings.groups import GroupSettings


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("only looked at")


def mounts(**groups: dict[str, Any]) -> dict[str, GroupMount]:
    made = {name: GroupSettings(pool="p", **settings) for name, settings in groups.items()}
    gateway = Gateway(RouteTable.build(made), dict.fromkeys(made, app))
    return {name: GroupMount(name, settings, app, gateway) for name, settings in made.items()}


def scope_of(raw_path: bytes, **changes: Any) -> dict[str, Any]:
    asked = {"type": "http", "method": "GET", "raw_path": raw_path, "query_string": b""}
    return asked | {"headers": [(b"host", b"a.example")], "client": ("10.0.0.1", 1)} | changes


def matching(found: dict[str, GroupMount], scope: dict[str, Any]) -> list[str]:
    return [name for name, mount in found.items() if mount.matches(scope)[0] is Match.FULL]


def test_it_shows_in_the_routes_of_the_application() -> None:
    found = mounts(
        api={"path": "/api"}, pattern={"path": "/v[0-9]{1,3}/.*", "path_match": "regex"}, odd={"path": "/a{b"}
    )

    routes = Starlette(routes=list(found.values())).routes

    assert [(route.name, route.path) for route in routes if isinstance(route, GroupMount)] == [
        ("api", "/api"),
        ("pattern", "/v[0-9]{1,3}/.*"),
        ("odd", "/a{b"),
    ]
    assert found["api"].settings.path == "/api"


def test_it_matches_what_the_table_gives_it_and_nothing_else() -> None:
    """`/api/x` is under `/` too, but belongs to one group only."""
    found = mounts(root={"path": "/"}, api={"path": "/api"}, net={"path": "/net", "client": ("10.0.0.0/8",)})

    assert matching(found, scope_of(b"/api/x")) == ["api"]
    assert matching(found, scope_of(b"/apix")) == ["root"]
    assert matching(found, scope_of(b"/net")) == ["net"]
    assert matching(found, scope_of(b"/net", client=None)) == ["root"]


@pytest.mark.parametrize(("header", "group"), [([(b"host", b"a.example:80")], "mine"), ([], "other")])
def test_a_tool_may_ask_with_a_scope_of_its_own(header: list[tuple[bytes, bytes]], group: str) -> None:
    found = mounts(mine={"host": ("a.example",)}, other={})

    assert [group] == matching(found, scope_of(b"/", headers=header))


def test_it_asks_for_who_the_client_is_not_for_the_last_proxy() -> None:
    found = mounts(mine={"client": ("192.0.2.0/24",)})
    exchange = Exchange(0.0, "10.0.0.1", "http", "GET", "a.example", "/")
    exchange.client = "192.0.2.7"

    assert matching(found, scope_of(b"/", **{"lb.exchange": exchange})) == ["mine"]


def test_the_group_sees_the_whole_path() -> None:
    _, child = mounts(api={"path": "/api"})["api"].matches(scope_of(b"/api/x"))

    assert {"endpoint": app} == child


def test_what_has_no_route_or_is_no_request_matches_nothing() -> None:
    found = mounts(api={"path": "/api"})

    assert matching(found, scope_of(b"/nowhere")) == []
    assert matching(found, scope_of(b"/api", type="websocket")) == []
