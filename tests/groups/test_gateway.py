"""The gateway: one canonical form decides, the raw bytes go on."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.domain.errors import BadRequest, MethodNotAllowed, NoRoute
from app.domain.exchange import Exchange
from app.domain.routing import RouteTable
from app.engine.asgi import Receive, Scope, Send
from app.groups.gateway import Gateway
from settings.groups import GroupSettings


class Seen:
    """An ASGI app that keeps the scopes it got."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)


def scope_of(raw_path: bytes = b"/", **changes: Any) -> dict[str, Any]:
    exchange = Exchange(
        0.0, "192.0.2.1", "https", changes.get("method", "GET"), "example.org", raw_path.decode("latin-1")
    )
    asked = {"type": "http", "method": "GET", "raw_path": raw_path, "path": "/", "query_string": b"", "headers": []}
    return asked | {"lb.exchange": exchange} | changes


def table(**paths: str) -> RouteTable:
    return RouteTable.build({name: GroupSettings(pool="p", path=path) for name, path in paths.items()})


async def receive() -> Any:
    raise AssertionError("nobody asks for the body")


async def send(_: Mapping[str, Any]) -> None:
    raise AssertionError("nobody answers")


@pytest.mark.parametrize(
    ("raw", "group"), [(b"/api/x", "api"), (b"/%61pi/x", "api"), (b"//api", "api"), (b"/apix", "web"), (b"/", "web")]
)
async def test_the_group_is_found_and_noted(raw: bytes, group: str) -> None:
    """However the path is spelled, and the spelling is left as it is."""
    apps = {"api": Seen(), "web": Seen()}
    scope = scope_of(raw)

    await Gateway(table(api="/api", web="/"), apps)(scope, receive, send)

    assert [scope] == apps[group].scopes
    assert group == scope["lb.exchange"].group
    assert raw == scope["raw_path"]


async def test_a_server_may_leave_raw_path_out() -> None:
    apps = {"cafe": Seen()}
    scope = scope_of(path="/café/x")
    del scope["raw_path"]

    await Gateway(table(cafe="/café"), apps)(scope, receive, send)

    assert [scope] == apps["cafe"].scopes


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"raw_path": b"/a%2Fb"}, BadRequest),
        ({"raw_path": b"/../x"}, BadRequest),
        ({"raw_path": b"*", "method": "OPTIONS"}, BadRequest),
        ({"raw_path": b"/nowhere"}, NoRoute),
        ({"raw_path": b"/api", "method": "TRACE"}, MethodNotAllowed),
        ({"raw_path": b"example.org:443", "method": "CONNECT"}, MethodNotAllowed),
    ],
)
async def test_what_has_no_group_is_raised_and_gets_none(changes: dict[str, Any], error: type[Exception]) -> None:
    scope = scope_of(**changes)

    with pytest.raises(error):
        await Gateway(table(api="/api"), {"api": Seen()})(scope, receive, send)

    assert scope["lb.exchange"].group == ""


async def test_an_encoded_slash_goes_through_when_the_edge_lets_it() -> None:
    apps = {"api": Seen()}

    await Gateway(table(api="/api"), apps, encoded_slash=True)(scope_of(b"/api/a%2Fb"), receive, send)

    assert len(apps["api"].scopes) == 1


async def test_a_new_table_is_used_from_the_next_request_on() -> None:
    old, new = Seen(), Seen()
    gateway = Gateway(table(old="/"), {"old": old})
    await gateway(scope_of(), receive, send)

    gateway.swap(table(new="/"), {"new": new})
    await gateway(scope_of(), receive, send)

    assert [len(old.scopes), len(new.scopes)] == [1, 1]
