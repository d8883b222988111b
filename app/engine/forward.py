"""The end of every group that forwards: one request to a pool, with as many attempts as it takes, and back.

It is longer than most, for the loop and what its attempts begin and end with are one piece.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from app.domain.answer import page
from app.domain.deadline import asked
from app.domain.errors import BodyTooLarge, ConnectFailed, ProxyError, TotalTimeout
from app.domain.headers import listed
from app.engine.asgi import connection_of
from app.engine.body import Body
from app.engine.client import UpstreamRequest, UpstreamResponse
from app.engine.dispatch import BUSY
from app.engine.hedge import race
from app.engine.introduction import introduction
from app.engine.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from app.domain.attempt import Attempt
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from app.domain.request_head import RequestHeadRule
    from app.domain.rewrite import Target
    from app.engine.asgi import ClientConnection, Receive, Scope, Send
    from app.engine.client import Client
    from app.engine.dispatch import Dispatcher
    from app.engine.relay import Relay
    from app.engine.switch import Switch
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.connection import Connection

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""RFC 9110 section 9.2.2."""
FAIR: Final = 0.9
"""Share of `timeouts.total` that an attempt needs to be blamed for not having answered in it."""


class Forwarder:
    """Forwards the requests of one group to one pool.

    Args:
        target: rewrites the path; None where it goes on as it came.

        own_host: the backend sees its own Host, not the client's.

        max_body: bytes; 0 is without limit.

        switch: the upgrades that clients may ask for.

        trailers: names of those of requests that go on, in lower case.

    Attributes:
        connections: the transport's, of all backends.

        introduces: connections to the backends begin with a PROXY header.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        client: Client,
        head: RequestHeadRule,
        relay: Relay,
        target: Target | None = None,
        own_host: bool = False,
        max_body: int = 0,
        switch: Switch,
        trailers: frozenset[bytes] = frozenset(),
    ) -> None:
        pool = dispatcher.pool
        self.dispatcher = dispatcher
        self.relay = relay
        self._pool = pool.name
        self._affinity = pool.affinity
        self.connections = client.upstream.connections
        self._upstream = client.upstream
        self._client = client
        self._head = head
        self._target = target
        self._own_host = own_host
        self._max_body = max_body
        self._switch = switch
        self._trailers = trailers
        self._total = pool.timeouts.total or inf
        self.introduces = pool.settings.proxy_header.version > 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Forward one request, as an ASGI app; raises as `prepare` and `carry` do."""
        watched = connection_of(scope, receive)
        outbound = self.prepare(scope["lb.exchange"], scope["headers"], watched.target)
        if watched.upgrade:
            self._switch.ask(outbound, watched)
        elif outbound.length and watched.expects:
            outbound.expects = True
            outbound.lines += b"expect: 100-continue\r\n"
        if self.introduces:
            outbound.header = introduction(self.dispatcher.pool.settings.proxy_header, scope, watched)
        return self.carry(outbound, scope, receive, send)

    def prepare(self, exchange: Exchange, headers: Fields, target: bytes) -> Outbound:
        """Make what all attempts send.

        Raises:
            BodyTooLarge: by its declared length.

            BadRequest: for a path that cannot be rewritten.
        """
        exchange.pool = self._pool
        until = exchange.started + self._total
        if deadline := self.dispatcher.deadline:
            headers, until = _told(deadline, exchange, headers, until)
        host, lines, length = self._head.build(exchange, headers)
        if self._max_body and length > self._max_body:
            raise BodyTooLarge(f"the request body is over {self._max_body} bytes")
        key = self._affinity(exchange, headers, target) if self._affinity is not None else b""
        if self._target is not None:
            path, mark, query = target.partition(b"?")
            target = self._target.apply(path) + mark + query
        outbound = Outbound(exchange, headers, target, b"" if self._own_host else host, lines, length, key)
        outbound.until = until
        outbound.deadline = deadline
        if (sticky := self.dispatcher.sticky) is not None:
            outbound.stuck, outbound.settled = sticky.find(headers)
        return outbound

    def mark(self, outbound: Outbound, connection: Carrier) -> None:
        """Look at the response head on *connection*, and have the client told where it is kept from now on."""
        attempt = outbound.attempt
        assert attempt is not None
        pool = self.dispatcher.pool
        if pool.load_header:
            for name, value in connection.fields:
                if name == pool.load_header:
                    pool.report(attempt.backend, value, attempt.first_byte)
        sticky = self.dispatcher.sticky
        if sticky is not None and not (outbound.settled and attempt.backend is outbound.stuck):
            field = sticky.field(attempt.backend, outbound.exchange.scheme)
            if field is not None:
                outbound.exchange.fields += (field,)

    async def carry(
        self,
        outbound: Outbound,
        scope: Scope,
        receive: Receive,
        send: Send,
        response: UpstreamResponse | None = None,
        error: ProxyError | None = None,
    ) -> None:
        """Send a prepared request, and hand on what comes back.

        An attempt may have begun already, and have its *response*, or the *error* that it failed with.

        Raises:
            ProxyError: nothing was sent to the client, or (exchange.first_byte is set) not all of it.
        """
        watched = connection_of(scope, receive)
        try:
            if watched.concurrent or not outbound.length:
                watched.watch(outbound.client_gone)
            while True:
                if response is None and error is None:
                    try:
                        response = await self._attempt(outbound, receive, watched)
                    except ProxyError as fault:
                        if outbound.attempt is None:  # there was none
                            raise
                        error = fault
                after = self._after(outbound, response, error)
                if after < 0:
                    break
                self._finish(outbound, response, error)
                response = error = None
                await outbound.rest(after)
            if response is None:
                assert error is not None
                raise error
            if self.dispatcher.marks:
                self.mark(outbound, response.connection)
            exchange = outbound.exchange
            if response.status_code == 101:
                await self._tunnel(outbound, response, watched)
                return
            if exchange.pages is not None and exchange.pages.replaces(response.status_code):
                accept = listed(b"accept", scope["headers"])
                if (shown := page(exchange.pages, response.status_code, exchange.request_id, accept)) is not None:
                    self._finish(outbound, response, None)  # nobody wants its body
                    await self.relay.show(scope, response, shown, send)
                    return
            await self.relay.send(exchange, response, send, outbound.headers)
        except ProxyError as fault:
            error = fault
            raise
        finally:
            watched.watch(None)
            self._finish(outbound, response, error)
            error = None  # it holds this frame

    async def _tunnel(self, outbound: Outbound, response: UpstreamResponse, watched: ClientConnection) -> None:
        """Carry what was switched to. The attempt is judged by its 101, and in flight until the end of it all."""
        attempt = outbound.attempt
        assert attempt is not None
        watched.watch(None)
        if outbound.error is not None:
            raise outbound.error
        self.dispatcher.settle(attempt, monotonic())
        outbound.attempt = None
        connection = response.connection
        fields = self.relay.fields(outbound.exchange, connection)
        try:
            kept = self._switch.begin(outbound, watched, attempt.backend)
            try:
                await kept.run(cast("Any", watched), cast("Connection", connection), fields)
            finally:
                self._switch.end(kept)
        finally:
            self.dispatcher.leave(attempt)

    async def _attempt(self, outbound: Outbound, receive: Receive, watched: ClientConnection) -> UpstreamResponse:
        """Make an attempt, unless one has begun already, up to the head of its response."""
        attempt = outbound.attempt
        if attempt is None:
            attempt = await self.dispatcher.enter(outbound)
        if outbound.length and outbound.body is None:  # not before there is a backend: another pool may have to read it
            keep = self.dispatcher.policy.max_body
            body = outbound.body = Body(receive, outbound.exchange, limit=self._max_body, keep=keep)
            body.trailers = self._trailers
            if watched.ready:  # a small body leaves with the head, in one write
                await body.take()
            if body.complete and not watched.concurrent:
                watched.watch(outbound.client_gone)
        request = self._request(outbound, attempt)
        request.client = watched
        outbound.requests = (request,)
        if outbound.error is not None:  # the client went while there was nothing to be cut
            raise outbound.error
        delay = self.dispatcher.delay(outbound, attempt.started) if self.dispatcher.hedges else inf
        if delay < inf:
            return await race(self.dispatcher, self._client, outbound, request, self._request, delay)
        return cast(UpstreamResponse, await self._client.send(request))

    def _request(self, outbound: Outbound, attempt: Attempt) -> UpstreamRequest:
        connections = self.connections.get(attempt.backend)
        if connections is None:
            if not self.dispatcher.retired:  # another has its place, or can take it
                raise ConnectFailed("the backend has gone")
            connections = self._upstream.outlived(attempt.backend, self.dispatcher.pool.settings)
        if outbound.upgrade:
            connections = connections.switchable()
        request = UpstreamRequest(outbound.method, attempt, connections, outbound.head(attempt), outbound.length)
        body = outbound.body
        if body is not None:
            request.first = body.taken or b""
            if body.end is None:
                request.body = body
            else:
                request.trailers = body.end
        request.replayable = request.body is None and outbound.method in IDEMPOTENT
        request.until = outbound.until
        request.upgrade = outbound.upgrade
        request.header = outbound.header
        if outbound.expects and body is not None:  # who is given a part of it need not say that it wants the rest
            request.expects = request.first == b""
        return request

    def _after(self, outbound: Outbound, response: UpstreamResponse | None, error: ProxyError | None) -> float:
        """Seconds before the next attempt; negative when there is none."""
        attempt = outbound.attempt
        assert attempt is not None
        now = monotonic()
        if response is None:
            return self.dispatcher.after(outbound, error, None, now)
        attempt.first_byte = now
        attempt.status = response.status_code
        if response.status_code not in self.dispatcher.again_on:
            return -1.0
        return self.dispatcher.after(outbound, None, response.connection.fields, now)

    def _finish(self, outbound: Outbound, response: UpstreamResponse | None, error: ProxyError | None) -> None:
        """End the attempt that is going on, if any, and let go of its response."""
        attempt = outbound.attempt
        if attempt is not None:
            outbound.attempt = None
            if isinstance(error, TotalTimeout) and outbound.until - attempt.started < FAIR * self._total:
                error = None  # the client was in a hurry, or most of its time had gone before: not to be blamed for
            fields = response.connection.fields if response is not None and attempt.status in BUSY else None
            self.dispatcher.finish(attempt, error, monotonic(), fields)
        if response is not None:
            response.release()


def _told(deadline: bytes, exchange: Exchange, headers: Fields, until: float) -> tuple[Fields, float]:
    """Without the field *deadline*, which is told anew; and when the client, too, is out of patience."""
    for name, value in headers:
        if name == deadline and (seconds := asked(name, value)) is not None:
            until = min(until, exchange.started + seconds)
    return [field for field in headers if field[0] != deadline], until
