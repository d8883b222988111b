"""How fast a client may spend."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from settings.models import Frozen
from settings.units import Rate, RateField


class LimitSettings(Frozen):
    """One limiter: however many groups use it, it is one set of buckets."""

    kind: Literal["token_bucket", "fixed_window", "none"] = "none"
    rate: RateField = Rate(100, 60.0)
    burst: int | None = Field(None, ge=1)
    """Tokens in a full bucket; the count of the rate when not given."""
    key: tuple[str, ...] = ("client",)
    """What has a bucket of its own: client, group, host, `header:<name>`, or several of them together."""
    ipv6_prefix: int = Field(64, ge=1, le=128)
    """IPv6 clients are counted by network of this length."""
    dry_run: bool = False
    """Count and log, refuse nobody."""
    max_keys: int = Field(100_000, ge=1)
