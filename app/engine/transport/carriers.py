"""What carries the exchanges with one backend: taken for each, and given back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.connections import Connections
    from settings.pools import PoolSettings


class Swept(Protocol):
    """What has a deadline, in monotonic seconds."""

    deadline: float

    @property
    def buffered(self) -> int:
        """Bytes that wait on it: for the backend to read them, or for a client's turn."""

    def expire(self, now: float) -> None:
        """The deadline has passed."""

    def cut(self) -> None:
        """End it at once."""


class Carriers(ABC):
    """The carriers to one backend, by the settings of its *pool*.

    *live* is the transport's set of all that is open, which its sweep walks.

    Attributes:
        keep_alive: seconds that an idle connection is kept.
    """

    __slots__ = (
        "_live", "idle_timeout", "keep_alive", "max_header_bytes", "max_headers", "response_timeout", "settings",
        "write_timeout",
    )  # fmt: skip

    def __init__(self, pool: PoolSettings, live: set[Swept]) -> None:
        self._live = live
        self.settings = pool
        timeouts = pool.timeouts
        self.response_timeout = min(timeouts.response or inf, timeouts.attempt or inf)
        self.idle_timeout = timeouts.idle or inf
        self.write_timeout = timeouts.write or inf
        self.keep_alive = timeouts.keep_alive
        self.max_header_bytes = pool.max_response_header_bytes
        self.max_headers = pool.max_response_headers

    @abstractmethod
    def take(self, header: bytes = b"") -> Carrier | None:
        """One that can carry an exchange at once, over a connection that began with *header*; None without one."""

    @abstractmethod
    def give(self, carrier: Carrier, now: float) -> None:
        """Take one back after its exchange: its connection is kept when it may serve again."""

    @abstractmethod
    async def connect(self, until: float = inf, header: bytes = b"") -> Carrier:
        """One over a new connection, which begins with *header*, a PROXY header.

        Raises:
            TotalTimeout: it was not there at *until*, in monotonic seconds; nothing was sent.

            ConnectFailed: or one of its kind; nothing was sent.

            Exhausted: it is not the backend's doing.
        """

    @abstractmethod
    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""

    @abstractmethod
    def switchable(self) -> Connections:
        """Those that carry what asks for another protocol: an upgrade is one of a connection of HTTP/1.1."""
