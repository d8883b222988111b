"""How a backend's health is known."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from settings.models import Frozen
from settings.units import Duration, Ratio


class HealthSettings(Frozen):
    """Probes of a backend."""

    kind: Literal["http", "tcp", "none"] | None = None
    """http when a path is given, else tcp, when not said; none switches probes off."""
    path: str | None = None
    method: str = "GET"
    host: str = ""
    """Host field of the probe; the backend's own when not given."""
    headers: dict[str, str] = {}
    port: int | None = Field(None, ge=1, le=65535)
    status: tuple[str, ...] = ("200-399",)
    """Expected statuses: `200`, `200-299`."""
    body: str = ""
    """Regular expression to find in the first 64 KiB of the body."""
    interval: Duration = 5.0
    down_interval: Duration = 2.0
    """While DOWN."""
    transition_interval: Duration = 1.0
    """While on the way from one to the other."""
    timeout: Duration = 2.0
    rise: int = Field(2, ge=1)
    """Passes in a row before UP."""
    fall: int = Field(2, ge=1)
    """Failures in a row before DOWN."""
    jitter: Ratio = 0.1
