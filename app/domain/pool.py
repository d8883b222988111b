"""A pool: its backends, which of them are available, and how one is picked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from app.domain.backend import Backend
from app.domain.errors import NoBackend
from app.domain.strategies.strategy import Strategy
from settings.pools import PoolSettings


class Pool:
    """Backends, and how one is chosen.

    Attributes:
        backends: all of them, in the order of the settings.

        available: those that may be picked now, in the same order; kept up to date by `refresh`.
    """

    __slots__ = ("_choose", "_strategy", "available", "backends", "name", "settings", "timeouts")

    def __init__(self, name: str, settings: PoolSettings, strategy: Strategy, backends: tuple[Backend, ...]) -> None:
        self.name = name
        self.settings = settings
        self.timeouts = settings.timeouts
        self.backends = backends
        self.available: tuple[Backend, ...] = ()
        self._strategy = strategy
        self._choose = strategy.pick  # bound once, not per request
        self.refresh()

    def refresh(self) -> None:
        """Look again which backends are available: after a flip of health, a drain or a change of weight."""
        self.available = tuple(backend for backend in self.backends if backend.available)
        self._strategy.rebuild(self.available)

    def pick(self, key: bytes, tried: Sequence[Backend], now: float) -> Backend:
        """Pick a backend for one attempt.

        Args:
            key: what affinity goes by; only hashing strategies look at it.

            tried: backends that this exchange was at already: avoided while another is available.

            now: monotonic seconds.

        Raises:
            NoBackend: none is available; its `retry_after` is when a probe may bring one back.
        """
        available = self.available
        if not available:
            raise NoBackend(self._why(now), retry_after=self.back_in(now))
        if tried:
            available = tuple(backend for backend in available if backend not in tried) or available
        return self._choose(available, key, now)

    def back_in(self, now: float) -> float:
        """Seconds, at least 1, until a probe may bring a backend back."""
        waits = [backend.health.back_in(now) for backend in self.backends if backend.weight and not backend.draining]
        return max(1.0, min(waits, default=1.0))

    def _why(self, now: float) -> str:
        reasons = Counter(backend.absence(now) for backend in self.backends)
        return f"pool {self.name}: {', '.join(f'{n} {reason}' for reason, n in reasons.items()) or 'no backends'}"
