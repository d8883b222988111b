"""One request on its way to a pool: what all of its attempts send, and what is going on for it now."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from app.domain.deadline import told
from app.domain.errors import ClientGone

if TYPE_CHECKING:
    from app.domain.attempt import Attempt
    from app.domain.backend import Backend
    from app.domain.errors import ProxyError
    from app.domain.exchange import Exchange
    from app.domain.headers import Fields
    from app.engine.body import Body
    from app.engine.client import UpstreamRequest


class Outbound:
    """One request, prepared once; each attempt sends it.

    Attributes:
        headers: as the client sent them.

        target: the request target, as backends get it.

        host: value of the Host field; b"" where each backend gets its own.

        lines: all other field lines, each with its CRLF.

        length: of the body in bytes; 0 without one, CHUNKED when it is not known.

        key: what affinity goes by.

        stuck: where a cookie keeps the client.

        settled: that cookie is as it should be.

        deadline: name of the field that tells the backend how long it has; b"" for none.

        upgrade: the protocol that it asks for, whose 101 makes a tunnel of it; b"" for none.

        header: the PROXY header of its client, which a connection has to begin with; b"" for none.

        expects: the backend is asked whether it wants the body (Expect: 100-continue).

        body: None without one, and until the general path begins to read it.

        until: monotonic seconds at which the exchange has to be over.

        number: attempts that were begun.

        attempt: the one that is going on; None between two.

        requests: what is on the wire for it: one, and its hedge.
    """

    __slots__ = (
        "_waiter",
        "attempt",
        "body",
        "deadline",
        "error",
        "exchange",
        "expects",
        "header",
        "headers",
        "host",
        "key",
        "length",
        "lines",
        "method",
        "number",
        "requests",
        "settled",
        "stuck",
        "target",
        "until",
        "upgrade",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, headers: Fields, target: bytes, host: bytes, lines: bytes, length: int, key: bytes
    ) -> None:
        self.exchange = exchange
        self.headers = headers
        self.method = exchange.method
        self.target = target
        self.host = host
        self.lines = lines
        self.length = length
        self.key = key
        self.stuck: Backend | None = None
        self.settled = False
        self.deadline = b""
        self.upgrade = b""
        self.header = b""
        self.expects = False
        self.body: Body | None = None
        self.until = inf
        self.number = 0
        self.attempt: Attempt | None = None
        self.requests: tuple[UpstreamRequest, ...] = ()
        self.error: ProxyError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def head(self, attempt: Attempt) -> bytes:
        """The head that *attempt* sends, as HTTP/1.1 has it."""
        host = self.host or attempt.backend.authority
        lines = self.lines
        if self.deadline and self.until < inf:
            lines += b"%b: %b\r\n" % (self.deadline, told(self.deadline, self.until - attempt.started))
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (self.method.encode(), self.target, host, lines)

    def let_go(self) -> None:
        """It is not sent again: what follows may last for hours, and need not hold what it began with."""
        for request in self.requests:
            request.head = request.head.partition(b"\r\n")[0]
        self.requests = ()
        self.lines = b""
        self.headers = []

    def client_gone(self) -> None:
        """The client has gone: whatever is done for it is in vain."""
        self.fail(ClientGone("the client went away before the response was complete"))

    def fail(self, error: ProxyError) -> None:
        """End the exchange from outside, whatever it waits for."""
        self.error = error
        for request in self.requests:
            request.fail(error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def rest(self, seconds: float) -> None:
        """Do nothing for that long. Raises what the exchange is ended with."""
        await self.wait(asyncio.get_running_loop().create_future(), seconds)

    async def wait(self, waiter: asyncio.Future[None], seconds: float) -> bool:
        """Wait for *waiter*, or *seconds*; True when it was the former. Raises what the exchange is ended with."""
        if self.error is not None:
            raise self.error
        self._waiter = waiter
        try:
            async with asyncio.timeout(seconds):
                await waiter
            in_time = True
        except TimeoutError:
            in_time = False
        finally:
            self._waiter = None
        if self.error is not None:  # it was ended in the moment in which the time was over, or its turn came
            raise self.error
        return in_time
