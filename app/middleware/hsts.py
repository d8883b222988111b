"""Tells browsers to come by TLS only (RFC 6797). Not in the stack when it is off."""

from __future__ import annotations

from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from settings.tls import TlsSettings


class Hsts:
    """Asks for `Strict-Transport-Security` on every response over TLS."""

    def __init__(self, app: ASGIApp, *, tls: TlsSettings) -> None:
        self.app = app
        value = b"max-age=%d" % tls.hsts
        if tls.hsts_subdomains:
            value += b"; includeSubDomains"
        self._field = (b"strict-transport-security", value)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for the field, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, _: Fields) -> None:
        """Ask for the field."""
        if exchange.scheme == "https":
            exchange.fields += (self._field,)
