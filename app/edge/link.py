"""What the edge is given by the app that it serves, and what it is told while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from app.edge.crowd import Crowd
from settings.edge import EdgeSettings

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.edge.sweep import Sweep

STATE_KEY: Final = "lb.edge"
"""Where the lifespan state keeps the link; also the scope extension under which the app finds its connection."""


class Turn(Protocol):
    """What a client's connection is busy with: one exchange, whoever carries it."""

    keep_alive: bool
    body_done: bool

    def disconnect(self) -> None:
        """The client has gone."""


class Driver(Protocol):
    """Carries an exchange without ASGI, by what `EdgeProtocol` offers: begin, answer, resume.

    It is the `direct` of the app that it belongs to: who puts anything around that app is not passed by.
    """

    def __call__(
        self,
        edge: Any,
        method: bytes,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
        http11: bool,
        keep_alive: bool,
    ) -> bool:
        """Take one request without a body; False when it is to go the general way."""


class Passed(Turn, Protocol):
    """A turn that a driver has taken."""

    exchange: Exchange
    target: bytes
    headers: list[tuple[bytes, bytes]]
    http11: bool


Identity = Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]
"""Makes the fields of a request those that say who the client is."""


def ignore(exchange: Exchange) -> None:
    """The observer of refused exchanges when nobody observes."""


class Link:
    """One per server; the lifespan puts it in its state under `STATE_KEY`.

    Attributes:
        settings: limits and deadlines; of connections that are made from now on.

        said: those of them that were said to the server by flag, which has the last word.

        refused: called with the exchange of each request that the edge answers itself; status and error are set.

        identify: what every request of a connection has to be given, by the connection's TLS, which is None over plain
            TCP: fields with the client's certificate. None when nobody is asked for one.

        crowd: how many connections there are.

        draining: every response says `connection: close` from now on.

        sweep: the deadlines of all connections; made by the first one, since it belongs to the running loop.
    """

    __slots__ = ("crowd", "draining", "identify", "refused", "said", "settings", "sweep")

    def __init__(
        self,
        settings: EdgeSettings | None = None,
        refused: Callable[[Exchange], None] = ignore,
        draining: bool = False,
        crowd: Crowd | None = None,
    ) -> None:
        self.said: dict[str, Any] = {}
        self.settings = settings or EdgeSettings()
        self.refused = refused
        self.identify: Callable[[Any], Identity] | None = None
        self.crowd = crowd or Crowd()
        self.draining = draining
        self.sweep: Sweep | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait on all connections."""
        return sum(connection.buffered for connection in self.sweep or ())

    def follow(self, settings: EdgeSettings) -> None:
        """Go by *settings*, but for what was said by flag."""
        self.settings = settings.model_copy(update=self.said) if self.said else settings
