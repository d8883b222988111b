"""Everything the operator says, in one model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict

from settings.admin import AdminSettings
from settings.edge import EdgeSettings
from settings.groups import GroupSettings, Network
from settings.limits import LimitSettings
from settings.models import Frozen
from settings.pools import PoolSettings
from settings.telemetry import ForwardedSettings, LogSettings
from settings.tls import TlsSettings
from settings.units import Duration


class DrainSettings(Frozen):
    """How we stop."""

    delay: Duration = 2.0
    """After SIGTERM: not ready, while still accepting."""
    grace: Duration = 30.0
    """Then: how long requests in flight may take to finish."""


class Settings(BaseSettings):
    """The whole of the settings: `LB_` and `__` in the environment, or one TOML or YAML file."""

    model_config = SettingsConfigDict(
        env_prefix="LB_", env_nested_delimiter="__", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    config: Path | None = None
    """The settings file."""
    state: Literal["auto", "memory"] = "auto"
    routes: str = ""
    """Groups in one line: `/apiA=a; /apiB=b`, path (or host/path) = pool."""
    groups: dict[str, GroupSettings] = {}
    pools: dict[str, PoolSettings] = {}
    rate_limit: LimitSettings = LimitSettings()
    """For every request, before routing."""
    limits: dict[str, LimitSettings] = {}
    """Limiters that groups name."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks whose word on the client is taken."""
    forwarded: ForwardedSettings = ForwardedSettings()
    edge: EdgeSettings = EdgeSettings()
    tls: TlsSettings = TlsSettings()
    log: LogSettings = LogSettings()
    admin: AdminSettings = AdminSettings()
    drain: DrainSettings = DrainSettings()
    initial_grace: Duration = 10.0
    """Ready after this long even when a pool has no backend UP yet."""
