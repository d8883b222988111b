"""One server that we forward to: an identity, and live state that survives a reload."""

from __future__ import annotations

from urllib.parse import urlsplit

from app.domain.health import Health, State
from settings.pools import BackendSettings
from settings.resilience import HealthSettings

_PORTS = {"http": 80, "https": 443}


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

        share: what its weight counts for now, which is less while it warms up; only beside the shares of the others
            of its pool does it mean anything. Kept by the pool.

        entered: monotonic seconds, since when it takes requests; None while it does not, or that is not known.

        in_flight: requests being served, up to the last byte of the response.

        draining: finishes what it has, takes nothing new.
    """

    __slots__ = (
        "authority", "draining", "entered", "health", "host", "id", "in_flight", "pool", "port", "scheme", "share",
        "spec", "weight",
    )  # fmt: skip

    def __init__(self, pool: str, spec: BackendSettings, health: HealthSettings) -> None:
        self.scheme, self.host, self.port = locate(spec)
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.authority = (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode()
        self.id = spec.id
        self.pool = pool
        self.spec = spec
        self.weight = self.share = spec.weight
        self.in_flight = 0
        self.entered: float | None = None
        self.draining = False
        self.health = Health(health)

    def __repr__(self) -> str:
        return f"<Backend {self.pool}/{self.id}>"

    def configure(self, spec: BackendSettings, health: HealthSettings) -> None:
        """Go by other settings of the same backend; what is going on at it is kept."""
        self.spec = spec
        self.weight = spec.weight
        self.health.configure(health)

    @property
    def available(self) -> bool:
        """Whether it may be picked now."""
        return self.health.state is State.UP and not self.draining and self.weight > 0

    def absence(self, now: float) -> str:
        """Why it may not be picked now: draining, down, checking or weight 0; "" when it may."""
        if self.draining:
            return "draining"
        if self.health.state is not State.UP:
            return self.health.state.value
        return "" if self.weight else "weight 0"
