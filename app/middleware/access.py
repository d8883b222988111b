"""Refuses clients by their network. Not in the stack of a group that lets everybody come."""

from __future__ import annotations

from app.domain.client import TrustedProxies as Networks
from app.domain.errors import Refused
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from settings.policies import AccessSettings


class Access:
    """Goes by `exchange.client`, which trusted proxies may have told. Raises Refused."""

    def __init__(self, app: ASGIApp, *, settings: AccessSettings) -> None:
        self.app = app
        self._allowed = Networks(settings.allow) if settings.allow else None
        self._denied = Networks(settings.deny)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, _: Fields) -> None:
        """Look."""
        client = exchange.client
        if client in self._denied or (self._allowed is not None and client not in self._allowed):
            raise Refused("this network may not come here")
