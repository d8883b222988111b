"""Backends and clients that speak WebSocket, by the `websockets` library; frames for those who speak bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.backend import in_loop
from tests.support.server import Balancer
from tests.support.until import until

Talk = Callable[[ServerConnection], Awaitable[None]]
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: " + "A" * 22 + "==",
)


async def echo(ws: ServerConnection) -> None:
    """Send everything back."""
    async for message in ws:
        await ws.send(message)


class Talker:
    """Plays *talk* on each connection.

    Attributes:
        sockets: every connection that shook hands, the newest last.
    """

    def __init__(self, talk: Talk = echo, **options: Any) -> None:
        self.talk = talk
        self.sockets: list[ServerConnection] = []
        self._server = in_loop(self._serve({"max_size": None, "ping_interval": None, **options}))
        self.port: int = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"{'https://localhost' if 'ssl' in options else 'http://127.0.0.1'}:{self.port}"

    async def _serve(self, options: dict[str, Any]) -> Server:
        return await serve(self._play, "127.0.0.1", 0, **options)

    async def _play(self, ws: ServerConnection) -> None:
        self.sockets.append(ws)
        with contextlib.suppress(ConnectionClosed):
            await self.talk(ws)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        in_loop(self._stop())

    async def _stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def first(self) -> ServerConnection:
        """The first connection, once it is there: a client may know of its handshake before the talk has begun."""
        return until(lambda: self.sockets[0] if self.sockets else None, "a WebSocket")  # type: ignore[return-value]

    def play(self, talk: Talk = echo) -> Self:
        """From now on play this; what was seen is forgotten."""
        self.talk = talk
        self.sockets.clear()
        return self


def talking(
    balancer: Balancer, target: str = "/", *, subprotocols: Sequence[str] = (), **options: Any
) -> AbstractContextManager[ClientConnection]:
    """A WebSocket through *balancer*."""
    made: AbstractContextManager[ClientConnection] = connect(
        f"{'wss' if balancer.tls else 'ws'}://localhost:{balancer.port}{target}",
        ssl=balancer.tls,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        **{"proxy": None, "max_size": None, "ping_interval": None, "open_timeout": 15, **options},
    )
    return made


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY, *, mask: bool = False, fin: bool = True) -> bytes:
    """A frame as bytes."""
    return bytes(Frame(opcode, payload, fin=fin).serialize(mask=mask))
