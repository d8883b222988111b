"""A pool: its backends, which of them are available, and how one is picked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf

from app.domain.affinity import affinity_of
from app.domain.backend import Backend
from app.domain.errors import NoBackend
from app.domain.slow_start import SlowStart, level
from app.domain.strategies.strategy import Strategy
from settings.pools import PoolSettings


class Pool:
    """Backends, and how one is chosen.

    Attributes:
        backends: all of them, in the order of the settings.

        available: those that may be picked now, in the same order; kept up to date by `refresh`.

        affinity: makes the key of a request; None where nothing goes by it.

        observe: takes an attempt that ended, monotonic seconds, and those of its `Retry-After` where there is one; None
            where the strategy does not learn.
    """

    __slots__ = (
        "_again", "_choose", "_slow_start", "_strategy", "affinity", "available", "backends", "name", "observe",
        "settings", "timeouts",
    )  # fmt: skip

    def __init__(self, name: str, settings: PoolSettings, strategy: Strategy, backends: tuple[Backend, ...]) -> None:
        self.name = name
        self.settings = settings
        self.timeouts = settings.timeouts
        self.backends = backends
        self.available: tuple[Backend, ...] = ()
        self._strategy = strategy
        self._choose = strategy.pick  # bound once, not per request
        self._again = inf
        self._slow_start = SlowStart(settings.slow_start) if settings.slow_start.window else None
        keyed = ("client",) if getattr(strategy, "keyed", False) else ()
        self.affinity = affinity_of(settings.affinity or keyed)
        self.observe: Callable[..., None] | None = strategy.observe if getattr(strategy, "learns", False) else None
        self.refresh()

    def refresh(self) -> None:
        """Look again which backends are available: after a flip of health, a drain or a change of weight."""
        self.available = tuple(backend for backend in self.backends if backend.available)
        if self._slow_start is None:
            level(self.available)
            self._strategy.rebuild(self.available)
            return
        for backend in self.backends:
            if not backend.available:
                backend.entered = None
        # who entered does so with the next pick, which knows the time
        self._again = -inf
        self._choose = self._choose_warming

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

    def _choose_warming(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Stands in for the strategy's own `pick` while a backend is in slow start, and at no other time."""
        if now >= self._again:
            assert self._slow_start is not None
            self._again = self._slow_start.weigh(self.available, now)
            self._strategy.rebuild(self.available)
            if self._again == inf:
                self._choose = self._strategy.pick
        return self._strategy.pick(available, key, now)

    def back_in(self, now: float) -> float:
        """Seconds, at least 1, until a probe may bring a backend back."""
        waits = [backend.health.back_in(now) for backend in self.backends if backend.weight and not backend.draining]
        return max(1.0, min(waits, default=1.0))

    def _why(self, now: float) -> str:
        reasons = Counter(backend.absence(now) for backend in self.backends)
        return f"pool {self.name}: {', '.join(f'{n} {reason}' for reason, n in reasons.items()) or 'no backends'}"
