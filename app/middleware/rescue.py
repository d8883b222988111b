"""Turns what went wrong into a response, or, once a response has begun, cuts the connection."""

from __future__ import annotations

import logging

from app.domain.answer import answer
from app.domain.errors import Answered, ClientGone, InternalError, ProxyError
from app.domain.exchange import Exchange
from app.domain.grpc import called
from app.domain.headers import listed
from app.domain.trace import Ids, accepted_request_id
from app.engine.asgi import ASGIApp, Receive, Scope, Send, connection_of
from app.engine.relay import refuse_call, respond

_log = logging.getLogger("l7lb")


class Rescue:
    """Outside all that raise; inside Observe, so that its responses are timed and logged like any other."""

    def __init__(self, app: ASGIApp, *, ids: Ids) -> None:
        self.app = app
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on, and answer what comes back as an error."""
        try:
            await self.app(scope, receive, send)
        except Answered as answered:
            await respond(scope, send, answered.status, answered.fields, answered.body)
        except ProxyError as error:
            await self._answer(error, scope, receive, send)
        except Exception as fault:
            _log.exception("a defect of ours, please report it")
            await self._answer(InternalError(type(fault).__name__), scope, receive, send)

    async def _answer(self, error: ProxyError, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["lb.exchange"]
        exchange.error = error
        if isinstance(error, ClientGone):
            exchange.status = exchange.status or error.status
            return
        if exchange.first_byte:  # no other response can be made of it, and its truncation must be visible
            connection_of(scope, receive).abort()
            return
        headers = scope["headers"]
        if not exchange.request_id:
            sent = accepted_request_id(listed(b"x-request-id", headers))
            exchange.request_id = sent or self._ids.draw()[:32].decode()
        if called(listed(b"content-type", headers)):
            await refuse_call(scope, send, error)
            return
        fields, body = answer(error, exchange.request_id, listed(b"accept", headers), exchange.pages)
        await respond(scope, send, error.status, fields, body)
