"""One server that we forward to: an identity, and live state that survives a reload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import inf
from typing import Final
from urllib.parse import urlsplit

from app.domain.breaker import OPEN, Breaker
from app.domain.health import Health, State
from settings.pools import BackendSettings
from settings.resilience import BreakerSettings, HealthSettings

_PORTS: Final = {"http": 80, "https": 443, "h2c": 80}
_UNSAID: Final = BreakerSettings()


def locate(spec: BackendSettings) -> tuple[str, str, int]:
    """Scheme, host (IPv6 without brackets) and port."""
    parts = urlsplit(spec.url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]


class Backend:
    """One backend of one pool.

    Attributes:
        id: unique in its pool; stays over a reload.

        pool: name of the pool.

        authority: value of the Host field; without the port where it is the scheme's own.

        weight: share of the traffic beside the others; 0 takes none.

        level: for the strategy priority.

        max_in_flight: above which it takes nothing more; 0 is without limit. Kept by the pool, which has the default.

        share: what its weight counts for now, which is less while it warms up; only beside the shares of the others
            of its pool does it mean anything. Kept by the pool.

        entered: monotonic seconds, since when it takes requests; None while it does not, or that is not known.

        in_flight: requests being served, up to the last byte of the response.

        draining: finishes what it has, takes nothing new.

        let_go: monotonic seconds, from when on it keeps no client either that a cookie or a tunnel keeps at it, while
            it drains or is leaving.

        leaving: its pool has it no more: it finishes what it has, and takes nothing new from anybody.

        health: what its probes say.

        breaker: what its answers say; configured by the pool.
    """

    __slots__ = (
        "authority", "breaker", "draining", "entered", "health", "host", "id", "in_flight", "leaving", "let_go",
        "level", "max_in_flight", "pool", "port", "scheme", "share", "spec", "weight",
    )  # fmt: skip

    def __init__(self, pool: str, spec: BackendSettings, health: HealthSettings) -> None:
        self.scheme, self.host, self.port = locate(spec)
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode()
        self.id = spec.id
        self.pool = pool
        self.spec = spec
        self.weight = self.share = spec.weight
        self.level = spec.level
        self.max_in_flight = spec.max_in_flight or 0
        self.in_flight = 0
        self.entered: float | None = None
        self.draining = False
        self.let_go = inf
        self.leaving = False
        self.health = Health(health)
        self.breaker = Breaker(_UNSAID)

    def __repr__(self) -> str:
        return f"<Backend {self.pool}/{self.id}>"

    def configure(self, spec: BackendSettings, health: HealthSettings) -> None:
        """Go by other settings of the same backend; what is going on at it is kept."""
        self.spec = spec
        self.weight = spec.weight
        self.level = spec.level
        self.health.configure(health)

    @property
    def takes_part(self) -> bool:
        """Whether it is meant to take requests, be it fit to or not."""
        return self.weight > 0 and not self.draining and not self.leaving

    @property
    def available(self) -> bool:
        """Whether it may be picked now, as far as it knows itself; it may be full."""
        return self.health.state is State.UP and self.takes_part and self.breaker.state is not OPEN

    @property
    def full(self) -> bool:
        """Whether it has as many requests as it may."""
        return 0 < self.max_in_flight <= self.in_flight

    def admits(self, panic: bool) -> bool:
        """Whether it has room for another request; what a half-open breaker lets through means nothing in a panic."""
        return not self.full and (panic or self.breaker.admits)

    def keeps(self, draining: bool, now: float) -> bool:
        """Whether a client that a cookie keeps at it may stay: not where it fails, not even in a panic.

        *draining* says whether one that is draining keeps its clients, which it does until it lets them go.
        """
        fit = draining and now < self.let_go and self.health.state is State.UP if self.draining else self.available
        return fit and not self.leaving and self.admits(False)

    @property
    def idle(self) -> bool:
        """Whether it has none: one that is draining may go."""
        return self.in_flight == 0

    def absence(self, now: float) -> str:
        """Why it takes no request now; "" when it does.

        The first of: draining, down, checking, weight 0, ejected with the reason and how long for, half-open (it has
        as many as may find out how it is), full.
        """
        if self.draining or self.leaving:
            return "draining"
        if self.health.state is not State.UP:
            return self.health.state.value
        if not self.weight:
            return "weight 0"
        breaker = self.breaker
        if breaker.state is OPEN:
            return f"ejected: {breaker.reason} until {max(0.0, breaker.until - now):.0f}s from now"
        if not breaker.admits:
            return "half-open"
        return "full" if self.full else ""

    def back_in(self, now: float) -> float:
        """Seconds until a probe, or the end of its ejection, may bring it back; 0.0 where it is there."""
        if self.health.state is State.UP and self.breaker.state is OPEN:
            return max(0.0, self.breaker.until - now)
        return self.health.back_in(now)  # a flip to UP ends an ejection


def absences(backends: Iterable[Backend], now: float) -> str:
    """Why none of them takes a request: "2 down, 1 draining"."""
    reasons = Counter(backend.absence(now) for backend in backends)
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "no backends"
