"""Asks a server about each request, as nginx's `auth_request` and Traefik's `forwardAuth` do. Not there when off.

    2xx           the request goes on, with the fields of the answer that the settings name
    5xx, none     503, or it goes on: `away`
    any other     is the client's answer, as it is: 401 with its challenge, a redirect to a login

The server is a pool, so that it is kept, probed, balanced, tried again and cut off as any other; what it is asked is a
GET without a body, on a record of its own which nobody logs.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from app.domain.errors import AuthAway, ProxyError
from app.domain.exchange import Exchange
from app.domain.headers import put, spelled
from app.engine.asgi import connection_of
from app.engine.mirror import Copy
from app.engine.relay import respond

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from app.engine.asgi import ASGIApp, ClientConnection, Message, Receive, Scope, Send
    from settings.identity import ForwardAuthSettings

LARGEST = 1 << 20
"""Bytes of an answer that a client may get."""
_TOLD = (b"x-forwarded-method", b"x-forwarded-uri")
_BODY = frozenset(
    (b"content-length", b"transfer-encoding", b"content-encoding", b"content-type", b"expect", b"upgrade", b"range")
)
_NOT_ASKED = _BODY | {*_TOLD, b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"}


class ForwardAuth:
    """Sets `exchange.user`, where the answer names it. Raises AuthAway, and ClientGone.

    Args:
        ask: forwards to the pool.
    """

    def __init__(self, app: ASGIApp, *, settings: ForwardAuthSettings, ask: ASGIApp) -> None:
        self.app = app
        self._ask = ask
        self._target = settings.path.encode()
        self._sent = frozenset(name.lower().encode() for name in settings.request_fields)
        self._backend = frozenset(name.lower().encode() for name in settings.backend_fields)
        self._taken = spelled(settings.backend_fields)
        self._client = frozenset(name.lower().encode() for name in settings.client_fields)
        self._user = (settings.user or "").lower().encode()
        self._allows = settings.away == "allow"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask, and go on, or answer as the server does."""
        exchange: Exchange = scope["lb.exchange"]
        watched = connection_of(scope, receive)
        question = Question(watched, self._target)
        try:
            await self._put(question, scope, watched)
        except ProxyError as error:
            if watched.concurrent and question.left:
                raise
            question.status = 0
            detail = error.detail or error.error_type
            _let_go(error)
            if not self._allows:
                raise AuthAway(f"the pool {question.exchange.pool} cannot be asked: {detail}") from None
        headers = scope["headers"]
        if 200 <= question.status < 300:
            self._admit(exchange, headers, question.fields)
        elif question.status == 0 or question.status >= 500:
            if not self._allows:
                raise AuthAway(f"the pool {question.exchange.pool} answers {question.status}")
            put(headers, self._taken, ())
        else:
            await respond(scope, send, question.status, _shown(question.fields), b"".join(question.body))
            return
        await self.app(scope, receive, send)

    async def _put(self, question: Question, scope: Scope, watched: ClientConnection) -> None:
        real: Exchange = scope["lb.exchange"]
        exchange = question.exchange = Exchange(monotonic(), real.peer, real.scheme, "GET", real.host, "")
        exchange.client, exchange.group, exchange.path = real.client, real.group, self._target.decode()
        path, _, query = self._target.partition(b"?")
        asked = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": real.scheme,
            "path": path.decode(), "raw_path": path, "query_string": query, "client": scope.get("client"),
            "server": scope.get("server"), "headers": self._fields(real, scope["headers"], watched.target),
            "lb.exchange": exchange, "extensions": {"lb.edge": question},
        }  # fmt: skip
        if watched.concurrent:
            watched.watch(question.leave)
        try:
            await self._ask(asked, question.receive, question.send)
        finally:
            if watched.concurrent:
                watched.watch(None)

    def _fields(self, real: Exchange, headers: Fields, target: bytes) -> Fields:
        fields = [
            field
            for field in headers
            if field[0] not in _NOT_ASKED
            and (not self._sent or field[0] in self._sent or field[0] in (b"host", b"x-forwarded-for"))
        ]
        return [*fields, (b"x-forwarded-method", real.method.encode()), (b"x-forwarded-uri", target)]

    def _admit(self, exchange: Exchange, headers: Fields, fields: Fields) -> None:
        put(headers, self._taken, [field for field in fields if field[0] in self._backend])
        exchange.fields += tuple(field for field in fields if field[0] in self._client)
        for name, value in fields:
            if name == self._user:
                exchange.user = value.decode("latin-1")


class Question(Copy):
    """What the server is asked, in place of a client's connection; its answer is kept, up to a size.

    Attributes:
        left: the client did not wait for it.
    """

    __slots__ = ("_gone", "body", "exchange", "fields", "left", "size", "status")

    exchange: Exchange

    def __init__(self, client: ClientConnection, target: bytes) -> None:
        super().__init__(client, b"", target)
        self.status = 0
        self.fields: Fields = []
        self.body: list[bytes] = []
        self.size = 0
        self.left = False
        self._gone: Callable[[], None] | None = None

    async def send(self, message: Message) -> None:
        """Keep it. Raises AuthAway when it is too much."""
        if message["type"] == "http.response.start":
            self.status, self.fields = message["status"], list(message["headers"])
            return
        piece = message.get("body", b"")
        self.size += len(piece)
        if self.size > LARGEST:
            raise AuthAway(f"an answer of over {LARGEST} bytes")
        if not 200 <= self.status < 300:
            self.body.append(piece)

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Call *gone* when the client of the request has gone."""
        self._gone = gone
        if self.left and gone is not None:
            gone()

    def leave(self) -> None:
        """The client has gone."""
        self.left = True
        if self._gone is not None:
            self._gone()


def _shown(fields: Fields) -> Fields:
    """What the client gets of an answer; framing and date are made anew."""
    return [field for field in fields if field[0] not in (b"content-length", b"date", b"via")]


def _let_go(error: ProxyError) -> None:
    """It holds its frames, which hold it: not the collector's work."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
