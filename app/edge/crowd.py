"""How many connections clients may have, all together and each, and which of them goes when there is no room.

    there is room                                        -> it comes in
    there is none, and some wait for nobody's answer     -> those go whose time would be over first; it comes in
    there is none, and all are at work                   -> it is closed
    its client has as many as one may have               -> it is closed

Who waits for nobody's answer is idle between two requests, silent, or slow with its head: whoever keeps us from
serving others by holding connections holds such ones, and loses the oldest first. nginx makes room in the same way
(`ngx_drain_connections`).
"""

from __future__ import annotations

import logging
from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING

from app.domain.bucket import network
from app.domain.client import TrustedProxies
from app.domain.seldom import Seldom

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.edge.connection import Connection

AT_ONCE = 32
"""So many go at a time, or an eighth of all, so that not each that comes is a look at all there are."""
PAUSE = 1e-5
"""Seconds, for each connection, from a look that found none to the next: a look takes a fiftieth of that."""

REASONS = ("full", "client")

log = logging.getLogger("l7lb.edge")


class Crowd:
    """The connections of one process.

    Attributes:
        most: connections for which there are descriptors; what the settings say goes before it.

        trusted: proxies in front of us, each of which has the connections of many clients.

        count: how many there are.

        refused: how many were closed as they came, by reason: no room at all, or none for their client.

        displaced: how many had to go for others.
    """

    def __init__(self) -> None:
        self.most = 0
        self.trusted = TrustedProxies(())
        self.count = 0
        self.refused = dict.fromkeys(REASONS, 0)
        self.displaced = 0
        self._of: dict[str, int] = {}
        self._look_again = 0.0
        self._seldom = Seldom()

    def admit(self, connection: Connection, present: Iterable[Connection]) -> bool:
        """Count *connection* in, which has to `leave`, or say that it has to be closed; *present* are the others."""
        settings = connection.settings
        most = settings.max_connections or self.most
        if most and self.count >= most and not self._make_room(connection.loop.time(), present):
            return self._refuse("full", connection)
        each = settings.max_connections_per_client
        if each and connection.client is not None and connection.client[0] not in self.trusted:
            client = network(connection.client[0])
            has = self._of.get(client, 0)
            if has >= each:
                return self._refuse("client", connection)
            self._of[client] = has + 1
            connection.counted = client
        else:
            connection.counted = ""
        self.count += 1
        return True

    def leave(self, connection: Connection) -> None:
        """Count *connection* out, if it is in."""
        client, connection.counted = connection.counted, None
        if client is None:
            return
        self.count -= 1
        if client:
            left = self._of[client] - 1
            if left:
                self._of[client] = left
            else:
                del self._of[client]

    def _make_room(self, now: float, present: Iterable[Connection]) -> bool:
        if now < self._look_again:
            return False
        idle = [one for one in present if one.counted is not None and one.unoccupied]
        if not idle:
            self._look_again = now + self.count * PAUSE
            return False
        oldest = nsmallest(max(1, min(AT_ONCE, self.count // 8)), idle, key=attrgetter("read_deadline"))
        for one in oldest:
            self.leave(one)
            one.transport.abort()  # at once: a client that does not answer a TLS goodbye would keep its descriptor
        self.displaced += len(oldest)
        self._say(now, "%d connections are all there is room for: %d that waited were closed", self.count, len(oldest))
        return True

    def _refuse(self, reason: str, connection: Connection) -> bool:
        self.refused[reason] += 1
        now = connection.loop.time()
        if reason == "full":
            self._say(
                now, "%d connections are all there is room for, and all are at work: no other is taken", self.count
            )
        else:
            self._say(now, "no other connection of %s is taken", connection.client[0] if connection.client else "unix")
        return False

    def _say(self, now: float, words: str, *said: object) -> None:
        if self._seldom.now(now):
            log.warning(words, *said)
