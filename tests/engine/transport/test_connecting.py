"""An attempt that is cancelled while it connects leaves no connection behind."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.domain.attempt import Attempt
from app.domain.errors import ConnectFailed
from app.engine.client import UpstreamRequest
from app.engine.transport.connections import Connections
from app.engine.transport.transport import UpstreamTransport
from tests.support.fleet import backend


class Connecting:
    """Makes a connection, or fails, when it is let."""

    def __init__(self, failure: Exception | None) -> None:
        self.let = asyncio.Event()
        self.made = self.closed = False
        self._failure = failure

    def take(self, header: bytes) -> None:
        """There is none that is kept."""

    async def connect(self, until: float, header: bytes) -> Any:
        await self.let.wait()
        if self._failure is not None:
            raise self._failure
        self.made = True
        return self

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("failure", [None, ConnectFailed("refused")])
@pytest.mark.parametrize("when", ["before", "in the moment in which it is made"])
async def test_a_cancelled_attempt(when: str, failure: Exception | None) -> None:
    """As the loser of a race is: in asyncio a task that has just ended cannot be cancelled, and its result is there."""
    transport = UpstreamTransport()
    transport.start()
    connecting = Connecting(failure)
    request = UpstreamRequest("GET", Attempt(backend(), 0.0), cast(Connections, connecting), b"")
    task = asyncio.create_task(transport.handle_async_request(request))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    if when != "before":
        connecting.let.set()
        await asyncio.sleep(0)  # the connection is there, and whoever waits for it is about to be told
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)

    assert connecting.made == connecting.closed == (when != "before" and failure is None)
    await transport.aclose()
