"""Answers to unsafe requests: they say what is not to be used any more, or are ones to a GET, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.cache.invalidation import invalidated, speaks_for
from app.engine.caches.flights import length_of
from app.engine.caches.store import Purge, Store, Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from app.domain.cache.storing import Policy
    from app.domain.headers import Fields
    from app.engine.asgi import Message, Send
    from app.engine.caches.keys import Keys
    from app.engine.caches.visit import Visit


class Unsafe:
    """Goes by what the answers to unsafe requests of one group say.

    Args:
        rng: draws the stamps of what is stored.

        clock: wall-clock seconds.
    """

    def __init__(self, keys: Keys, policy: Policy, store: Store, rng: Random, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._keys = keys
        self._policy = policy
        self._store = store
        self._rng = rng

    async def changed(self, visit: Visit, requested: float, status: int, fields: Fields) -> Writer | None:
        """One has been answered: forget what it may have changed.

        Gives what the answer is to be written to, where it is that to a POST which says that a GET would have the same:
        RFC 9110 section 9.3.3.
        """
        exchange, now = visit.exchange, self.clock()
        scheme, host = exchange.scheme, exchange.host
        for url in invalidated(scheme, host, visit.target, status, fields):
            await self._store.purge(Purge("key", self._keys.of(scheme, host, url)), now)
        if visit.lookup.method != "POST" or not speaks_for(scheme, host, visit.target, fields):
            return None
        stored = self._policy.judge(
            visit.lookup, status, fields,
            extra=self._keys.extra_of(exchange, visit.lookup.headers, visit.target),
            stamp=self._rng.getrandbits(63), requested=requested, received=now,
        )  # fmt: skip
        if isinstance(stored, str) or stored.partial:
            return None
        return await self._store.write(self._keys.of(scheme, host, visit.target), stored, length_of(fields))


class Overheard:
    """The client of one unsafe request, with whom its answer is listened to."""

    __slots__ = ("_requested", "_send", "_unsafe", "_visit", "_writer")

    def __init__(self, unsafe: Unsafe, visit: Visit, send: Send) -> None:
        self._unsafe = unsafe
        self._visit = visit
        self._send = send
        self._requested = unsafe.clock()
        self._writer: Writer | None = None

    async def send(self, message: Message) -> None:
        """Pass on; before that, forget what the request has changed, or store."""
        if message["type"] == "http.response.start":
            found = self._unsafe.changed(self._visit, self._requested, message["status"], message["headers"])
            self._writer = await found
        elif self._writer is not None:
            await self._store(self._writer, message.get("body", b""), message.get("more_body", False))
        await self._send(message)

    async def _store(self, writer: Writer, piece: bytes, more: bool) -> None:
        if piece and not await writer.write(piece):
            self.close()
        elif not more:
            await writer.commit()
            self.close()

    def close(self) -> None:
        """Whatever was not stored is given up."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
