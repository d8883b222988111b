"""What the edge is given by the app that it serves, and what it is told while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from settings.edge import EdgeSettings

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.edge.sweep import Sweep

STATE_KEY = "lb.edge"
"""Where the lifespan state keeps the link; also the scope extension under which the app finds its connection."""


def ignore(exchange: Exchange) -> None:
    """The observer of refused exchanges when nobody observes."""


class Link:
    """One per server; the lifespan puts it in its state under `STATE_KEY`.

    Attributes:
        settings: limits and deadlines.

        refused: called with the exchange of each request that the edge answers itself; status and error are set.

        draining: every response says `connection: close` from now on.

        sweep: the deadlines of all connections; made by the first one, since it belongs to the running loop.
    """

    __slots__ = ("draining", "refused", "settings", "sweep")

    def __init__(
        self, settings: EdgeSettings | None = None, refused: Callable[[Exchange], None] = ignore, draining: bool = False
    ) -> None:
        self.settings = settings or EdgeSettings()
        self.refused = refused
        self.draining = draining
        self.sweep: Sweep | None = None
