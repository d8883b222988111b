"""A client has so many places, and gets each of them back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.domain.exchange import Exchange
from app.engine.asgi import Message, Receive, Scope, Send
from app.engine.telemetry.journal import Journal
from app.middleware.in_flight import InFlight, TooManyInFlight
from app.middleware.observe import Observe


def exchange(client: str = "192.0.2.1") -> Exchange:
    return Exchange(0.0, client, "http", "GET", "example.org", "/")


def layer(most: int = 2) -> InFlight:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    return InFlight(never, most=most)


def leave(one: Exchange) -> None:
    """What the closing of the record does."""
    assert one.leave is not None
    one.leave()


def test_the_third_of_two_is_refused_until_one_ends() -> None:
    """With when to come back; and it takes no place that it would have to give back."""
    gate, (first, second, third, fourth) = layer(), [exchange() for _ in range(4)]
    gate.enter(first, [])
    gate.enter(second, [])

    with pytest.raises(TooManyInFlight) as refused:
        gate.enter(third, [])
    leave(first)
    gate.enter(fourth, [])

    assert (refused.value.status, refused.value.retry_after) == (429, 1.0)
    assert third.leave is None


def test_clients_do_not_take_each_others_places() -> None:
    """But one IPv6 network is one client."""
    gate = layer(1)
    clients = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "unix"]

    refused = []
    for client in clients:
        try:
            gate.enter(exchange(client), [])
        except TooManyInFlight:
            refused.append(client)

    assert refused == ["2001:db8::2"]


def test_who_has_nothing_in_flight_takes_no_memory() -> None:
    """However many clients come by."""
    gate = layer()
    there = [exchange(f"192.0.2.{n}") for n in range(100) for _ in range(2)]
    for one in there:
        gate.enter(one, [])

    for one in there:
        leave(one)

    assert gate._flying == {}


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    scope["lb.exchange"].status = 200


async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError


async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("app", [answers, crashes, hangs])
async def test_the_place_is_given_back_whatever_ends_the_request(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
) -> None:
    """An answer, a crash, or being cancelled; once, and the record that is kept for the log holds nothing any more."""
    records: list[Exchange] = []
    journal = Journal([lambda batch, wall: records.extend(batch)])
    gate = InFlight(app, most=1)
    observe = Observe(gate, journal=journal)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope: dict[str, Any] = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "headers": []}
    scope |= {"client": ("192.0.2.1", 5000), "server": ("127.0.0.1", 80)}
    for _ in range(3):
        task = asyncio.ensure_future(observe(dict(scope), receive, send))
        await asyncio.sleep(0)
        assert (gate._flying == {"192.0.2.1": 1}) is (app is hangs)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        assert gate._flying == {}
    journal.close()

    assert [one.leave for one in records] == [None] * 3
    assert not any(isinstance(one.error, TooManyInFlight) for one in records)
