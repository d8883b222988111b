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
    from app.domain.headers import Fields
    from app.domain.pool import Pool
    from app.domain.request_head import RequestHeadRule
    from app.domain.rewrite import Target
    from app.engine.asgi import Receive, Scope, Send
    from app.engine.client import Client
    from app.engine.relay import Relay

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""RFC 9110 section 9.2.2."""


class Forwarder:
    """Forwards the requests of one group to its pool.

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
        self.relay = relay
        self._pool = pool
        self._client = client
        self._head = head
        self._target = target
        self._own_host = own_host
        self._max_body = max_body
        self._total = pool.timeouts.total or inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request, as an ASGI app; raises as `prepare` and `carry` do."""
        target = connection_of(scope, receive).target
        request = self.prepare(scope["lb.exchange"], scope["headers"], target)
        await self.carry(request, scope, receive, send)

    def prepare(self, exchange: Exchange, headers: Fields, target: bytes) -> UpstreamRequest:
        """Begin an attempt: pick the backend and make the head that it gets. It has to be followed by `finish`.

        Raises:
            BodyTooLarge: by its declared length.

            BadRequest: for a path that cannot be rewritten.

            NoBackend: none is available.
        """
        pool = self._pool
        exchange.pool = pool.name
        host, lines, length = self._head.build(exchange, headers)
        if self._max_body and length > self._max_body:
            raise BodyTooLarge(f"the request body is over {self._max_body} bytes")
        affinity = pool.affinity
        key = affinity(exchange, headers, target) if affinity is not None else b""
        if self._target is not None:
            path, mark, query = target.partition(b"?")
            target = self._target.apply(path) + mark + query

        attempt = Attempt(pool.pick(key, (), exchange.started), monotonic())
        exchange.attempts.append(attempt)
        backend = attempt.backend
        backend.in_flight += 1
        if self._own_host or not host:
            host = backend.authority
        method = exchange.method
        wire = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method.encode(), target, host, lines)
        connections = self._client.upstream.connections[backend]
        request = UpstreamRequest(method, attempt, connections, wire, length)
        request.until = exchange.started + self._total
        return request

    def finish(self, request: UpstreamRequest, error: ProxyError | None, now: float) -> None:
        """End the attempt of *request*; *error* is why there was no whole response."""
        attempt = request.attempt
        attempt.backend.in_flight -= 1
        attempt.ended = now
        if error is not None and not isinstance(error, ClientGone):
            attempt.error = error
        if (observe := self._pool.observe) is not None:  # only where the strategy learns
            observe(attempt, now)

    async def carry(
        self,
        request: UpstreamRequest,
        scope: Scope,
        receive: Receive,
        send: Send,
        response: UpstreamResponse | None = None,
    ) -> None:
        """Send a prepared request, unless its *response* has begun already, and hand on what comes back.

        Raises:
            ProxyError: nothing was sent to the client, or (exchange.first_byte is set) not all of it.
        """
        exchange: Exchange = scope["lb.exchange"]
        watched = connection_of(scope, receive)
        failure: ProxyError | None = None
        try:
            if request.length:
                body = Body(receive, exchange, chunked=request.length == CHUNKED, limit=self._max_body)
                if watched.ready:  # a small body leaves with the head, in one write
                    request.wire += await body.take()
                request.body = None if body.complete else body
            request.replayable = request.body is None and request.method in IDEMPOTENT
            if request.body is None or watched.concurrent:
                watched.watch(request.client_gone)
            if response is None:
                response = cast(UpstreamResponse, await self._client.send(request))
            attempt = request.attempt
            attempt.first_byte = monotonic()
            attempt.status = response.status_code
            await self.relay.send(exchange, response, send)
        except ProxyError as error:
            failure = error
            raise
        finally:
            watched.watch(None)
            self.finish(request, failure, monotonic())
            if response is not None:
                response.release()
