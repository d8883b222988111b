"""Says what scripts of other origins may do, and answers browsers that ask before. Not in the stack when it is off."""

from __future__ import annotations

from app.domain.cors import CorsRule
from app.domain.errors import Answered
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from settings.policies import CorsSettings


class Cors:
    """Asks for the fields of the CORS protocol on every response, errors as well; raises Answered for a preflight.

    What a backend says of the same is taken out where its response is handed on.
    """

    def __init__(self, app: ASGIApp, *, settings: CorsSettings) -> None:
        self.app = app
        self._rule = CorsRule(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Look."""
        origin, asks = b"", False
        for name, value in headers:
            if name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                asks = True
        if asks and origin and exchange.method == "OPTIONS":
            raise Answered(204, self._rule.preflight(origin))
        exchange.fields += self._rule.fields(origin)
