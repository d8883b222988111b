"""What a strategy is: it chooses one of the backends that are available."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.registry import NoOptions
from settings.models import Frozen


class Strategy(Protocol):
    """Chooses; health, draining and what was tried already were dealt with before it is asked.

    It is built with its options and, by keyword, `rng` (random.Random).
    """

    __slots__ = ()

    Options: ClassVar[type[Frozen]] = NoOptions

    keyed: bool = False
    """Whether `pick` looks at the key: its pool then makes one of each request."""

    learns: bool = False
    """Whether it wants to be told by `observe` what came of the attempts."""

    header: bytes = b""
    """Name, in lower case, of the response field in which backends say their load for `report`; b"" for none."""

    def follow(self, backends: Sequence[Backend]) -> None:
        """Which backends the pool has, be they available or not: before the first `rebuild`, and when they change."""
        return

    def suffices(self, available: Sequence[Backend]) -> bool:
        """Whether these few are meant to bear it all, so that panic, which uses the unfit as well, helps nobody."""
        return False

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Which backends are available, or their weights, changed: prepare what `pick` would else compute each time."""

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose one of *available*.

        Args:
            available: the very object that the last `rebuild` got; or, when some backends were tried already, a part
                of it. Never empty, of weight and share 1 or more each, in the order of the settings. Traffic goes by
                `share`; by `weight` only where a key has to stay where it is.

            key: what affinity goes by.

            now: monotonic seconds.
        """
        ...

    def charge(self, backend: Backend) -> None:
        """Count a pick that was not ours, because a cookie made it, as one of this available backend's turns."""
        return

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Learn from an attempt that ended; only called where `learns`.

        Args:
            attempt: complete: `ended` is set.

            now: monotonic seconds.

            retry_after: seconds, of the response's `Retry-After`; 0.0 without one.
        """
        return

    def report(self, backend: Backend, load: float, now: float) -> None:
        """Take what a backend says of its own load: 0.0 is idle, 1.0 is full; only called where `header` is set."""
        return
