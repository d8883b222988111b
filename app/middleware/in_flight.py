"""Refuses a client that has too many requests in flight at once, in one group."""

from __future__ import annotations

from functools import partial

from app.domain.bucket import network
from app.domain.errors import ProxyError
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send


class TooManyInFlight(ProxyError):
    """The client has as many requests in flight as it may."""

    status = 429
    error_type = "http_request_denied"
    side = "client"
    retry_after = 1.0


class InFlight:
    """Counts what each client has in flight. Sets `exchange.leave`; raises TooManyInFlight.

    It counts from here until the record of the exchange is closed, so that whatever ends a request gives its place
    back. A client that has nothing in flight takes no memory.

    Args:
        most: requests in flight of one client.
    """

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self.app = app
        self._most = most
        self._flying: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a place, and go on if there was one."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, _: Fields) -> None:
        """Take a place."""
        client = exchange.client
        if ":" in client:
            client = network(client)
        count = self._flying.get(client, 0)
        if count >= self._most:
            raise TooManyInFlight(f"{count} requests of this client are in flight already")
        self._flying[client] = count + 1
        exchange.leave = partial(self._leave, client)

    def _leave(self, client: str) -> None:
        count = self._flying[client] - 1
        if count:
            self._flying[client] = count
        else:
            del self._flying[client]
