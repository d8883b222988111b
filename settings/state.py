"""Where what workers and machines share is kept."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from settings.models import Frozen
from settings.problems import Wrong
from settings.units import Duration

_FIX = 'write "auto", "memory", "lmdb:/var/lib/l7lb" or "redis://host:6379/0"'
_REDIS = ("redis", "rediss", "unix")


class StateSettings(Frozen):
    """What workers and machines share, which is buckets of rate limits: `LB_STATE=redis://host` says its place."""

    short: ClassVar[str] = "place"

    place: str = "auto"
    """memory: of one process; `lmdb:DIR`: of all workers of one machine; `redis://`, `rediss://` (TLS) or `unix://`: of
    many machines, in Redis or Valkey; auto: memory for a lone process, a private `lmdb` for the workers of a
    supervisor."""
    away: Literal["fail_open", "fail_closed"] = "fail_open"
    """Redis does not answer: a bucket of each process's own goes on, or what is limited gets 503."""
    timeout: Duration = 0.05
    """Redis does not answer within this time: it is away."""
    lease: int = Field(default=1, ge=1, le=10_000)
    """Tokens that a process takes from Redis at once, at most and never over a tenth of a bucket; 1 asks for each."""
    lease_time: Duration = 1.0
    """How long a process may keep tokens that it took; what is left then is given back."""
    prefix: str = "l7lb"
    """What our keys in Redis begin with; balancers that share their limits have the same."""

    @property
    def kind(self) -> str:
        """Auto, memory, lmdb or redis."""
        scheme = self.place.partition(":")[0]
        return "redis" if scheme in _REDIS else scheme

    @property
    def directory(self) -> str:
        """Of kind lmdb."""
        return self.place.partition(":")[2]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {cls.short: value} if isinstance(value, str) else value

    @field_validator("place")
    @classmethod
    def _a_place(cls, value: str) -> str:
        value = value.strip()
        scheme, colon, rest = value.partition(":")
        if value in ("auto", "memory"):
            return value
        if scheme == "lmdb" and colon:
            if not rest or "\0" in rest:
                raise Wrong("no directory", 'write "lmdb:" and a directory, such as "lmdb:/var/lib/l7lb"')
            return value
        if scheme not in _REDIS or not rest.startswith("//"):
            raise Wrong("not a place", _FIX)
        return redis_url(value)

    @field_validator("timeout", "lease_time")
    @classmethod
    def _some_time(cls, value: float) -> float:
        if value < 0.001:
            raise Wrong("too short", 'write at least "1ms"')
        return value

    @field_validator("prefix")
    @classmethod
    def _part_of_a_key(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._:{}-]{1,64}", value):
            raise Wrong("not a prefix", "write letters, digits and . _ : - { } only")
        return value


def redis_url(url: str) -> str:
    """*url*, of a Redis. Raises Wrong for what would only be found out when the connection is made."""
    if url.partition(":")[0] not in _REDIS:
        raise Wrong("not a Redis", 'write "redis://host:6379/0"')
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Wrong("not a URL", _FIX) from None
    if parts.scheme == "unix":
        if not parts.path.startswith("/"):
            raise Wrong("no socket", 'write "unix:///run/redis.sock"')
    elif not parts.hostname or port == 0:
        raise Wrong("no host", _FIX)
    elif not re.fullmatch(r"/?|/[0-9]{1,5}", parts.path):
        raise Wrong("not a database", 'write its number, such as "redis://host:6379/0"')
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name not in ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"):
            fix = "user and password go before the host: redis://user:password@host"
            raise Wrong(f'"{name[:40]}" is not taken here', fix)
    return url
