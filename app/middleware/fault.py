"""Faults on purpose, to see how clients bear them. Not in the stack of a group that asks for none."""

from __future__ import annotations

import asyncio
from random import Random

from app.domain.answer import PROXY_NAME
from app.domain.errors import ClientGone, ProxyError
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, ClientConnection, Receive, Scope, Send, connection_of
from app.engine.relay import respond
from settings.traffic import FaultSettings

BODY = b"a fault on purpose\n"


class FaultOnPurpose(ProxyError):
    """The settings ask for it. Never raised: the status is theirs, the reason on the record is this."""

    error_type = "proxy_internal_response"  # made here, without asking a backend


class Fault:
    """Holds requests up, answers them with an error, or both, in this order.

    Args:
        rng: draws which; once for the delay and once for the error.
    """

    def __init__(self, app: ASGIApp, *, settings: FaultSettings, rng: Random) -> None:
        self.app = app
        self._rng = rng
        self._header = settings.header.lower().encode() if settings.header is not None else None
        self._delay = settings.delay
        self._delay_share = settings.delay_share
        self._abort = settings.abort
        self._abort_share = settings.abort_share
        self._fields: Fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"proxy-status", b"%b; error=%b" % (PROXY_NAME, FaultOnPurpose.error_type.encode())),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Disturb one request, or go on. Raises ClientGone when the client does not wait for that."""
        if self._header is None or any(name == self._header for name, _ in scope["headers"]):
            if self._delay and self._rng.random() < self._delay_share:
                await _hold(connection_of(scope, receive), self._delay)
            if self._abort is not None and self._rng.random() < self._abort_share:
                scope["lb.exchange"].error = FaultOnPurpose("a fault on purpose")
                await respond(scope, send, self._abort, self._fields, BODY)
                return
        await self.app(scope, receive, send)


async def _hold(client: ClientConnection, seconds: float) -> None:
    """Wait, as long as the client does. Raises ClientGone."""
    gone = asyncio.Event()
    if client.concurrent:  # to watch it otherwise would take the request's body from those who want it
        client.watch(gone.set)
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    except TimeoutError:
        return
    finally:
        client.watch(None)
    raise ClientGone("the client went away while its request was held up on purpose")
