"""How a backend's health is known."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from settings.models import Fields, FieldValue, Frozen, Listed, Pattern, Port, Token
from settings.problems import Wrong
from settings.units import Duration, Ratio, spell_duration


def _path(value: str) -> str:
    if not re.fullmatch(r"/[\x21\x22\x24-\x7e]*", value):
        raise Wrong("not a path", 'write one that starts with "/", percent-encoded, such as "/health"')
    return value


def _statuses(value: Any) -> Any:
    low, dash, high = str(value).replace(" ", "").partition("-")
    if not re.fullmatch(r"[1-5][0-9]{2}", low) or (dash and not re.fullmatch(r"[1-5][0-9]{2}", high)):
        raise Wrong("not a status, nor a range of them", 'write "200" or "200-299"')
    if dash and low > high:
        raise Wrong("a range from high to low", f'write "{high}-{low}"')
    return low + dash + high


class HealthSettings(Frozen):
    """Probes of a backend."""

    kind: Literal["http", "tcp", "none"] | None = None
    """http when a path is given, else tcp, when not said; none switches probes off."""
    path: Annotated[str, AfterValidator(_path)] | None = None
    """What an http probe asks for."""
    method: Token = "GET"
    """Method of an http probe."""
    host: FieldValue = ""
    """Host field of the probe; the backend's own when not given."""
    headers: Fields = Field(default={})
    """Header fields of an http probe."""
    port: Port | None = None
    """Port to probe; the backend's own when not given."""
    status: Listed[Annotated[str, AfterValidator(_statuses)]] = ("200-399",)
    """Expected statuses: `200`, `200-299`."""
    body: Pattern = ""
    """Regular expression to find in the first 64 KiB of the body; at most 1000 characters."""
    interval: Duration = Field(default=5.0, gt=0)
    """From one probe to the next, while UP."""
    down_interval: Duration = Field(default_factory=lambda data: min(2.0, data["interval"]), gt=0)
    """While DOWN; 2s, or the interval where that is shorter."""
    transition_interval: Duration = Field(default_factory=lambda data: min(1.0, data["interval"]), gt=0)
    """While on the way from one to the other; 1s, or the interval where that is shorter."""
    timeout: Duration = Field(default_factory=lambda data: min(2.0, data["interval"]), gt=0)
    """How long a probe may take; 2s, or the interval where that is shorter."""
    rise: int = Field(default=2, ge=1)
    """Passes in a row before UP."""
    fall: int = Field(default=3, ge=1)
    """Failures in a row before DOWN."""
    jitter: Ratio = 0.1
    """Share by which each interval is made longer or shorter, so that probes do not march in step."""

    @model_validator(mode="after")
    def _answered_before_the_next(self) -> Self:
        if self.timeout > self.interval:
            fix = f"write a timeout of at most {spell_duration(self.interval)}, or a longer interval"
            raise Wrong("timeout is longer than interval", fix, at=("timeout",))
        return self
