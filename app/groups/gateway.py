"""Finds the group that a request belongs to, by table, and hands the request to it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from app.domain.errors import BadRequest, MethodNotAllowed
from app.domain.paths import canonical
from app.domain.routing import UNSERVED, RouteTable

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, Receive, Scope, Send


class Gateway:
    """The groups behind their route table.

    Args:
        apps: by group; one for every group of *table*.

        encoded_slash: `edge.encoded_slash`.
    """

    def __init__(self, table: RouteTable, apps: Mapping[str, ASGIApp], encoded_slash: bool = False) -> None:
        self.table = table
        self.apps = apps
        self._encoded_slash = encoded_slash

    def swap(self, table: RouteTable, apps: Mapping[str, ASGIApp], encoded_slash: bool = False) -> None:
        """Route by *table* from the next request on; those that are on their way keep their group."""
        self.table = table
        self.apps = apps
        self._encoded_slash = encoded_slash

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Route one request, and let its group go on: no frame of ours waits for that.

        Raises:
            BadRequest: for a path that can be read in two ways.

            NoRoute: when no group matches.

            MethodNotAllowed: for CONNECT and TRACE.
        """
        exchange: Exchange = scope["lb.exchange"]
        exchange.group = name = self.route(scope, exchange.host, exchange.client)
        return self.apps[name](scope, receive, send)

    def route(self, scope: Scope, host: str, client: str) -> str:
        """The name of the group; raises as calling does."""
        # Another server than uvicorn may leave raw_path out (ASGI makes it optional).
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        return self.find(host, raw, scope["method"], scope["headers"], scope["query_string"], client)

    def find(self, host: str, raw: bytes, method: str, headers: Fields, query: bytes, client: str) -> str:
        """The same, of the parts of a request."""
        try:
            path = canonical(raw, encoded_slash=self._encoded_slash)
        except BadRequest:
            if method in UNSERVED:  # CONNECT asks for host:port, which is no path
                raise MethodNotAllowed(f"{method} is not served") from None
            raise
        return self.table.match(host, path, method, headers, query, client)
