"""A request under another server than ours, put as our edge would have put it, and its response as ASGI has it.

The head is checked and the body measured here, for what the server has read is written anew, as HTTP/1.1 towards a
backend, and must be one request there, too. What ASGI has for a response beside head and body goes by its extensions,
where the server has them: trailers, Early Hints.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from app.domain.errors import BadRequest, HeadTooLarge, NotSupported, ProxyError
from app.domain.grpc import called
from app.domain.handed_over import UNSAID, taken_over
from app.domain.headers import listed, takes_trailers
from app.domain.request_head import CHUNKED
from app.engine.asgi import PlainConnection
from app.engine.resets import Http2Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.domain.headers import Field, Fields
    from app.engine.asgi import ASGIApp, Message, Receive, Scope, Send
    from settings.edge import EdgeSettings

_CHUNKED = (b"transfer-encoding", b"chunked")
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"))
_SILENT = "uvicorn.protocols.http.zttp_h2_impl"
"""Its `receive` never says that there is no body (uvicorn 0.54): what usually has none is taken to have none."""
_STATUS = (b"grpc-status", b"grpc-message", b"grpc-status-details-bin")


class Front(PlainConnection):
    """A request as another server hands it over, within the *limits* of heads.

    Attributes:
        scope: of the request as our app takes it.

        fault: why it may not go on; None where it may.
    """

    concurrent = True

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: EdgeSettings) -> None:
        super().__init__(scope, receive)
        self._send = send
        self._stream = Http2Stream.of(receive, send)
        extensions = scope.get("extensions") or {}
        self.fault: ProxyError | None = None
        headers, length = scope["headers"], UNSAID
        try:
            size = len(self.target) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > limits.max_header_bytes or len(headers) > limits.max_headers:
                raise HeadTooLarge("the request head is too large")
            headers, length = taken_over(scope["method"], scope["query_string"], headers, scope["http_version"])
        except ProxyError as fault:
            self.fault = fault
        self._calls = scope["http_version"] >= "2" and called(listed(b"content-type", headers))
        if self._calls and "http.response.trailers" not in extensions:
            self.fault = NotSupported("gRPC takes trailers, which this server does not send: serve it by hypercorn")
        self._theirs: Fields = scope["headers"]
        self._fields = headers
        self._length = length
        self._count = 0
        self._done = length == 0
        self._waiting: deque[Message] = deque()
        self._watcher: Callable[[], None] | None = None
        self._hints: asyncio.Task[None] | None = None
        self._hinted = "http.response.early_hint" in extensions
        self._trails = "http.response.trailers" in extensions and takes_trailers(headers)
        self._status: Fields = []  # what gRPC has in the head where there is no body, and its clients want in trailers
        self.scope: Scope = {**scope, "headers": headers, "extensions": {**extensions, "lb.edge": self}}

    @property
    def ready(self) -> bool:  # type: ignore[override]  # there it never is
        """See `ClientConnection.ready`."""
        return bool(self._waiting)

    async def opened(self) -> bool:
        """Find out whether a body comes where the head does not say. False when the client has gone meanwhile.

        A call of gRPC always has one, and may wait for our answer before it comes; who waits for a 100 does so, too.
        """
        if self._length != UNSAID or self.fault is not None:
            return True
        self._length = CHUNKED
        if not self._calls and not listed(b"expect", self._fields):
            server = type(getattr(self._receive, "__self__", None)).__module__
            if server == _SILENT and self.scope["method"] in _BODILESS:
                self._length = 0
            else:
                message = await self._receive()
                if message["type"] != "http.request":
                    return False
                if message.get("body") or message.get("more_body"):
                    self._waiting.append(message)
                else:
                    self._length = 0
        self._done = self._length == 0
        if self._length:
            self._fields.append(_CHUNKED)
        return True

    async def run(self, app: ASGIApp) -> None:
        """Have *app* answer. A response that it cuts is reset, or ends with an error, whichever the server sees."""
        try:
            await app(self.scope, self.receive, self.send)
        except ConnectionAbortedError:
            if self._stream is None:
                raise
            await self._stream.reset()
        finally:
            self.watch(None)
            if self._hints is not None:
                self._hints.cancel()

    async def receive(self) -> Message:
        """The next piece of the request body. Raises BadRequest where it is not as long as the head says."""
        message = self._waiting.popleft() if self._waiting else await self._receive()
        if message["type"] != "http.request":
            if self._stream is not None:
                await self._stream.forget()
            return message
        self._count += len(message.get("body", b""))
        self._done = not message.get("more_body", False)
        if self._length >= 0 and (self._count > self._length or (self._done and self._count < self._length)):
            raise BadRequest("the request body is not as long as Content-Length says")
        if self._done:
            self.watch(self._watcher)
        return message

    def watch(self, gone: Callable[[], None] | None) -> None:
        """See `ClientConnection.watch`. While the body is being read, whoever does so sees that the client has gone."""
        self._watcher = gone
        super().watch(gone if self._done else None)

    async def _wait(self, gone: Callable[[], None]) -> None:
        await super()._wait(gone)
        if self._stream is not None:
            await self._stream.forget()

    def hint(self, status: int, fields: Fields) -> None:
        """See `ClientConnection.hint`: the links of a 103 are what ASGI has."""
        links = [value for name, value in fields if name == b"link"]
        if self._hinted and status == 103 and links:
            self._hints = asyncio.get_running_loop().create_task(self._hint(self._hints, links))

    async def _hint(self, before: asyncio.Task[None] | None, links: list[bytes]) -> None:
        if before is not None:
            await before
        await self._send({"type": "http.response.early_hint", "links": links})

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            if self._hints is not None:
                await self._hints
                self._hints = None
            await self._send(self._head(message) if self._trails else message)
            return
        if message.get("more_body", False):
            await self._send(message)
            if self._stream is not None:
                await self._stream.passed()
            return
        trailers: list[Field] = [*self._status, *message.get("lb.trailers", ())] if self._trails else []
        if self._stream is not None and not self._done:
            await self._send({**message, "more_body": True})
            await self._stream.end(trailers)
            return
        await self._send(message)
        if self._trails:
            if not trailers:  # hypercorn would send an empty block, which its library cannot do
                self._theirs[:] = [field for field in self._theirs if field[0] != b"te"]
            await self._send({"type": "http.response.trailers", "headers": trailers, "more_trailers": False})

    def _head(self, message: Message) -> Message:
        """With the word that trailers follow, which nobody knows yet."""
        headers: Fields = message["headers"]
        if listed(b"content-length", headers):
            self._trails = False  # it comes out of one piece, without any
            return message
        if self._calls:
            self._status = [field for field in headers if field[0] in _STATUS]
            headers = [field for field in headers if field[0] not in _STATUS]
        return {**message, "headers": headers, "trailers": True}
