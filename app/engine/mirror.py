"""Copies of requests for another pool, whose answers nobody sees.

    body     COLLECTING --its end--> the copy leaves
                        --over max_body, or the request ended before it--> no copy

A request without a body is copied at once. The real request never waits for its copy: that is a task of its own, with a
record of its own which nobody logs, and whatever becomes of it ends there. `max_in_flight` counts from the first
byte collected to the last of the answer, so that the memory is bounded: `max_in_flight * max_body` for a group.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any

from app.domain.errors import ProxyError
from app.domain.exchange import Exchange
from app.domain.request_head import CHUNKED
from app.engine.asgi import connection_of
from app.engine.beside import Beside

if TYPE_CHECKING:
    from app.domain.headers import Fields
    from app.domain.metrics import Samples
    from app.engine.asgi import ASGIApp, ClientConnection, Message, Receive, Scope, Send
    from settings.traffic import MirrorSettings

_log = logging.getLogger("l7lb")


class Copies(Beside):
    """All copies of all groups.

    Attributes:
        counts: by group, pool and outcome, how many: `answered`, whatever the answer; `failed`; and those that were not
            made: `full`, for there were `max_in_flight`, `too_long`, and `incomplete`, for the body did not come to its
            end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def sample(self) -> Samples:
        """Group, pool and outcome as labels, and how many: what `l7lb_mirrored_total` says."""
        return tuple(self.counts.items())


class Mirror:
    """Copies the requests that go through it.

    Args:
        group: whose they are.

        forwarder: carries the copies.

        copies: keeps them, and counts.

        rng: draws which requests are copied.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        group: str,
        settings: MirrorSettings,
        forwarder: ASGIApp,
        copies: Copies,
        rng: Random,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.app = app
        self.max_body = settings.max_body
        self._share = settings.share
        self._most = settings.max_in_flight
        self._flying = 0
        self._forwarder = forwarder
        self._copies = copies
        self._labels = (group, settings.pool)
        self._rng = rng
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on with the request, and have its copy made on the way."""
        if self._rng.random() >= self._share or connection_of(scope, receive).upgrade:  # a copy cannot be talked to
            await self.app(scope, receive, send)
            return
        length = length_of(scope["headers"])
        if length > self.max_body or self._flying >= self._most:
            self._count("too_long" if length > self.max_body else "full")
            await self.app(scope, receive, send)
            return
        self._flying += 1
        client = connection_of(scope, receive)
        if length == 0:
            self.copy(scope, Copy(client, b""))
            await self.app(scope, receive, send)
            return
        passing = Passing(self, scope, receive, client)
        try:
            await self.app(scope, passing.receive, send)
        finally:
            passing.drop("incomplete")

    def copy(self, scope: Scope, copy: Copy) -> None:
        """Send the copy of a request."""
        self._copies.start(self._carry(scope, copy))

    def ended(self, outcome: str) -> None:
        """A copy is over, or will not be made."""
        self._flying -= 1
        self._count(outcome)

    def _count(self, outcome: str) -> None:
        self._copies.counts[*self._labels, outcome] += 1

    async def _carry(self, scope: Scope, copy: Copy) -> None:
        real: Exchange = scope["lb.exchange"]
        exchange = Exchange(self._clock(), real.peer, real.scheme, real.method, real.host, real.path)
        exchange.client, exchange.group = real.client, real.group
        outcome = "failed"
        try:
            # what the request has of its client's connection is not for its copy
            own = {**scope, "lb.exchange": exchange, "extensions": {"lb.edge": copy}}
            await self._forwarder(own, copy.receive, copy.send)
            outcome = "answered"
        except ProxyError as error:
            for failed in (error, *(attempt.error for attempt in exchange.attempts)):
                if failed is not None:  # it holds its frames, which hold it: not the collector's work
                    failed.__traceback__ = failed.__cause__ = failed.__context__ = None
        except Exception:
            _log.exception("a defect of ours, please report it")
        finally:
            self.ended(outcome)


class Passing:
    """A request body that is collected while it goes by."""

    __slots__ = ("_client", "_mirror", "_pieces", "_receive", "_scope", "_size")

    def __init__(self, mirror: Mirror, scope: Scope, receive: Receive, client: ClientConnection) -> None:
        self._mirror = mirror
        self._scope = scope
        self._receive = receive
        self._client = client
        self._pieces: list[bytes] | None = []
        self._size = 0

    async def receive(self) -> Message:
        """The next message, as it came."""
        message = await self._receive()
        pieces = self._pieces
        if pieces is not None and message["type"] == "http.request":
            piece = message.get("body", b"")
            pieces.append(piece)
            self._size += len(piece)
            if self._size > self._mirror.max_body:
                self.drop("too_long")
            elif not message.get("more_body", False):
                self._pieces = None
                self._mirror.copy(self._scope, Copy(self._client, b"".join(pieces)))
        return message

    def drop(self, outcome: str) -> None:
        """Make no copy of it; nothing happens when one was made, or it was dropped already."""
        if self._pieces is not None:
            self._pieces = None
            self._mirror.ended(outcome)


class Copy:
    """A copied request, in place of the client's connection: its body is there, its answer is thrown away."""

    __slots__ = ("_body", "target", "tls")

    concurrent = True
    ready = True
    upgrade: tuple[bytes, ...] = ()
    expects = False

    def __init__(self, client: ClientConnection, body: bytes, target: bytes = b"") -> None:
        self.target = target or client.target
        self.tls: Any = client.tls
        self._body: bytes | None = body

    async def receive(self) -> Message:
        """The body in one piece."""
        body, self._body = self._body, None
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Throw it away."""

    def hint(self, status: int, fields: Fields) -> None:
        """Throw it away."""

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Nobody is there who could go away."""

    def abort(self) -> None:
        """Nobody is there to be cut."""


def length_of(headers: Fields) -> int:
    """Bytes of the body of a request with these fields; 0 without one, CHUNKED when that is not known before its end.

    Source: RFC 9112 section 6.3.
    """
    length = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            return CHUNKED
        if name == b"content-length":
            length = int(value)
    return length
