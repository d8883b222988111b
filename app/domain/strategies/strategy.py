"""What a strategy is: it chooses one of the backends that are available."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from app.domain.backend import Backend
from app.domain.registry import NoOptions
from settings.models import Frozen


class Strategy(Protocol):
    """Chooses; health, draining and what was tried already were dealt with before it is asked.

    It is built with its options and, by keyword, `rng` (random.Random).
    """

    __slots__ = ()

    Options: ClassVar[type[Frozen]] = NoOptions

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Which backends are available, or their weights, changed: prepare what `pick` would else compute each time."""

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose one of *available*.

        Args:
            available: the very object that the last `rebuild` got; or, when some backends were tried already, a part
                of it. Never empty, of weight 1 or more each, in the order of the settings.

            key: what affinity goes by.

            now: monotonic seconds.
        """
        ...
