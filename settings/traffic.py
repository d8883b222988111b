"""How traffic is led: kept at a backend, split over pools, copied, disturbed on purpose."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from settings.models import AffinityKey, Frozen, Listed, Name, Token, paired
from settings.problems import Wrong
from settings.resilience import plain_path
from settings.units import Duration, Ratio, Size

SHORTEST_KEY = 16
_KEY_FIX = "write a long random text, such as of `openssl rand -hex 32`"


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SHORTEST_KEY:
        raise Wrong(f"a key of under {SHORTEST_KEY} characters, which can be guessed", _KEY_FIX)
    return value


def _cookie_path(value: str) -> str:
    if ";" in value or "?" in value:
        raise Wrong("not a path of a cookie", 'leave out ";" and "?"')
    return plain_path(value)


class StickySettings(Frozen):
    """A cookie of ours that keeps a client at its backend."""

    enabled: bool = False
    """Whether there is one."""
    cookie: Token = "l7lb"
    """Its name."""
    keys: Listed[Annotated[SecretStr, AfterValidator(_long_enough)]] = ()
    """Secrets of at least 16 characters. The first signs and all are accepted: put a new one in front, and take the old
    one out later. Every balancer in front of the pool has the same."""
    max_age: Duration = 0.0
    """How long the client keeps it; 0: until the browser is closed."""
    path: Annotated[str, AfterValidator(_cookie_path)] = "/"
    """Path that the client sends it for, and for all below."""
    same_site: Literal["lax", "strict", "none"] = "lax"
    """Whether it is sent when another site asks: lax, when the user follows a link from there; strict, never; none,
    always, over TLS only."""
    secure: Literal["auto", "always", "never"] = "auto"
    """Whether it is sent over TLS only; auto: when it was given out over TLS."""
    draining: bool = True
    """Whether a backend that is draining goes on serving the clients that are at it."""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.enabled and not self.keys:
            raise Wrong("the cookie has no key to sign with", _KEY_FIX, at=("keys",))
        return self

    @model_validator(mode="after")
    def _kept_by_browsers(self) -> Self:
        """What a browser throws away (RFC 6265bis sections 5.6 and 5.7) is no cookie."""
        if self.same_site == "none" and self.secure == "never":
            raise Wrong("same_site is none, so browsers want it over TLS", 'write "auto" or "always"', at=("secure",))
        for prefix in ("__Host-", "__Secure-"):
            if self.cookie.lower().startswith(prefix.lower()) and self.secure != "always":
                raise Wrong(f"browsers take a {prefix} cookie over TLS only", 'write "always"', at=("secure",))
        if self.cookie.lower().startswith("__host-") and self.path != "/":
            raise Wrong('browsers take a __Host- cookie for the path "/" only', 'write "/"', at=("path",))
        return self


class SplitSettings(Frozen):
    """Several pools and the share of each: canaries, blue and green."""

    pools: Annotated[dict[Name, Annotated[int, Field(ge=0, le=65535)]], BeforeValidator(paired)]
    """Pool to weight, as in `stable=95,canary=5`; 0 takes none."""
    key: AffinityKey = ("client",)
    """What keeps a user in one pool: client, path, `header:<name>`, `cookie:<name>`, `query:<name>`,
    `module:function`, or several of them together. When a weight grows, users move to that pool and nowhere else."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(self.pools.values()):
            raise Wrong("no pool has a weight", 'write some, such as "stable=95,canary=5"', at=("pools",))
        if not self.key:
            raise Wrong("there is no key", 'write "client", or another that tells users apart', at=("key",))
        return self


class MirrorSettings(Frozen):
    """Copies of requests for another pool, whose answers nobody sees."""

    pool: Name
    """Name of the pool that the copies go to."""
    share: Ratio = 1.0
    """Share of the requests that are copied."""
    max_body: Size = 65536
    """Bytes of a request body, above which there is no copy."""
    max_in_flight: int = Field(default=100, ge=1)
    """Copies that may be in flight; what comes then is not copied."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"pool": value} if isinstance(value, str) else value


class FaultSettings(Frozen):
    """Faults on purpose, to see how clients bear them."""

    header: Token | None = None
    """Only requests with this header field are meant; all of them when not given."""
    delay: Duration = 0.0
    """How long a request is held up before it is forwarded."""
    delay_share: Ratio = 1.0
    """Share of the requests that are held up."""
    abort: int | None = Field(default=None, ge=400, le=599)
    """Status that a request is answered with, instead of being forwarded."""
    abort_share: Ratio = 1.0
    """Share of the requests that are answered so."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.delay and self.abort is None:
            raise Wrong("a fault that does nothing", "write a delay, an abort, or both")
        return self
