"""The ASGI types of the data plane, and what the edge offers beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from app.domain.headers import Fields

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientConnection(Protocol):
    """The client's connection, for the length of one exchange: what `EdgeProtocol` offers as `lb.edge`.

    Attributes:
        target: the request target in origin form, as sent.

        concurrent: it can be watched while the request body is being read.

        upgrade: the protocols that the client would rather speak, lower-cased; () for none.

        expects: the client waits with its body until `receive` asks for it, or until it has its answer.
    """

    target: bytes
    concurrent: bool
    upgrade: tuple[bytes, ...]
    expects: bool

    @property
    def tls(self) -> Any:
        """The client's TLS, an `ssl.SSLObject`; None over plain TCP, and where it is not known."""

    @property
    def ready(self) -> bool:
        """Whether `receive` has something of the request body to return at once."""

    def hint(self, status: int, fields: Fields) -> None:
        """Send a 1xx response, where that can be done."""

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Call *gone* once, as soon as the client has gone; None stops watching."""

    def abort(self) -> None:
        """Cut the connection, so that the client cannot take what it has for the whole."""


class Switchable(ClientConnection, Protocol):
    """One whose client asks for another protocol.

    Attributes:
        keep_alive: another request may follow on the connection.
    """

    keep_alive: bool

    async def switch(
        self, fields: Fields, upgrade: bytes, heir: asyncio.BaseProtocol
    ) -> tuple[asyncio.Transport, bytes, Callable[[Exception | None], None]] | None:
        """Answer 101 with *fields*, and give the connection away to *heir*, which calls the last part at its end.

        Returns None when the client has gone; else the transport, and what has come of the other protocol already.
        """


class PlainConnection:
    """The same over nothing but ASGI, under another server: a task waits for `http.disconnect`."""

    __slots__ = ("_receive", "_task", "target")

    ready = False
    concurrent = False
    upgrade: tuple[bytes, ...] = ()
    tls = None
    expects = False  # it may; then that server says Continue when the body is asked for, as it always did

    def __init__(self, scope: Scope, receive: Receive) -> None:
        raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        query: bytes = scope["query_string"]
        self.target = b"%b?%b" % (raw, query) if query else raw
        self._receive = receive
        self._task: asyncio.Task[None] | None = None

    def hint(self, status: int, fields: Fields) -> None:
        """ASGI over HTTP/1.1 has none."""

    def watch(self, gone: Callable[[], None] | None) -> None:
        """See `ClientConnection.watch`. Not while the request body is still being read: both would `receive`."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if gone is not None:
            self._task = asyncio.get_running_loop().create_task(self._wait(gone))

    async def _wait(self, gone: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        gone()

    def abort(self) -> None:
        """Only an exception makes another server cut a connection."""
        raise ConnectionAbortedError("the response was cut short")


def connection_of(scope: Scope, receive: Receive) -> ClientConnection:
    """The client's connection of this exchange."""
    extensions = scope.get("extensions")
    edge: ClientConnection | None = extensions.get("lb.edge") if extensions else None
    return PlainConnection(scope, receive) if edge is None else edge


class Waits(Exception):
    """A layer that could not say at once, on the direct driver: it goes on with *layer*, along the general path."""

    def __init__(self, layer: ASGIApp) -> None:
        super().__init__()
        self.layer = layer
