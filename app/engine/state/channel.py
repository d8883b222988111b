"""One connection to Redis on which everybody asks at once: what is asked in one turn of the loop leaves in one write.

    closed --run()--> open --an answer is late, the connection ends, an error that is not one request's--> closed

Connecting, TLS and authentication are redis-py's; its clients are not used: they take a connection for each command in
flight, and a timer for each.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import RedisError, ResponseError

CONNECT = 2.0
"""Seconds that making a connection may take; no request waits for that."""
_LOOK, _AGAIN = 0.8, 0.15
"""Parts of the timeout after which one looks, and looks again; only an answer that is late at both is late. For when it
was the loop that was late, the answer is there, and is read in between."""

_FIRST, _LAST = 0.1, 2.0
"""Seconds between one attempt to come back and the next: the first, and the longest."""

Reply = list[Any] | ResponseError | None
"""What Redis said, its refusal of this command, or nothing, for the channel has closed."""


class Closed(Exception):
    """The channel is closed; says why."""


class Channel:
    """A connection to *url*.

    Args:
        timeout: seconds that an answer may take; when one takes longer, the channel closes, and all that are waiting
            have no answer.

    Attributes:
        where: host and port, or path, as the log may have it.

        open: whether it is connected, and `opened` has had its answers.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._pool = ConnectionPool.from_url(
            url, protocol=2, client_name="l7lb", driver_info=None, socket_timeout=None, socket_connect_timeout=CONNECT
        )
        made = self._pool.connection_kwargs
        self.where = made.get("path") or f"{made.get('host', 'localhost')}:{made.get('port', 6379)}"
        self.open = False
        self._timeout = timeout
        self._asked: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._leaving: list[bytes] = []
        self._wake = asyncio.Event()
        self._over: asyncio.Future[str] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, command: bytes) -> asyncio.Future[Reply]:
        """Send *command*, made by `packed`; what comes is in the order of what was asked. Raises Closed."""
        if self._over is None or self._over.done():
            raise Closed
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        self._asked.append((future, loop.time()))
        if not self._leaving:
            self._wake.set()
        self._leaving.append(command)
        if self._timer is None:
            self._timer = loop.call_later(self._timeout * _LOOK, self._look)
        return future

    def close(self, reason: str) -> None:
        """Close; a `run` that is going on ends."""
        self.open = False
        if self._over is not None and not self._over.done():
            self._over.set_result(reason)
        asked, self._asked = self._asked, deque()
        for future, _ in asked:
            if not future.done():
                future.set_result(None)

    async def keep(self, opened: Callable[[], Awaitable[None]], closed: Callable[[Closed], bool], rng: Random) -> None:
        """Be connected, for ever.

        Args:
            opened: as `run` has it.

            closed: hears each time why it is not, and says whether it was before.

            rng: for the times between two attempts.
        """
        wait = _FIRST
        while True:
            try:
                await self.run(opened)
            except Closed as error:
                if closed(error):
                    wait = _FIRST
            await asyncio.sleep(wait * rng.uniform(0.5, 1.0))
            wait = min(wait * 2, _LAST)

    async def run(self, opened: Callable[[], Awaitable[None]]) -> None:
        """Connect, and carry questions and answers until that ends.

        Args:
            opened: what is asked first; the channel closes when it raises ResponseError or Closed.

        Raises:
            Closed: always, with the reason.
        """
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        self._leaving.clear()
        self._wake.clear()
        self._over = over = asyncio.get_running_loop().create_future()
        tasks: list[asyncio.Future[None]] = []
        try:
            async with asyncio.timeout(CONNECT):
                await connection.connect()  # type: ignore[no-untyped-call]
            tasks += [asyncio.ensure_future(self._read(connection)), asyncio.ensure_future(self._write(connection))]
            await opened()
            self.open = not over.done()
            await asyncio.wait([*tasks, over], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            raise Closed(over.result())
        except TimeoutError:
            raise Closed("connecting takes too long") from None
        except (RedisError, OSError) as error:
            raise Closed(str(error) or type(error).__name__) from None
        finally:
            self.close("it was stopped")
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            try:
                reply = await connection.read_response(timeout=math.inf)
            except ResponseError as error:
                reply = error
            if not self._asked:
                raise RedisError("an answer that nobody asked for")
            future, _ = self._asked.popleft()
            if not future.done():
                future.set_result(reply)

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            leaving, self._leaving = self._leaving, []
            await connection.send_packed_command(leaving, check_health=False)

    def _look(self, late: asyncio.Future[Reply] | None = None) -> None:
        """Close when the answer that was *late* at the last look is not there yet."""
        self._timer = None
        if not self._asked:
            return
        loop = asyncio.get_running_loop()
        future, asked = self._asked[0]
        if future is late:
            self.close(f"no answer within {self._timeout * 1000:g} ms")
            return
        wait = asked + self._timeout * _LOOK - loop.time()
        if wait > 0:
            self._timer = loop.call_later(wait, self._look)
        else:
            self._timer = loop.call_later(self._timeout * _AGAIN, self._look, future)


def packed(*parts: bytes) -> bytes:
    """A command as RESP has it."""
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]))
