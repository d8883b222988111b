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

    keyed: ClassVar[bool] = False
    """Whether `pick` looks at the key: its pool then makes one of each request."""

    learns: ClassVar[bool] = False
    """Whether it wants to be told by `observe` what came of the attempts."""

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

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Learn from an attempt that ended; only called where `learns`.

        Args:
            attempt: complete: `ended` is set.

            now: monotonic seconds.

            retry_after: seconds, of the response's `Retry-After`; 0.0 without one.
        """
        return
