"""One pool: which backends, how one is chosen, how long we wait."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from settings.models import Choice, Frozen
from settings.resilience import HealthSettings
from settings.units import Duration, Size


class BackendSettings(Frozen):
    """One backend: `http://10.0.0.1:8000` or `http://10.0.0.1:8000|weight=2|id=a`."""

    url: str
    id: str = ""
    """Its name in logs and metrics; host:port when not given."""
    weight: int = Field(1, ge=0, le=65535)
    """Share of the traffic beside the others; 0 takes none."""


class TimeoutSettings(Frozen):
    """How long we wait for a backend; 0 is for ever."""

    connect: Duration = 1.0
    response: Duration = 15.0
    """From the request being sent to the response head."""
    idle: Duration = 60.0
    """Between two pieces of a body, either way."""
    total: Duration = 0.0
    """The whole exchange."""
    keep_alive: Duration = 4.0
    """How long an idle connection to a backend is kept; below the backend's own limit (uvicorn's is 5 s)."""


class BackendTlsSettings(Frozen):
    """How an `https://` backend is trusted."""

    ca: Path | None = None
    """PEM file of the authorities; the system's store when not given."""
    verify: bool = True
    server_name: str = ""
    """Name to ask for and to verify; the host of the URL when not given."""


class PoolSettings(Frozen):
    """Backends, and how one is chosen."""

    backends: tuple[BackendSettings, ...] = ()
    strategy: Choice = Choice(kind="round_robin")
    health: HealthSettings = HealthSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    tls: BackendTlsSettings = BackendTlsSettings()
    max_response_header_bytes: Size = 65536
    max_response_headers: int = Field(200, ge=1)
