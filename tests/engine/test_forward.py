"""A client that goes, whatever is being done for it: nothing is left in flight, nobody is blamed. Time is virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, cast

import pytest

from app.domain.attempt import Attempt
from app.domain.client import TrustedProxies
from app.domain.errors import ClientGone, ConnectFailed, ConnectionTerminated, ProxyError
from app.domain.exchange import Exchange
from app.domain.forwarded import ForwardedRule
from app.domain.request_head import RequestHeadRule
from app.domain.trace import Ids
from app.engine.asgi import Message
from app.engine.client import Client, UpstreamRequest, UpstreamResponse
from app.engine.dispatch import Dispatcher
from app.engine.forward import Forwarder
from app.engine.relay import Relay
from app.engine.switch import Switch
from app.engine.tunnels import Tunnels
from settings.telemetry import ForwardedSettings
from tests.support.fleet import fleet, pool
from tests.support.virtual import virtual

pytestmark = pytest.mark.uncompiled  # compiled, it takes nothing in place of its client; tests/e2e has it there


class Edge:
    """The client's connection."""

    target = b"/"
    concurrent = True
    ready = False
    upgrade: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.watcher: Callable[[], None] | None = None
        self.left = False

    def watch(self, gone: Callable[[], None] | None) -> None:
        self.watcher = gone
        if gone is not None and self.left:
            gone()

    def abort(self) -> None:
        raise AssertionError("nothing was sent")

    def leave(self) -> None:
        """As the edge tells it: once, and only who watches."""
        self.left = True
        if self.watcher is not None:
            self.watcher()


class Upstream:
    """In place of the client: each attempt fails after some seconds, unless it is ended before."""

    def __init__(self, dispatcher: Dispatcher, *failures: tuple[float, ProxyError]) -> None:
        self.upstream = self
        self.connections = dict.fromkeys(dispatcher.pool.backends, object())
        self._failures = iter(failures)
        self.asked = 0
        self.cut = 0

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        self.asked += 1
        seconds, failure = next(self._failures)
        request.connecting = cast("asyncio.Task[Any]", asyncio.ensure_future(asyncio.sleep(seconds)))
        try:
            await request.connecting
        except asyncio.CancelledError:
            self.cut += 1
            if request.error is not None:
                raise request.error from None
            raise
        raise failure


class Exchanging:
    """One exchange through a pool of two backends."""

    def __init__(self, *failures: tuple[float, ProxyError], method: str = "GET", **settings: Any) -> None:
        self.pool = pool(fleet(1, 1), **settings)
        self.dispatcher = Dispatcher(self.pool, rng=Random(7), clock=asyncio.get_running_loop().time)
        self.upstream = Upstream(self.dispatcher, *failures)
        self.edge = Edge()
        said = ForwardedSettings()
        head = RequestHeadRule(said, ForwardedRule(said, TrustedProxies(())), None, Ids(Random(7)))
        self.forwarder = Forwarder(
            self.dispatcher,
            client=cast(Client, self.upstream),
            head=head,
            relay=Relay("", None),
            switch=Switch((), tunnels=Tunnels(), timeout=0.0),
        )
        self.exchange = Exchange(0.0, "127.0.0.1", "http", method, "lb.test", "/")

    async def run(self) -> None:
        headers = [(b"host", b"lb.test")]
        scope = {"lb.exchange": self.exchange, "headers": headers, "extensions": {"lb.edge": self.edge}}
        await self.forwarder(scope, _receive, _send)


async def _receive() -> Message:
    raise AssertionError("there is no body")


async def _send(message: Message) -> None:
    raise AssertionError("there is no response")


LONG = 3600.0
REFUSED = (0.0, ConnectFailed("refused"))
STAGES: dict[str, tuple[dict[str, Any], list[tuple[float, ProxyError]], int, int]] = {
    # settings, what attempts come to, how many are made, how many of them are cut
    "in the queue": ({"max_in_flight": 1}, [], 0, 0),
    "at the backend": ({}, [(LONG, ConnectFailed())], 1, 1),
    "in the pause before a retry": ({"retry": {"backoff": "1h"}}, [REFUSED], 1, 0),
    "in the second attempt": ({"retry": {"backoff": 0}}, [REFUSED, (LONG, ConnectFailed())], 2, 1),
}


@pytest.mark.parametrize("how", ["gone", "cancelled"])
@pytest.mark.parametrize("stage", STAGES)
@virtual
async def test_who_goes_leaves_nothing_behind(stage: str, how: str) -> None:
    settings, failures, asked, cut = STAGES[stage]
    run = Exchanging(*failures, **settings)
    if stage == "in the queue":
        run.pool.in_flight = 1
    task = asyncio.create_task(run.run())
    await asyncio.sleep(0.5)
    assert not task.done()

    if how == "gone":
        run.edge.leave()
    else:
        task.cancel()
    with pytest.raises(ClientGone if how == "gone" else asyncio.CancelledError):
        await task

    if stage == "in the queue":
        run.pool.in_flight -= 1
    assert (run.upstream.asked, run.upstream.cut) == (asked, cut)
    assert (run.pool.in_flight, run.dispatcher.waiting) == (0, 0)
    assert [backend.in_flight for backend in run.pool.backends] == [0, 0]
    assert run.edge.watcher is None
    assert sum(backend.breaker.counts()[1] for backend in run.pool.backends) == asked - cut


@virtual
async def test_nothing_is_sent_for_a_client_that_has_gone_before() -> None:
    """Between its request and the task that carries it."""
    run = Exchanging((LONG, ConnectFailed()))
    run.edge.leave()

    with pytest.raises(ClientGone):
        await run.run()

    assert run.upstream.asked == 0
    assert (run.pool.in_flight, [backend.in_flight for backend in run.pool.backends]) == (0, [0, 0])


@virtual
async def test_a_client_that_goes_when_its_turn_has_come_sends_nothing() -> None:
    """And the place is the next one's."""
    run = Exchanging(max_in_flight=1)
    run.pool.in_flight = 1
    holding = run.pool.backends[0]
    holding.in_flight = 1
    task = asyncio.create_task(run.run())
    await asyncio.sleep(0.01)

    run.dispatcher.finish(Attempt(holding, 0.0), None, 0.0)
    run.edge.leave()
    with pytest.raises(ClientGone):
        await task

    assert run.upstream.asked == 0
    assert (run.pool.in_flight, run.dispatcher.waiting) == (0, 0)


@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("POST", 1)])
@virtual
async def test_an_error_that_stands_is_raised_when_all_is_over(method: str, asked: int) -> None:
    run = Exchanging((0.1, ConnectionTerminated("first")), (0.1, ConnectionTerminated("second")), method=method)

    with pytest.raises(ConnectionTerminated, match="second" if asked == 2 else "first"):
        await run.run()

    assert run.upstream.asked == len(run.exchange.attempts) == asked
    assert (run.pool.in_flight, [backend.in_flight for backend in run.pool.backends]) == (0, [0, 0])
    assert all(attempt.error is not None and attempt.ended for attempt in run.exchange.attempts)


async def test_a_backend_that_goes_between_the_pick_and_the_request_is_left_for_another() -> None:
    """Nothing was sent; a POST is tried again as well."""
    run = Exchanging((0.1, ConnectionTerminated("second")), method="POST")
    first = run.dispatcher.pool.pick(b"", (), 0.0)  # round robin: the other is next
    gone = next(backend for backend in run.pool.backends if backend is not first)
    del run.upstream.connections[gone]

    with pytest.raises(ConnectionTerminated, match="second"):
        await run.run()

    assert [attempt.backend for attempt in run.exchange.attempts] == [gone, first]
