"""A group as Starlette sees it: a Mount in `app.routes`, for people and tools; dispatch never walks that list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Match, Mount

from app.domain.errors import ProxyError

if TYPE_CHECKING:
    from starlette.types import Scope

    from app.domain.exchange import Exchange
    from app.engine.asgi import ASGIApp
    from app.groups.gateway import Gateway
    from settings.groups import GroupSettings


class GroupMount(Mount):
    """One group, mounted at its path. Its `matches` asks the gateway, so that it never says what the table would not.

    Attributes:
        settings: the group's.
    """

    def __init__(self, name: str, settings: GroupSettings, app: ASGIApp, gateway: Gateway) -> None:
        # Starlette would read braces as parameters, and a pattern is no path: such a group is mounted at the root.
        plain = settings.path_match != "regex" and not set("{}") & set(settings.path)
        super().__init__(settings.path if plain else "", app=app, name=name)
        self.path = settings.path
        self.settings = settings
        self._gateway = gateway

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """FULL when the table gives the request to this group, which sees the whole path: the scope stays as it is."""
        if scope["type"] != "http":
            return Match.NONE, {}
        exchange: Exchange | None = scope.get("lb.exchange")
        if exchange is not None:
            host, client = exchange.host, exchange.client
        else:  # a tool asks, with a scope of its own
            host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
            client = (scope.get("client") or ("",))[0]
        try:
            found = self._gateway.route(scope, host, client)
        except ProxyError:
            return Match.NONE, {}
        return (Match.FULL, {"endpoint": self.app}) if found == self.name else (Match.NONE, {})
