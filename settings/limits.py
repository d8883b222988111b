"""How fast a client may spend."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from settings.models import Frozen, Listed
from settings.problems import Wrong
from settings.units import Rate, RateField


def _part(value: str) -> str:
    part = value.lower()
    if part in ("client", "group", "host") or re.fullmatch(r"header:[!#$%&'*+\-.^_`|~0-9a-z]+", part):
        return part
    raise Wrong("not a part of a key", 'write "client", "group", "host" or "header:<name>"')


def _whole_key(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or len(set(value)) < len(value):
        raise Wrong("a key is one or more different parts", 'write "client", or several such as "client,group"')
    return value


class LimitSettings(Frozen):
    """One limiter: however many groups use it, it is one set of buckets."""

    kind: Literal["token_bucket", "fixed_window", "none"] = "none"
    """none is off; token_bucket as soon as anything else of the limiter is given."""
    rate: RateField = Rate(100, 60.0)
    """How many requests in what time."""
    burst: int | None = Field(default=None, ge=1)
    """Tokens in a full bucket; the count of the rate when not given."""
    key: Annotated[Listed[Annotated[str, AfterValidator(_part)]], AfterValidator(_whole_key)] = ("client",)
    """What has a bucket of its own: client, group, host, `header:<name>`, or several of them together."""
    ipv6_prefix: int = Field(default=64, ge=1, le=128)
    """IPv6 clients are counted by network of this length."""
    dry_run: bool = False
    """Count and log, refuse nobody."""
    max_keys: int = Field(default=100_000, ge=1)
    """Buckets that are kept; full ones are forgotten first."""

    @model_validator(mode="before")
    @classmethod
    def _on_when_given(cls, value: Any) -> Any:
        return {"kind": "token_bucket", **value} if isinstance(value, dict) and value else value
