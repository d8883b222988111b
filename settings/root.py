"""Everything the operator says, in one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from settings.admin import AdminSettings
from settings.checks import crossed
from settings.edge import EdgeSettings
from settings.groups import GroupSettings
from settings.limits import LimitSettings
from settings.models import Choice, File, Frozen, Listed, Name, Network
from settings.pools import PoolSettings
from settings.problems import Crossed, Wrong
from settings.reload import ReloadSettings
from settings.routes import merge
from settings.state import StateSettings
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
    """The whole of the settings: `LB_` and `__` in the environment, or one TOML or YAML file.

    Made in Python, it is what its arguments say and reads nothing else; `settings.load.load` reads all the places.
    """

    model_config = SettingsConfigDict(
        env_prefix="LB_", env_nested_delimiter="__", frozen=True, extra="forbid", use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it may be a secret
    )  # fmt: skip

    config: File = None
    """The settings file, TOML or YAML."""
    state: StateSettings = StateSettings()
    """Where what workers and machines share is kept."""
    routes: str = ""
    """Groups in one line: `/apiA=a; /apiB=b`, path (or host/path) = pool."""
    groups: dict[Name, GroupSettings] = Field(default={})
    """Route groups by name."""
    pools: dict[Name, PoolSettings] = Field(default={})
    """Pools by name."""
    rate_limit: LimitSettings = LimitSettings()
    """For every request, before routing."""
    limits: dict[Name, LimitSettings] = Field(default={})
    """Limiters that groups name."""
    caches: dict[Name, Choice] = Field(default={})
    """Stores that the caches of groups name."""
    trusted_proxies: Listed[Network] = ()
    """Networks whose word on the client is taken."""
    forwarded: ForwardedSettings = ForwardedSettings()
    """What the backend is told of the client."""
    edge: EdgeSettings = EdgeSettings()
    """What a client may do to us."""
    tls: TlsSettings = TlsSettings()
    """TLS towards the client."""
    log: LogSettings = LogSettings()
    """The latency log."""
    admin: AdminSettings = AdminSettings()
    """The control plane."""
    drain: DrainSettings = DrainSettings()
    """How we stop."""
    reload: ReloadSettings = ReloadSettings()
    """The settings file, read again while we run."""
    initial_grace: Duration = 10.0
    """Ready after this long even when a pool has no backend UP yet."""

    _warnings: tuple[str, ...] = PrivateAttr(())
    _origins: Mapping[str, str] = PrivateAttr({})
    _places: tuple[PydanticBaseSettingsSource, ...] = PrivateAttr(())
    _text: str = PrivateAttr("")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and hardly meant, such as variables that nothing reads; found by `load`."""
        return self._warnings

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each value was said, by its path, such as `pools.a.weight`; what is not here is a default."""
        return self._origins

    @property
    def places(self) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was said beside the settings file, which `settings.load.reread` goes by."""
        return self._places

    @property
    def text(self) -> str:
        """Of the settings file; "" without one."""
        return self._text

    def remember(
        self,
        warnings: Iterable[str],
        origins: Mapping[str, str],
        places: Iterable[PydanticBaseSettingsSource] = (),
        text: str = "",
    ) -> Self:
        """These settings, which know where they come from."""
        self._warnings, self._origins = tuple(warnings), dict(origins)
        self._places, self._text = tuple(places), text
        return self

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only, so that settings made in Python do not depend on where."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _routes_are_groups(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not isinstance(value.get("routes"), str):
            return value
        try:
            return {**value, "groups": merge(value["routes"], value.get("groups"))}
        except Wrong as wrong:
            raise Wrong(wrong.message, wrong.fix, at=("routes",)) from None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        found = tuple(crossed(self))
        if found:
            raise Crossed(found)
        return self
