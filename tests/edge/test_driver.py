"""What the edge hands to a driver, and what it writes for it: an exchange that is carried without ASGI."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.domain.exchange import Exchange
from app.edge.link import Link
from tests.edge.harness import GET, INET, Edge, early, ok
from tests.edge.test_exchange import OLD, POST

OK = b"HTTP/1.1 200 OK\r\n"


class Driver:
    """Takes what it is told to, and keeps it until the test answers it."""

    def __init__(self, edge: Edge, *, takes: bool = True) -> None:
        self.takes = takes
        self.asked: list[tuple[Any, ...]] = []
        self.left = 0
        edge.protocol.direct = self

    def __call__(
        self, edge: Any, method: bytes, target: bytes, headers: Any, http11: bool, keep_alive: bool
    ) -> bool:  # fmt: skip
        self.asked.append((method, target, headers, http11, keep_alive))
        if not self.takes:
            return False
        exchange = Exchange(0.0, "192.0.2.1", "http", method.decode(), "a", "/")
        self.passage: Any = SimpleNamespace(
            exchange=exchange, target=target, headers=headers, http11=http11, keep_alive=keep_alive, body_done=True,
            disconnect=self.gone,
        )  # fmt: skip
        edge.begin(self.passage)
        return True

    def gone(self) -> None:
        self.left += 1


async def test_requests_without_a_body_are_its() -> None:
    edge = Edge()
    driver = Driver(edge, takes=False)
    await edge.feed(GET.replace(b" / ", b" http://b/x? "))
    await edge.feed(POST + b"\r\nhello")
    await edge.feed(OLD)

    assert driver.asked == [
        (b"GET", b"/x?", [(b"host", b"b")], True, True),
        (b"GET", b"/", [], False, False),
    ]
    assert edge.app.paths == ["/x", "/", "/"]  # which it did not take


async def test_what_connection_lists_is_for_the_general_way() -> None:
    """Where it is taken out."""
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(GET[:-2] + b"Connection: x-a\r\nX-A: 1\r\nX-B: 2\r\n\r\n")

    assert driver.asked == []
    assert [name for name, _ in edge.app.scopes[0]["headers"]] == [b"host", b"x-b"]


async def test_it_is_the_one_of_the_app_that_is_served() -> None:
    asked = []

    def driver(edge: Any, *request: Any) -> bool:
        asked.append(request[0])
        return False

    edge = Edge()
    edge.app.direct = driver  # type: ignore[attr-defined]
    edge.connect()
    await edge.feed(GET)

    assert asked == [b"GET"]
    assert edge.app.paths == ["/"]


async def test_the_connections_tls_says_who_the_client_is() -> None:
    """Asked once, as it is made."""
    link = Link()
    shown = []

    def identify(tls: Any) -> Any:
        shown.append(tls)
        return lambda headers: [*headers, (b"x-who", tls.encode())]

    link.identify = identify
    edge = Edge(link=link, extra={**INET, "ssl_object": "alice"})
    await edge.feed(GET + GET)

    assert shown == ["alice"]
    assert [scope["headers"][-1] for scope in edge.app.scopes] == [(b"x-who", b"alice")] * 2


async def test_who_the_client_is_is_handed_over() -> None:
    """As its certificate says: `identity` has the last word on fields."""
    edge = Edge()
    driver = Driver(edge, takes=False)
    edge.protocol.identity = lambda headers: [*headers, (b"x-who", b"alice")]
    await edge.feed(GET)

    assert driver.asked[0][2] == [(b"host", b"a"), (b"x-who", b"alice")]
    assert edge.app.scopes[0]["headers"] == [(b"host", b"a"), (b"x-who", b"alice")]


async def test_its_answer_is_written_whole() -> None:
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(GET)
    edge.protocol.answer(driver.passage, 200, b"a: 1\r\n", [(b"b", b"2"), (b"c", b"3")], b"hello")

    assert edge.take() == OK + b"a: 1\r\nb: 2\r\nc: 3\r\n\r\nhello"
    assert edge.state.total_requests == 1
    assert not edge.transport.closed
    await edge.feed(GET)
    edge.protocol.answer(driver.passage, 404, b"", [], b"")
    assert edge.take() == b"HTTP/1.1 404 Not Found\r\n\r\n"
    assert edge.state.total_requests == 2


async def test_what_uvicorn_adds_to_every_response_comes_first() -> None:
    edge = Edge()
    edge.state.default_headers = [(b"server", b"l7lb"), (b"x", b"y")]
    driver = Driver(edge)
    await edge.feed(GET)
    edge.protocol.answer(driver.passage, 200, b"", [(b"b", b"2")], b"")

    assert edge.take() == OK + b"server: l7lb\r\nx: y\r\nb: 2\r\n\r\n"


@pytest.mark.parametrize("draining", [False, True])
async def test_the_last_answer_on_a_connection_says_so(draining: bool) -> None:
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(GET if draining else OLD)
    edge.link.draining = draining
    edge.protocol.answer(driver.passage, 200, b"", [], b"")

    assert edge.take() == OK + b"connection: close\r\n\r\n"
    assert edge.transport.closed


async def test_hints_are_for_who_knows_them() -> None:
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(GET)
    edge.protocol.hint(driver.passage, 103, [(b"link", b"</a>")])
    driver.passage.http11 = False
    edge.protocol.hint(driver.passage, 103, [(b"link", b"</b>")])

    assert edge.take() == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


async def test_a_client_that_leaves() -> None:
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(GET)
    edge.lose()
    await edge.settle()

    assert driver.left == 1


async def test_the_next_request_waits_for_its_answer() -> None:
    """And is carried by ASGI, for only one that finds the connection idle is a driver's."""
    edge = Edge(early)
    driver = Driver(edge)
    await edge.feed(GET + GET)
    assert len(driver.asked) == 1
    edge.protocol.answer(driver.passage, 200, b"", [], b"")

    assert (await edge.settle()).count(OK) == 2
    assert len(edge.app.calls) == 1


@pytest.mark.parametrize(("method", "ends"), [(b"GET", b"\r\n\r\n/x y"), (b"HEAD", b"\r\n\r\n")])
async def test_the_rest_may_go_on_by_asgi(method: bytes, ends: bytes) -> None:
    """With the same exchange; the app that is given carries it, and it reads no body."""
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(method + b" /x%20y?a?b HTTP/1.1\r\nHost: a\r\n\r\n")
    called: list[dict[str, Any]] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)
        await ok(edge.app, scope, receive, send)

    edge.protocol.resume(driver.passage, other)
    answer = await edge.settle()

    (scope,) = called
    assert scope["lb.exchange"] is driver.passage.exchange
    assert (scope["method"], scope["path"], scope["raw_path"]) == (method.decode(), "/x y", b"/x%20y")
    assert (scope["query_string"], scope["http_version"], scope["headers"]) == (b"a?b", "1.1", [(b"host", b"a")])
    connection = scope["extensions"]["lb.edge"]
    assert (connection.target, connection.upgrade, connection.expects) == (b"/x%20y?a?b", (), False)
    assert edge.app.bodies == [b""]
    assert answer.endswith(ends)
    assert b"connection: close" not in answer
    assert not edge.transport.closed


async def test_what_goes_on_by_asgi_keeps_the_clients_version() -> None:
    edge = Edge()
    driver = Driver(edge)
    await edge.feed(OLD)
    called: list[dict[str, Any]] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hi"})

    edge.protocol.resume(driver.passage, other)

    assert await edge.settle() == OK + b"connection: close\r\n\r\nhi"
    assert called[0]["http_version"] == "1.0"
