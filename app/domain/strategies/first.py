"""First: the first available backend takes everything, the others stand by; weights but 0 mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.backend import Backend
from app.domain.registry import NoOptions
from app.domain.strategies.strategy import Strategy


class First(Strategy):
    """The first in the order of the settings."""

    __slots__ = ()

    def __init__(self, options: NoOptions, **services: object) -> None:
        """Need nothing."""

    def suffices(self, available: Sequence[Backend]) -> bool:
        """Any one is meant to bear it all, so that the others being DOWN is no reason to go back to them."""
        return True

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose the first."""
        return available[0]
