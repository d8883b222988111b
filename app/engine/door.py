"""A client's WebSocket under another server than ours, seen as the request that asks for it.

That server has shaken hands already, or will, and shows messages, not bytes. So that layers, routing and attempts are
the same for it, the request is made anew, with a handshake of our own: the client's key and its extensions end at the
server. The backend's 101 is the server's `accept` then, any other response is its denial.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.utils import accept_key, generate_key

from app.domain.errors import ClientGone, ResponseInvalid
from app.domain.headers import listed, without_listed
from app.engine.asgi import PlainConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.domain.headers import Fields
    from app.engine.asgi import Message, Receive, Scope, Send

POLICY_VIOLATION = 1008

_OWN = frozenset(
    (b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-protocol",
     b"sec-websocket-accept", b"content-length", b"transfer-encoding")
)  # fmt: skip
_LASTING = ("type", "extensions", "lb.exchange")
"""What layers ask of a scope at the end of it all."""


class Door(PlainConnection):
    """A client's WebSocket as the request for it.

    Attributes:
        scope: of that request.
    """

    __slots__ = ("_denies", "_key", "_send", "_subprotocols", "keep_alive", "scope")

    ready = True
    concurrent = True
    upgrade = (b"websocket",)

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive)
        self._send = send
        self.keep_alive = False
        extensions = scope.get("extensions") or {}
        self._denies = "websocket.http.response" in extensions
        self._key = generate_key()
        self._subprotocols: list[str] = list(scope.get("subprotocols") or ())
        headers: Fields = [field for field in without_listed(scope["headers"]) if field[0] not in _OWN]
        headers += [(b"sec-websocket-version", b"13"), (b"sec-websocket-key", self._key.encode())]
        if self._subprotocols:
            headers.append((b"sec-websocket-protocol", ", ".join(self._subprotocols).encode("latin-1")))
        self.scope: Scope = {
            **scope,
            "type": "http",
            "method": "GET",
            "scheme": "https" if scope.get("scheme") == "wss" else "http",
            "headers": headers,
            "extensions": {**extensions, "lb.edge": self},
        }

    async def opened(self) -> bool:
        """Wait for the server to say that there is one. False when there is none any more."""
        message = await self._receive()
        return bool(message["type"] == "websocket.connect")

    async def receive(self) -> Message:
        """The request has no body."""
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """Deny it with a response; where the server has no way to, it is its 403."""
        if message["type"] == "http.response.start":
            if self._denies:
                status = message["status"]
                if status not in HTTPStatus._value2member_map_:  # not every server can send that
                    status = status // 100 * 100
                await self._tell({**message, "type": "websocket.http.response.start", "status": status})
            else:
                await self._tell({"type": "websocket.close", "code": POLICY_VIOLATION})
        elif self._denies:
            await self._tell({**message, "type": "websocket.http.response.body"})

    def subprotocol(self, fields: Fields) -> str | None:
        """The one that the backend has chosen, by the *fields* of its 101.

        Raises ResponseInvalid where it has not shaken hands (RFC 6455 section 4.1).
        """
        if listed(b"sec-websocket-accept", fields) != accept_key(self._key).encode():
            raise ResponseInvalid("the 101 has not the Sec-WebSocket-Accept of the handshake")
        if listed(b"sec-websocket-extensions", fields):
            raise ResponseInvalid("the 101 has an extension that nobody asked for")
        chosen = listed(b"sec-websocket-protocol", fields).decode("latin-1") or None
        if chosen is not None and chosen not in self._subprotocols:
            raise ResponseInvalid("the 101 has a subprotocol that nobody asked for")
        return chosen

    async def accept(self, subprotocol: str | None, fields: Fields) -> None:
        """Tell the client that the backend has shaken hands. The request is over: its scope is let go of."""
        headers = [field for field in fields if field[0] not in _OWN]
        await self._tell({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})
        kept = {name: self.scope[name] for name in _LASTING}
        self.scope.clear()
        self.scope.update(kept)

    def next(self) -> Awaitable[Message]:
        """What the client says: a message, or that it has gone."""
        return self._receive()

    async def say(self, message: str | bytes) -> None:
        """Tell the client something."""
        await self._tell({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})

    async def close(self, code: int, reason: str) -> None:
        """Close the client's side."""
        await self._tell({"type": "websocket.close", "code": code, "reason": reason})

    async def _tell(self, message: Message) -> None:
        """Raises ClientGone, where the server says so."""
        try:
            await self._send(message)
        except OSError as fault:  # so it is with ASGI 2.4
            raise ClientGone("the client went away") from fault

    async def _wait(self, gone: Callable[[], None]) -> None:
        if (await self._receive())["type"] == "websocket.disconnect":
            gone()
