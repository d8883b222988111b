"""What the listeners of `l7lb serve` let through, when they do not serve everything."""

from __future__ import annotations

import time
from typing import Any

from app.domain.errors import NoRoute, ProxyError
from app.domain.exchange import Exchange
from app.domain.issuance import CHALLENGES
from app.edge.cycle import App, Receive, Send
from app.edge.link import STATE_KEY, Driver, Link

Scope = dict[str, Any]


class Below:
    """The paths under *prefix*, or (*inside* False) all others; 404 for the rest."""

    def __init__(self, app: App, prefix: str, *, inside: bool) -> None:
        self._app = app
        self._prefix = prefix
        self._below = prefix + "/"
        self._inside = inside
        # a driver of the app leaves the prefix to the general path, so that all others may go by it
        self.direct: Driver | None = None if inside else getattr(app, "direct", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if (path == self._prefix or path.startswith(self._below)) is self._inside:
            await self._app(scope, receive, send)
        else:
            await _answer(scope, send, 404, [], NoRoute("not served on this listener"))


class Redirect:
    """308 to https on *port*, the same host and target; but *app*, if any, has what an authority asks for (ACME)."""

    def __init__(self, port: int, app: App | None = None) -> None:
        self._port = b"" if port == 443 else b":%d" % port
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._app is not None and scope["path"].startswith(CHALLENGES):
            await self._app(scope, receive, send)
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        end = host.rfind(b"]") + 1  # colons of an IPv6 address are no port
        name = host[:end] + host[end:].partition(b":")[0]
        if not name or scope["path"] == "*":
            await _answer(scope, send, 404, [], NoRoute("nothing to redirect to"))
            return
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        location = b"https://" + name + self._port + scope["raw_path"] + query
        await _answer(scope, send, 308, [(b"location", location)])


async def _answer(
    scope: Scope, send: Send, status: int, fields: list[tuple[bytes, bytes]], error: ProxyError | None = None
) -> None:
    """A response without the app, logged and counted as what the edge refuses."""
    body = b"" if error is None else f"{status} {error.detail}\n".encode()
    fields = [*fields, (b"content-length", b"%d" % len(body))]
    if body:
        fields.append((b"content-type", b"text/plain; charset=utf-8"))
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    peer = scope["client"][0] if scope["client"] else "unix"
    path = scope["raw_path"].decode("ascii")
    exchange = Exchange(time.monotonic(), peer, scope["scheme"], scope["method"], host, path)
    exchange.status = status
    exchange.error = error
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
    exchange.first_byte = exchange.ended = time.monotonic()
    link: Link = scope["state"][STATE_KEY]
    link.refused(exchange)
