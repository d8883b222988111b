"""Who the client is, through trusted proxies only. Not in the stack when none is trusted."""

from __future__ import annotations

from app.domain.client import TrustedProxies, client_of
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send


class ClientAddress:
    """Writes `exchange.client` and `exchange.scheme`, before anybody keys on them."""

    def __init__(self, app: ASGIApp, *, trusted: TrustedProxies) -> None:
        self.app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Look."""
        exchange.client, scheme = client_of(exchange.peer, headers, self._trusted)
        if scheme is not None:
            exchange.scheme = scheme
