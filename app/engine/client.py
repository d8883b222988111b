"""The shared httpx.AsyncClient, and the request and response that go through it without being taken apart.

httpx's own Request, Response, cookie jar and redirects cost several hundred microseconds an exchange, and change what
they carry. These subclasses keep the type and hand the bytes over; URL and header objects are made when somebody asks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx

from app.domain.errors import ProxyError

if TYPE_CHECKING:
    import asyncio

    from app.domain.attempt import Attempt
    from app.domain.headers import Field, Fields
    from app.engine.asgi import ClientConnection
    from app.engine.body import Body
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.carriers import Carriers
    from app.engine.transport.transport import UpstreamTransport


class UpstreamRequest(httpx.Request):
    """One attempt's request, as bytes.

    Attributes:
        connections: those to the attempt's backend.

        head: as HTTP/1.1 has it.

        length: bytes of the body; 0 without one, CHUNKED (-1) when it is not known.

        first: what is there of the body.

        body: what follows of it; None when *first* is all.

        trailers: of the body, when *first* is all of it.

        replayable: the request may be sent again when a kept connection turns out to be closed.

        until: monotonic seconds at which the exchange has to be over.

        upgrade: the protocol that it asks for; b"" for none.

        expects: it asks whether the backend wants its body.

        header: the PROXY header that its connection has to have begun with; b"" for none.

        client: is told of 1xx responses.
    """

    header = b""
    upgrade = b""
    expects = False
    client: ClientConnection | None = None
    first = b""
    body: Body | None = None
    trailers: Sequence[Field] = ()
    replayable = False
    until = inf
    connection: Carrier | None = None
    connecting: asyncio.Task[Carrier] | None = None
    upload: asyncio.Task[None] | None = None
    error: ProxyError | None = None

    def __init__(self, method: str, attempt: Attempt, connections: Carriers, head: bytes, length: int = 0) -> None:
        self.method = method
        self.attempt = attempt
        self.connections = connections
        self.head = head
        self.length = length

    def again(self) -> bool:
        """Make it one that can be sent anew, with what was taken of its body so far. False when that is not kept."""
        if self.body is not None:
            if self.upload is not None:
                self.upload.cancel()
            taken = self.body.taken
            if taken is None:
                return False
            self.first = taken
            if self.body.complete:
                self.trailers, self.body = self.body.end or (), None
        return True

    def hint(self, hints: Iterable[tuple[int, Fields]]) -> None:
        """Hand on 1xx responses."""
        if self.client is not None:
            for status, fields in hints:
                self.client.hint(status, fields)

    def fail(self, error: ProxyError) -> None:
        """End the attempt from outside, whatever it waits for."""
        self.error = error
        if self.connection is not None:
            self.connection.fail(error)
        elif self.connecting is not None:
            self.connecting.cancel()

    def abandon(self) -> None:
        """Nobody wants the response any more: stop sending, cut the connection."""
        if self.upload is not None:
            self.upload.cancel()
        if self.connection is not None:
            self.connection.cut()

    @property
    def url(self) -> httpx.URL:  # type: ignore[override]  # httpx sets it as an attribute
        """Made when asked for."""
        backend = self.attempt.backend
        target = self.head.split(b" ", 2)[1].decode("latin-1")
        return httpx.URL(f"{backend.scheme}://{backend.authority.decode()}{target}")

    @property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # httpx sets it as an attribute
        """Made when asked for, of its head."""
        lines = self.head.split(b"\r\n")[1:-2]
        return httpx.Headers([(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)])


class UpstreamResponse(httpx.Response):
    """One attempt's response, on the connection that it comes over."""

    def __init__(self, request: UpstreamRequest, connection: Carrier, connections: Carriers) -> None:
        self._request = request
        self._sent = request  # httpx lets its own be None
        self.status_code = connection.status
        self.connection = connection
        self._connections = connections
        self.is_closed = False

    @property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # httpx sets it as an attribute
        """Made when asked for, of the end-to-end fields."""
        return httpx.Headers(self.connection.fields)

    async def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """The pieces of the body as they come."""
        while piece := await self.connection.more(monotonic()):
            yield piece

    def release(self) -> None:
        """Give the connection back, or cut it when the response was not taken whole."""
        if not self.is_closed:
            self.is_closed = True
            upload = self._sent.upload
            if upload is not None and not upload.done():
                upload.cancel()
                self.connection.reusable = False
            self._sent.connection = None  # whoever has it next must not be failed in place of this request
            self._connections.give(self.connection, monotonic())

    async def aclose(self) -> None:
        """As `release`."""
        self.release()


class Client(httpx.AsyncClient):
    """The one client of the data plane: no jar, no redirects, no environment, nothing between it and the transport."""

    def __init__(self, transport: UpstreamTransport) -> None:
        super().__init__(transport=transport, trust_env=False, follow_redirects=False)
        self.upstream = transport

    def send(self, request: httpx.Request, **_: Any) -> Coroutine[Any, Any, httpx.Response]:
        """Send an `UpstreamRequest`. Raises a ProxyError; the response comes with its body unread."""
        return self.upstream.handle_async_request(request)
