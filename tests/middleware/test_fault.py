"""Faults on purpose hit whom they are meant for, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from app.domain.errors import ClientGone
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import Message, Receive, Scope, Send
from app.middleware.fault import Fault
from settings.traffic import FaultSettings

LONG = 3600.0
"""Seconds that no test waits for."""


class Edge:
    """The client's connection."""

    target = b"/"
    ready = True

    def __init__(self, *, concurrent: bool = True) -> None:
        self.concurrent = concurrent
        self.gone: Callable[[], None] | None = None

    def watch(self, gone: Callable[[], None] | None) -> None:
        self.gone = gone


class Site:
    """An app with a fault around it."""

    def __init__(self, **settings: Any) -> None:
        self.served = 0
        self.edge = Edge()
        self.sent: list[Message] = []
        self.fault = Fault(self._serve, settings=FaultSettings(**settings), rng=Random(1))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served += 1

    async def ask(self, headers: Fields = [], method: str = "GET") -> Exchange:  # noqa: B006
        exchange = Exchange(0.0, "192.0.2.1", "http", method, "example.org", "/")
        scope = {"type": "http", "method": method, "headers": headers, "lb.exchange": exchange}
        await self.fault({**scope, "extensions": {"lb.edge": self.edge}}, self._receive, self._send)
        return exchange

    async def _receive(self) -> Message:
        raise AssertionError("the body is for those who want it")

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("status", [400, 418, 503, 599])
async def test_a_request_is_answered_instead_of_forwarded(status: int) -> None:
    """With a status that has no name, too. The record and the client are told that it is we."""
    site = Site(abort=status)

    exchange = await site.ask()

    start, body = site.sent
    assert (start["status"], exchange.status, site.served) == (status, status, 0)
    assert exchange.error is not None
    assert exchange.error.error_type == "proxy_internal_response"
    assert dict(start["headers"])[b"proxy-status"] == b"l7lb; error=proxy_internal_response"
    assert (body["body"], exchange.bytes_out) == (b"a fault on purpose\n", 19)


async def test_a_head_has_no_body() -> None:
    site = Site(abort=503)

    assert (await site.ask(method="HEAD")).bytes_out == 0


async def test_only_those_with_the_header_are_meant() -> None:
    """Whatever its value; without the setting, all are."""
    site = Site(abort=503, header="X-Fault")

    asked = [await site.ask(headers) for headers in ([], [(b"x-faulty", b"1")], [(b"a", b"b"), (b"x-fault", b"")])]

    assert [exchange.status for exchange in asked] == [0, 0, 503]
    assert site.served == 2


@pytest.mark.parametrize(("share", "few", "many"), [(0.0, 0, 0), (0.25, 54, 146), (1.0, 400, 400)])
async def test_a_share_of_them_is(share: float, few: int, many: int) -> None:
    """Of 400, give or take five standard deviations of a binomial: 5 * sqrt(400 * 0.25 * 0.75) is 43; 46 to be even."""
    site = Site(abort=503, abort_share=share)

    for _ in range(400):
        await site.ask()

    assert few <= 400 - site.served <= many


async def test_a_request_that_is_held_up_is_served_afterwards() -> None:
    """And the client's connection is not watched any more."""
    site = Site(delay=0.001)

    await site.ask()

    assert site.served == 1
    assert site.edge.gone is None


async def test_the_shares_of_delay_and_abort_are_each_their_own() -> None:
    """None is held up, all are answered."""
    site = Site(delay=LONG, delay_share=0.0, abort=503)

    assert (await site.ask()).status == 503


async def held(site: Site) -> asyncio.Task[Exchange]:
    """A request that is being held up."""
    task = asyncio.create_task(site.ask())
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_client_that_goes_away_is_not_waited_for() -> None:
    """An hour of delay must not keep an hour of requests whose clients have gone."""
    site = Site(delay=LONG)
    task = await held(site)
    assert site.edge.gone is not None

    site.edge.gone()

    with pytest.raises(ClientGone):
        await task
    assert site.served == 0
    assert site.edge.gone is None


async def test_a_request_that_is_held_up_can_be_cancelled() -> None:
    """As when the server stops."""
    site = Site(delay=LONG)
    task = await held(site)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert site.served == 0


async def test_another_servers_connection_is_not_watched() -> None:
    """That would read what is the request body's."""
    site = Site(delay=LONG)
    site.edge = Edge(concurrent=False)

    task = await held(site)

    assert site.edge.gone is None
    task.cancel()
    await asyncio.wait({task})
