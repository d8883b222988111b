"""One try at one backend, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.domain.errors import ProxyError


class Attempt:
    """One try at one backend. Times are monotonic seconds; 0.0 is "did not happen".

    Attributes:
        started: when the backend was picked.

        connected: when a connection was there: at once for a kept one.

        reused: whether that connection had served before.

        first_byte: when the response head was complete.

        ended: when the last byte came, or the attempt failed.

        status: of the response; 0 without one.

        error: why there is no response, or not a whole one.
    """

    __slots__ = ("backend", "connected", "ended", "error", "first_byte", "reused", "started", "status")

    def __init__(self, backend: Backend, started: float) -> None:
        self.backend = backend
        self.started = started
        self.connected = 0.0
        self.first_byte = 0.0
        self.ended = 0.0
        self.status = 0
        self.reused = False
        self.error: ProxyError | None = None
