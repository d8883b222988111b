"""A group as Starlette sees it: a Mount in `app.routes`, for people and tools; dispatch never walks that list."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from starlette.routing import Match, Mount

from app.domain.errors import ProxyError

if TYPE_CHECKING:
    from starlette.types import ASGIApp as StarletteApp
    from starlette.types import Scope

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
        super().__init__(settings.path if plain else "", app=cast("StarletteApp", app), name=name)
        self.path = settings.path
        self.settings = settings
        self._gateway = gateway

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """FULL when the table gives the request to this group. The group sees the whole path: the scope stays as it is."""
        if scope["type"] != "http" or "lb.exchange" not in scope:
            return Match.NONE, {}
        try:
            name = self._gateway.route(scope)
        except ProxyError:
            return Match.NONE, {}
        return (Match.FULL, {"endpoint": self.app}) if name == self.name else (Match.NONE, {})
