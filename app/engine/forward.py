"""One request to one backend and back: the end of every group that forwards."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from app.domain.attempt import Attempt
from app.domain.errors import BodyTooLarge, ClientGone, ProxyError
from app.domain.request_head import CHUNKED
from app.engine.asgi import connection_of
from app.engine.body import Body
from app.engine.client import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.pool import Pool
    from app.domain.request_head import RequestHeadRule
    from app.domain.rewrite import Target
    from app.engine.asgi import Receive, Scope, Send
    from app.engine.client import Client
    from app.engine.relay import Relay

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""RFC 9110 section 9.2.2."""


class Forwarder:
    """The ASGI app that forwards the requests of one group to its pool.

    Args:
        target: rewrites the path; None where it goes on as it came.

        own_host: the backend sees its own Host, not the client's.

        max_body: bytes; 0 is without limit.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        client: Client,
        head: RequestHeadRule,
        relay: Relay,
        target: Target | None = None,
        own_host: bool = False,
        max_body: int = 0,
    ) -> None:
        self._pool = pool
        self._client = client
        self._head = head
        self._relay = relay
        self._target = target
        self._own_host = own_host
        self._max_body = max_body
        self._total = pool.timeouts.total or inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request.

        Raises:
            ProxyError: nothing was sent to the client, or (exchange.first_byte is set) not all of it.
        """
        exchange: Exchange = scope["lb.exchange"]
        pool = self._pool
        exchange.pool = pool.name
        host, lines, length = self._head.build(exchange, scope["headers"])
        if self._max_body and length > self._max_body:
            raise BodyTooLarge(f"the request body is over {self._max_body} bytes")

        attempt = Attempt(pool.pick(b"", (), exchange.started), monotonic())
        exchange.attempts.append(attempt)
        backend = attempt.backend
        backend.in_flight += 1
        connections = self._client.upstream.connections[backend]
        watched = connection_of(scope, receive)
        request: UpstreamRequest | None = None
        response: UpstreamResponse | None = None
        try:
            method: str = scope["method"]
            target = watched.target
            if self._target is not None:
                path, mark, query = target.partition(b"?")
                target = self._target.apply(path) + mark + query
            if self._own_host or not host:
                host = backend.authority
            wire = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method.encode(), target, host, lines)
            body: Body | None = None
            if length:
                body = Body(receive, exchange, chunked=length == CHUNKED, limit=self._max_body)
                if watched.ready:  # a small body leaves with the head, in one write
                    wire += await body.take()
                    if body.complete:
                        body = None
            request = UpstreamRequest(
                method,
                attempt,
                connections,
                wire,
                body,
                replayable=body is None and method in IDEMPOTENT,
                until=exchange.started + self._total,
            )
            if body is None:
                watched.watch(request.client_gone)
            response = cast(UpstreamResponse, await self._client.send(request))
            attempt.first_byte = monotonic()
            attempt.status = response.status_code
            await self._relay.send(exchange, response, send)
        except ProxyError as error:
            if not isinstance(error, ClientGone):
                attempt.error = error
            raise
        finally:
            watched.watch(None)
            backend.in_flight -= 1
            attempt.ended = monotonic()
            if response is not None:
                response.release()
