"""Opens the record of an exchange, and closes it once, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from app.domain.errors import ClientGone, InternalError
from app.domain.exchange import Exchange
from app.domain.headers import without_listed
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from app.engine.telemetry.journal import Journal


class Observe:
    """Outside all others: it sees what they answer and what they let through."""

    def __init__(self, app: ASGIApp, *, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._append = journal.append
        self._clock = clock

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Go on with `scope["lb.exchange"]`; nobody's `send` is wrapped, who answers notes it there."""
        if "lb.edge" not in (scope.get("extensions") or ()):  # another server, which has not done that
            scope["headers"] = without_listed(scope["headers"])
        host = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1")
                break
        client = scope.get("client")
        raw_path = scope.get("raw_path")
        path = quote(scope["path"]) if raw_path is None else raw_path.decode("latin-1")  # not every server has it
        peer = client[0] if client else "unix"
        scope["lb.exchange"] = exchange = Exchange(self._clock(), peer, scope["scheme"], scope["method"], host, path)
        if client or _on_unix_socket(scope):
            return self.close_after(self.app, scope, receive, send)
        return self._close_unseen(exchange)

    async def _close_unseen(self, exchange: Exchange) -> None:
        """It was reset right after sending: there is nobody to answer, and no address to count it by."""
        exchange.peer = exchange.client = ""
        exchange.error = ClientGone("reset before the request was looked at")
        exchange.status = 499
        exchange.ended = exchange.started
        self.close(exchange)

    async def close_after(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run *app* for what is left of the exchange, and close that."""
        exchange: Exchange = scope["lb.exchange"]
        try:
            await app(scope, receive, send)
        except BaseException as fault:
            _blame(exchange, fault)
            raise
        finally:
            exchange.ended = self._clock()
            self.close(exchange)

    def close(self, exchange: Exchange) -> None:
        """Hand on the record of a finished exchange, and give back what was taken for as long as it lasted."""
        if exchange.leave is not None:
            leave, exchange.leave = exchange.leave, None  # the record outlives it, and holds nothing on
            leave()
        if exchange.error is not None or len(exchange.attempts) > 1:
            _let_go(exchange)
        self._append(exchange)


def _on_unix_socket(scope: Scope) -> bool:
    """Whether it is right that the client has no address: then our own side has no port either."""
    server = scope.get("server")
    return server is None or server[1] is None


def _blame(exchange: Exchange, fault: BaseException) -> None:
    """Note what came out of all layers: the server was stopped, or the connection is to be cut."""
    if isinstance(fault, asyncio.CancelledError | GeneratorExit):
        exchange.error = exchange.error or ClientGone("cancelled")
        exchange.status = exchange.status or ClientGone.status
    else:
        exchange.error = exchange.error or InternalError(type(fault).__name__)
        exchange.status = exchange.status or InternalError.status


def _let_go(exchange: Exchange) -> None:
    """Part the errors from their frames, which hold the exchange: a flood of them must not be the collector's work."""
    for error in (exchange.error, *(attempt.error for attempt in exchange.attempts)):
        if error is not None:
            error.__traceback__ = error.__cause__ = error.__context__ = None
