"""What a listener that does not serve everything lets through, redirects and refuses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.errors import NoRoute
from app.edge.roles import Below, Redirect
from tests.edge.harness import App, Edge, early, statuses
from tests.support.raw import request


def serving(role: Any, **options: Any) -> Edge:
    edge = Edge(**options)
    edge.config.loaded_app = role
    edge.connect(options.get("extra"))
    return edge


@pytest.mark.parametrize(
    ("port", "host", "target", "location"),
    [
        (443, "a", "/x?y", "https://a/x?y"),
        (443, "a:8080", "/", "https://a/"),
        (8443, "a:80", "/%2F//", "https://a:8443/%2F//"),
        (8443, "[::1]:80", "/", "https://[::1]:8443/"),
    ],
)
async def test_redirect(port: int, host: str, target: str, location: str) -> None:
    edge = Edge()
    edge.config.loaded_app = Redirect(port)  # type: ignore[assignment]
    edge.connect()
    answer = await edge.feed(request(target, host=host))
    assert f"\r\nlocation: {location}\r\n".encode() in answer
    assert [exchange.status for exchange in edge.refused] == [308] == statuses(answer)


async def test_nothing_to_redirect_to() -> None:
    edge = Edge()
    edge.config.loaded_app = Redirect(443)  # type: ignore[assignment]
    edge.connect()
    assert statuses(await edge.feed(b"GET / HTTP/1.0\r\n\r\n")) == [404]


TARGETS = {"/-": True, "/-/": True, "/-/live": True, "/": False, "/-live": False, "/x/-/live": False, "/%2D/live": True}
"""Whether they are below the prefix."""


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("target", TARGETS)
async def test_what_is_below_the_prefix(target: str, inside: bool) -> None:
    """The path is judged as it is routed: decoded."""
    app = App(early)
    edge = serving(Below(app, "/-", inside=inside))
    answer = await edge.feed(request(target, host="a"))
    if TARGETS[target] is inside:
        assert statuses(answer) == [200]
        assert len(app.calls) == 1
        assert edge.refused == []
        return
    assert app.calls == []
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"404 not served on this listener\n"
    assert sorted(head.split(b"\r\n")) == [
        b"HTTP/1.1 404 Not Found", b"content-length: 32", b"content-type: text/plain; charset=utf-8"
    ]  # fmt: skip
    (exchange,) = edge.refused
    assert isinstance(exchange.error, NoRoute)
    assert (exchange.status, exchange.path) == (404, target)


@pytest.mark.parametrize("inside", [True, False])
def test_a_driver_goes_by_only_where_the_prefix_is_left_out(inside: bool) -> None:
    """It leaves the prefix to ASGI, where it is refused; on a listener for the prefix alone it would pass by that."""
    with_one, without = SimpleNamespace(direct=len), SimpleNamespace()
    assert Below(with_one, "/-", inside=inside).direct is (None if inside else len)  # type: ignore[arg-type]
    assert Below(without, "/-", inside=inside).direct is None  # type: ignore[arg-type]


async def test_a_redirect_is_logged_like_what_is_refused() -> None:
    edge = serving(Redirect(443))
    answer = await edge.feed(request("/x%20y?z", host="a:80", method="PUT"))
    assert answer.partition(b"\r\n\r\n") == (
        b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://a/x%20y?z\r\ncontent-length: 0", b"\r\n\r\n", b""
    )  # fmt: skip
    (exchange,) = edge.refused
    assert (exchange.client, exchange.peer, exchange.scheme) == ("192.0.2.1", "192.0.2.1", "http")
    assert (exchange.method, exchange.host, exchange.path) == ("PUT", "a:80", "/x%20y")
    assert (exchange.status, exchange.error) == (308, None)
    assert exchange.ended >= exchange.started > 0
    assert exchange.first_byte == exchange.ended


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_redirect_over_a_unix_socket(version: str) -> None:
    extra = {"sockname": "/run/x.sock", "peername": ""}
    edge = serving(Redirect(8443), extra=extra)
    answer = await edge.feed(request("/", host="b", version=version))
    assert b"\r\nlocation: https://b:8443/\r\n" in answer
    assert [exchange.peer for exchange in edge.refused] == ["unix"]


@pytest.mark.parametrize("data", [b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"])
async def test_what_has_no_place_elsewhere(data: bytes) -> None:
    edge = serving(Redirect(443))
    answer = await edge.feed(data)
    assert answer.endswith(b"\r\n\r\n404 nothing to redirect to\n")
    (exchange,) = edge.refused
    assert isinstance(exchange.error, NoRoute)
    assert exchange.host == ("a" if b"Host" in data else "")


@pytest.mark.parametrize(
    ("target", "passed"),
    [("/.well-known/acme-challenge/x", True), ("/.well-known/acme-challenge", False), ("/x", False)],
)
async def test_what_an_authority_asks_for_is_not_redirected(target: str, passed: bool) -> None:
    """Where there is somebody who has it."""
    app = App(early)
    assert statuses(await serving(Redirect(443, app)).feed(request(target, host="a"))) == [200 if passed else 308]
    assert len(app.calls) == passed
    assert statuses(await serving(Redirect(443)).feed(request(target, host="a"))) == [308]
