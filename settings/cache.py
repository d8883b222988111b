"""What a group stores of the responses that it forwards, and how it uses them."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from settings.models import AffinityKey, Frozen, Listed, Matches, Name, Parameters, Token, paired
from settings.problems import Wrong
from settings.units import Duration, Ratio

UNKEYED = (
    "x-forwarded-host", "x-forwarded-prefix", "x-forwarded-server", "x-forwarded-scheme", "x-forwarded-port", "x-host",
    "x-original-host", "x-original-url", "x-rewrite-url", "x-http-method", "x-http-method-override",
    "x-method-override",
)  # fmt: skip
"""Fields that backends build answers from and that no `Vary` names: by them a cache is poisoned."""


_ON = ("true", "on", "yes", "1")


def _status(value: Any) -> Any:
    if not re.fullmatch(r"[2-5][0-9]{2}", str(value)) or str(value) in ("206", "304"):
        raise Wrong("not a status that could be stored", "write one from 200 to 599, but for 206 and 304")
    return int(value)


def _parameter(value: str) -> str:
    if not re.fullmatch(r"[^&=#\s\x00-\x1f\x7f]+", value):
        raise Wrong("not the name of a parameter", "write it as it is in the URL, such as utm_source or utm_*")
    return value


Parameter = Annotated[str, AfterValidator(_parameter)]
FieldName = Annotated[Token, AfterValidator(str.lower)]
Status = Annotated[int, BeforeValidator(_status)]


class CacheSettings(Frozen):
    """Store responses, and answer with them: RFC 9111. `true` is all of the defaults, a name is that of the store."""

    short: ClassVar[str] = "store"

    store: Name = "default"
    """Name of a store under `caches`; `default` is one of kind memory, unless it is said otherwise there."""
    key: AffinityKey = ()
    """What else a stored response is found by, beside scheme, host, path and query: `header:<name>`, `cookie:<name>`,
    `client`, or a function of yours as `module:function`."""
    query: Listed[Parameter] = ()
    """Parameters of the query that count; none is all of them."""
    ignore_query: Listed[Parameter] = ()
    """Parameters that do not, such as `utm_*`."""
    unkeyed: Literal["key", "remove"] = "key"
    """What becomes of the fields in `unkeyed_fields` that a client sends: part of the key, or taken out of the request,
    so that nobody's stored response depends on somebody else's."""
    unkeyed_fields: Listed[FieldName] = UNKEYED
    """Fields that backends build answers from and that no `Vary` names."""
    bypass: Matches = Field(default={})
    """Requests with such a header field go by the cache: name to value; `*` for any value, `~` for a pattern."""
    bypass_query: Parameters = Field(default={})
    """Likewise for query parameters."""
    client_directives: bool = True
    """Whether clients may ask for what is not stored, or for stale responses, by their Cache-Control."""

    targets: Listed[FieldName] = ("l7lb-cache-control", "cdn-cache-control")
    """Fields that speak to us instead of Cache-Control and Expires: RFC 9213. The first that a response has counts."""
    lifetimes: Annotated[dict[Status, Duration], BeforeValidator(paired)] = Field(default={})
    """How long a response of a status is fresh that does not say so itself: `404=10s` and the like."""
    heuristic: Ratio = 0.1
    """Share of the time since Last-Modified that a response is fresh for, when nothing else says; 0 is off."""
    heuristic_max: Duration = 86400.0
    """Longest such time."""
    min_uses: int = Field(default=1, ge=1, le=1000)
    """Requests for a URL before its response is stored."""
    set_cookie: Literal["refuse", "strip", "store"] = "refuse"
    """What becomes of a response with Set-Cookie: not stored; stored without it; stored with it, for everybody."""
    cookie: Literal["private", "shared"] = "private"
    """Whether the answer to a request with a Cookie may be shared: only where it says public or s-maxage, or always."""
    negotiate: bool = False
    """Of languages, the one that a client wants most decides, in whatever order it names them."""

    stale_while_revalidate: Duration = 0.0
    """How long a response may be used stale while it is fetched anew, when it does not say: RFC 5861."""
    stale_if_error: Duration = 0.0
    """How long it may be used stale in place of a 500, 502, 503 or 504, when it does not say."""
    stale_if_down: Duration = 0.0
    """How long it may be used stale while no backend of the pool is available."""
    keep: Duration = 86400.0
    """How long a stale response is kept, to be validated."""
    lock_timeout: Duration = 5.0
    """How long a request waits for another that fetches the same; then it goes by itself."""
    hit_for_miss: Duration = 10.0
    """For how long requests for what could not be stored do not wait for each other."""
    cache_status: bool = True
    """Whether responses have a Cache-Status field: RFC 9211."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if value is True or isinstance(value, str):
            value = {cls.short: value}
        if isinstance(value, dict) and str(value.get(cls.short)).strip().lower() in _ON:
            return {key: said for key, said in value.items() if key != cls.short}
        return value
