"""Has what a backend answers compressed, where client and group want it. Not in the stack when it is off."""

from __future__ import annotations

from app.domain.coding import Codings
from app.domain.exchange import Exchange
from app.domain.headers import Fields, listed
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from app.engine.encoders import missing
from settings.policies import CompressionSettings
from settings.problems import Wrong


class Compression:
    """Sets `exchange.coding`; who hands the response on does it (decision 12)."""

    def __init__(self, app: ASGIApp, *, codings: Codings) -> None:
        self.app = app
        self._codings = codings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set it, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Set it."""
        exchange.coding = self._codings.negotiate(listed(b"accept-encoding", headers))


def codings_of(settings: CompressionSettings) -> Codings:
    """Those of a group. Raises Wrong for one that cannot be made here."""
    for name in settings.codings:
        if missing(name):
            raise Wrong(f"the package for {name} is not installed", "pip install l7lb[compression]", at=("codings",))
    return Codings(settings.codings, settings)
