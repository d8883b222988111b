"""A layer with something inside that notes what gets through, and requests to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import Message, Receive, Scope, Send


class Inside:
    """The app inside of a layer.

    Attributes:
        seen: the fields of each request that got through.
    """

    def __init__(self) -> None:
        self.seen: list[Fields] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(list(scope["headers"]))


async def ask(
    layer: Callable[..., Any], *headers: tuple[bytes, bytes], client: str = "192.0.2.1", query: bytes = b""
) -> Exchange:
    """One request by ASGI; raises as the layer does."""
    exchange = Exchange(0.0, client, "http", "GET", "example.org", "/")
    scope = {"type": "http", "method": "GET", "headers": list(headers), "query_string": query, "path": "/"}

    async def receive() -> Message:
        raise AssertionError("nobody asks for the body")

    async def send(message: Message) -> None:
        raise AssertionError("nobody answers")

    await layer({**scope, "lb.exchange": exchange}, receive, send)
    return exchange


def enter(layer: Any, *headers: tuple[bytes, bytes]) -> Exchange:
    """One request as the direct driver has it; raises as the layer does."""
    exchange = Exchange(0.0, "192.0.2.1", "http", "GET", "example.org", "/")
    layer.enter(exchange, list(headers))
    return exchange
