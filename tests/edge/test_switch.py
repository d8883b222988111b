"""Requests with `Upgrade`: what comes behind them is kept until it is known what it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.edge.cycle import HIGH_WATER, Cycle
from app.edge.link import STATE_KEY
from tests.edge.harness import GET, App, Edge, reply, statuses

ASKED = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket, h2c, foo\r\n\r\n"


class Heir(asyncio.Protocol):
    """Whoever the connection is given to."""


class Answer:
    """An app that waits for the test to say how it goes on."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.switched: Any = None
        self.heir = Heir()
        self.how = "switch"

    async def __call__(self, app: App, scope: Any, receive: Any, send: Any) -> None:
        cycle: Cycle = scope["extensions"][STATE_KEY]
        if cycle.upgrade:
            await self.gate.wait()
            if self.how == "switch":
                self.switched = await cycle.switch([(b"x-a", b"1"), (b"content-length", b"3")], b"foo", self.heir)
                return
            cycle.keep_alive = self.how == "ignore"
        await reply(send, scope["path"].encode())


@pytest.mark.parametrize("pieces", ["whole", "byte by byte"])
async def test_a_switch_takes_what_came_with_it(pieces: str) -> None:
    """The head of the 101 is ours, but for the fields that go from end to end."""
    answer = Answer()
    edge = Edge(answer)
    data = ASKED + b"GET /early"
    assert not await edge.feed(*([data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]))
    answer.gate.set()
    head = await edge.settle()
    assert head == b"HTTP/1.1 101 Switching Protocols\r\nx-a: 1\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n"
    transport, early, lost = answer.switched
    assert (transport, early) == (edge.transport, b"GET /early")
    assert edge.transport.protocol is answer.heir
    assert edge.app.ended == [None]
    assert edge.state.connections
    lost(None)
    assert not edge.state.connections


async def test_a_switch_is_a_request_that_was_served() -> None:
    answer = Answer()
    edge = Edge(answer)
    await edge.feed(GET, GET, ASKED)
    answer.gate.set()
    await edge.settle()
    assert edge.state.total_requests == 3


async def test_what_is_offered() -> None:
    """In the client's order, lower-cased, without h2c."""
    answer = Answer()
    edge = Edge(answer)
    await edge.feed(ASKED)
    assert edge.app.scopes[0]["extensions"][STATE_KEY].upgrade == (b"websocket", b"foo")
    assert edge.app.scopes[0]["type"] == "http"


async def test_an_answer_that_ignores_it_makes_requests_of_the_rest() -> None:
    answer = Answer()
    answer.how = "ignore"
    edge = Edge(answer)
    await edge.feed(ASKED + GET[:10], GET[10:] + GET)
    answer.gate.set()
    assert statuses(await edge.settle(3)) == [200, 200, 200]
    assert edge.app.paths == ["/ws", "/", "/"]


async def test_where_nothing_came_behind_it_the_connection_is_idle() -> None:
    answer = Answer()
    answer.how = "ignore"
    edge = Edge(answer, keep_alive=5.0)
    assert edge.protocol.buffered == 0
    await edge.feed(ASKED, GET)
    assert edge.protocol.buffered == len(GET)
    answer.gate.set()
    await edge.settle(3)
    assert edge.protocol.buffered == 0

    assert statuses(await edge.feed(ASKED)) == [200]
    edge.loop.advance(4.9)
    assert not edge.transport.closed
    edge.loop.advance(0.2)
    assert edge.transport.closed


async def test_an_answer_that_refuses_it_ends_the_connection() -> None:
    """What was sent for another protocol is no request."""
    answer = Answer()
    answer.how = "refuse"
    edge = Edge(answer)
    await edge.feed(ASKED + GET)
    answer.gate.set()
    written = await edge.settle(3)
    assert statuses(written) == [200]
    assert b"connection: close" in written
    assert edge.app.paths == ["/ws"]
    assert edge.transport.eof  # it lingers, for there are bytes that nobody has read


async def test_what_is_kept_is_bounded() -> None:
    """The client is made to wait, and goes on with the switch."""
    answer = Answer()
    edge = Edge(answer)
    await edge.feed(ASKED, b"x" * HIGH_WATER)
    assert not edge.transport.paused
    await edge.feed(b"x")
    assert edge.transport.paused
    answer.gate.set()
    await edge.settle()
    assert not edge.transport.paused
    assert len(answer.switched[1]) == HIGH_WATER + 1


async def test_a_client_that_has_gone_is_not_switched() -> None:
    answer = Answer()
    edge = Edge(answer)
    await edge.feed(ASKED)
    edge.lose()
    await edge.settle()
    answer.gate.set()
    assert await edge.settle() == b""
    assert answer.switched is None


async def test_a_line_end_in_a_field_is_no_field() -> None:
    """As in any response."""

    async def split(app: App, scope: Any, receive: Any, send: Any) -> None:
        await scope["extensions"][STATE_KEY].switch([(b"x-a", b"1\r\nx-b: 2")], b"foo", Heir())

    edge = Edge(split)
    assert statuses(await edge.feed(ASKED)) == [500]
