"""Every exchange is opened, and closed once, whatever becomes of it."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.errors import ClientGone, InternalError, RateLimited
from app.domain.exchange import Exchange
from app.engine.asgi import Message, Receive, Scope, Send
from app.engine.telemetry.journal import Journal
from app.middleware.observe import Observe
from settings.pools import BackendSettings
from settings.resilience import HealthSettings
from tests.support.clock import Clock

App = Callable[[Scope, Receive, Send], Awaitable[None]]


def scope_of(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "headers": [(b"accept", b"*/*"), (b"host", b"Ex\xe4mple.org:8443"), (b"host", b"second")],
        "client": ("192.0.2.1", 5000),
        "server": ("127.0.0.1", 8443),
    } | changes


async def receive() -> Message:
    return {"type": "http.disconnect"}


async def send(message: Message) -> None:
    """Nobody is there."""


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    scope["lb.exchange"].status = 200


class Observed:
    """Observe around an app, and what the journal got."""

    def __init__(self, app: App) -> None:
        self.clock = Clock()
        self.records: list[Exchange] = []
        self.journal = Journal([lambda batch, wall: self.records.extend(batch)])
        self.observe = Observe(app, journal=self.journal, clock=self.clock)

    async def run(self, **changes: Any) -> None:
        try:
            await self.observe(scope_of(**changes), receive, send)
        finally:
            self.journal.close()


async def test_the_record_says_what_was_asked() -> None:
    """Client, host and path as they were sent; the first Host is the one."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        observed.clock.advance(0.5)
        await answers(scope, receive, send)

    observed = Observed(app)
    await observed.run()

    (exchange,) = observed.records
    assert (exchange.client, exchange.peer, exchange.scheme) == ("192.0.2.1", "192.0.2.1", "https")
    assert (exchange.method, exchange.host, exchange.path) == ("GET", "Exämple.org:8443", "/a%20b")
    assert (exchange.started, exchange.ended, exchange.status) == (1000.0, 1000.5, 200)
    assert exchange.error is None


@pytest.mark.parametrize("changes", [{"raw_path": None}, {"headers": []}])
async def test_other_servers_may_leave_things_out(changes: dict[str, Any]) -> None:
    """Without a raw path the decoded one is encoded; without a Host it is empty."""
    observed = Observed(answers)
    await observed.run(**changes)

    (exchange,) = observed.records
    assert exchange.path == "/a%20b"
    assert exchange.host == ("" if "headers" in changes else "Exämple.org:8443")


@pytest.mark.parametrize("server", [("/run/l7lb.sock", None), None])
async def test_on_a_unix_socket_the_peer_is_the_socket(server: Any) -> None:
    """There a client never has an address."""
    observed = Observed(answers)
    await observed.run(client=None, server=server)

    assert [(e.client, e.status) for e in observed.records] == [("unix", 200)]


async def test_a_client_that_reset_at_once_is_dropped() -> None:
    """Not forwarded, not answered, and not counted among the others; but logged."""

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    observed = Observed(never)
    await observed.run(client=None)

    (exchange,) = observed.records
    assert (exchange.client, exchange.status) == ("", 499)
    assert isinstance(exchange.error, ClientGone)


async def test_a_cancelled_exchange_is_closed() -> None:
    """As one whose client has gone, and the cancellation goes on."""
    waiting = asyncio.Event()

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        waiting.set()
        await asyncio.Event().wait()

    observed = Observed(hangs)
    task = asyncio.create_task(observed.run())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (exchange,) = observed.records
    assert (exchange.status, exchange.ended) == (499, 1000.0)
    assert isinstance(exchange.error, ClientGone)


@pytest.mark.parametrize("status", [0, 200])
async def test_a_crash_is_closed_too(status: int) -> None:
    """With what the client got, if it got anything, and the crash goes on."""

    async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
        scope["lb.exchange"].status = status
        raise ZeroDivisionError

    observed = Observed(crashes)
    with pytest.raises(ZeroDivisionError):
        await observed.run()

    (exchange,) = observed.records
    assert exchange.status == (status or 500)
    assert isinstance(exchange.error, InternalError)
    assert exchange.error.detail == "ZeroDivisionError"


async def test_an_error_that_is_known_is_kept() -> None:
    """A connection that is cut after the point of no return leaves by an exception; the reason came before it."""

    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        scope["lb.exchange"].status = 200
        scope["lb.exchange"].error = RateLimited("first")
        raise ConnectionAbortedError

    observed = Observed(cut)
    with pytest.raises(ConnectionAbortedError):
        await observed.run()

    assert [(e.status, str(e.error)) for e in observed.records] == [(200, "first")]


async def test_failed_exchanges_leave_nothing_to_the_collector() -> None:
    """An error holds its frames, which hold the exchange, which holds the error: that ring is opened."""
    backend = Backend("p", BackendSettings(url="http://h:1", id="b"), HealthSettings())

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["lb.exchange"]
        exchange.attempts = [Attempt(backend, 1.0), Attempt(backend, 1.0)]
        try:
            try:
                raise OSError
            except OSError as cause:
                raise RateLimited from cause
        except RateLimited as error:
            exchange.error = exchange.attempts[0].error = error

    observe = Observe(fails, journal=Journal([]))
    await observe(scope_of(), receive, send)
    observe._append.__self__.close()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await observe(scope_of(), receive, send)
        observe._append.__self__.close()
        assert gc.collect() < 50
    finally:
        gc.enable()
