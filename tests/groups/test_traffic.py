"""A group with more than one pool."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from app.domain.affinity import affinity_of
from app.domain.attempt import Attempt
from app.domain.errors import ConnectFailed, NoBackend
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.domain.split import Sides
from app.engine.asgi import Message, Receive, Scope, Send
from app.groups.traffic import Fallback, Split
from tests.support.fleet import backend

POST = [(b"content-length", b"5")]


class To:
    """Stands for the forwarder of a pool: answers, unless it has an error to raise."""

    def __init__(self, pool: str, error: Exception | None = None, *, tried: bool = False, read: int = 0) -> None:
        self.pool = pool
        self.served = 0
        self._error = error
        self._tried = tried
        self._read = read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["lb.exchange"]
        exchange.pool = self.pool
        self.served += 1
        exchange.bytes_in += self._read
        if self._tried:
            exchange.attempts.append(Attempt(backend(), 1.0))
        if self._error is not None:
            raise self._error
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def fixed(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


async def ask(
    app: Any, *, headers: Fields | None = None, client: str = "192.0.2.1", query: bytes = b""
) -> tuple[int, Exchange]:
    """The status, and the record."""
    statuses: list[int] = []
    exchange = Exchange(0.0, client, "http", "GET", "example.org", "/")

    async def receive() -> Message:
        raise AssertionError("nobody asks for the body")

    async def send(message: Message) -> None:
        statuses.append(message["status"])

    scope = {"type": "http", "raw_path": b"/", "query_string": query, "headers": headers or []}
    await app({**scope, "lb.exchange": exchange}, receive, send)
    (status,) = statuses
    return status, exchange


def split(pools: dict[str, int], key: str = "client") -> Split:
    told = affinity_of((key,))
    assert told is not None
    return Split(Sides(pools, Random(1)), told, {name: To(name) for name in pools})


async def test_a_client_stays_on_its_side() -> None:
    """And each pool has some."""
    app = split({"stable": 1, "canary": 1})
    clients = [f"192.0.2.{n}" for n in range(40)]

    first, second = [[(await ask(app, client=client))[1].pool for client in clients] for _ in range(2)]

    assert first == second
    assert {"stable", "canary"} == set(first)


async def test_the_key_may_be_in_the_query() -> None:
    """It is read from the target as it was sent."""
    app = split({"a": 1, "b": 1}, "query:user")

    seen = [{(await ask(app, query=b"user=%d" % n, client=f"c{i}"))[1].pool for i in range(5)} for n in range(20)]

    assert {1} == {len(pools) for pools in seen}
    assert {"a", "b"} == set().union(*seen)


async def test_without_a_key_requests_go_anywhere() -> None:
    """As on the first visit, before the cookie is there."""
    app = split({"a": 1, "b": 1}, "cookie:user")

    assert {"a", "b"} == {(await ask(app))[1].pool for _ in range(40)}


async def test_the_first_pool_with_a_backend_serves() -> None:
    """And is on the record; that others had none is no error of this exchange."""
    apps = [To("a", NoBackend("a")), To("b", NoBackend("b")), To("c"), To("d")]

    status, exchange = await ask(Fallback(apps, fixed))

    assert (status, exchange.pool, exchange.error) == (200, "c", None)
    assert [app.served for app in apps] == [1, 1, 1, 0]


async def test_a_pool_that_serves_is_not_left() -> None:
    apps = [To("a"), To("b")]

    assert (await ask(Fallback(apps, fixed)))[1].pool == "a"
    assert apps[1].served == 0


async def test_when_no_pool_has_a_backend_the_fixed_answer_is_given() -> None:
    """The record says why."""
    status, exchange = await ask(Fallback([To("a", NoBackend("a is down")), To("b", NoBackend("b is down"))], fixed))

    assert (status, exchange.pool) == (299, "b")
    assert isinstance(exchange.error, NoBackend)
    assert exchange.error.detail == "b is down"


async def test_without_a_fixed_answer_the_error_goes_on() -> None:
    with pytest.raises(NoBackend, match="b is down"):
        await ask(Fallback([To("a", NoBackend("a is down")), To("b", NoBackend("b is down"))], None))


async def test_what_failed_at_a_backend_is_not_sent_to_another_pool() -> None:
    """That is for retries to decide, which know what was sent."""
    other = To("b")

    with pytest.raises(ConnectFailed):
        await ask(Fallback([To("a", ConnectFailed("no"), tried=True), other], fixed))
    assert other.served == 0


@pytest.mark.parametrize(
    ("headers", "first", "served"),
    [
        (POST, {}, 1),
        (POST, {"tried": True}, 0),
        ([(b"transfer-encoding", b"chunked")], {"tried": True}, 0),
        (POST, {"read": 3}, 0),
        ([(b"content-length", b"0")], {"tried": True}, 1),
        ([], {"tried": True}, 1),
    ],
)
async def test_a_body_that_may_have_been_read_goes_to_no_other_pool(
    headers: Fields, first: dict[str, Any], served: int
) -> None:
    """Which would get the rest of it as if it were the whole; the fixed answer needs none."""
    other = To("b")

    status, _ = await ask(Fallback([To("a", NoBackend("a"), **first), other], fixed), headers=headers)

    assert (other.served, status) == (served, 200 if served else 299)


async def test_once_a_response_has_begun_nothing_else_is_answered() -> None:
    """There is no way back behind the point of no return."""

    async def begins(scope: Scope, receive: Receive, send: Send) -> None:
        scope["lb.exchange"].first_byte = 1.0
        raise NoBackend("late")

    other = To("b")

    with pytest.raises(NoBackend, match="late"):
        await ask(Fallback([begins, other], fixed))
    assert other.served == 0
