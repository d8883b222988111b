"""How a backend's health is known, and what is done about backends that fail, are slow or are full."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from settings.models import Fields, FieldValue, Frozen, Listed, Method, Pattern, Port, Token
from settings.problems import Wrong
from settings.units import Duration, Ratio, Size, spell_duration


def plain_path(value: str) -> str:
    """A path, percent-encoded. Raises Wrong."""
    if not re.fullmatch(r"/[\x21\x22\x24-\x7e]*", value):
        raise Wrong("not a path", 'write one that starts with "/", percent-encoded, such as "/health"')
    return value


def statuses(value: Any) -> Any:
    """A status, or a range of them, as text. Raises Wrong."""
    low, dash, high = str(value).replace(" ", "").partition("-")
    if not re.fullmatch(r"[1-5][0-9]{2}", low) or (dash and not re.fullmatch(r"[1-5][0-9]{2}", high)):
        raise Wrong("not a status, nor a range of them", 'write "200" or "200-299"')
    if dash and low > high:
        raise Wrong("a range from high to low", f'write "{high}-{low}"')
    return low + dash + high


def _failure(value: str) -> str:
    if value < "500":
        raise Wrong("that is no fault of the backend's", "write statuses from 500 on, such as 500-599")
    return value


def _unwell(value: str) -> str:
    if value < "400":
        raise Wrong("that is no failure", "write statuses from 400 on, such as 502-504")
    return value


def _a_second(value: float) -> float:
    if value < 1:
        raise Wrong("too short to count anything in", 'write "1s" or more')
    return value


class HealthSettings(Frozen):
    """Probes of a backend."""

    kind: Literal["http", "tcp", "grpc", "none"] | None = None
    """http when a path is given, else tcp, when not said; grpc calls `grpc.health.v1.Health/Check`; none switches
    probes off."""
    path: Annotated[str, AfterValidator(plain_path)] | None = None
    """What an http probe asks for."""
    service: Annotated[Token, Field(max_length=127)] | None = None
    """Which service a grpc probe asks for; the server as a whole when not given."""
    method: Token = "GET"
    """Method of an http probe."""
    host: FieldValue = ""
    """Host field of the probe; the backend's own when not given."""
    headers: Fields = Field(default={})
    """Header fields of an http probe."""
    port: Port | None = None
    """Port to probe; the backend's own when not given."""
    status: Listed[Annotated[str, AfterValidator(statuses)]] = ("200-399",)
    """Expected statuses: `200`, `200-299`."""
    body: Pattern = ""
    """Regular expression to find in the first 64 KiB of the body; at most 1000 characters."""
    load: Pattern = ""
    """Regular expression whose first group is the backend's load in that body, 0 to 1 or a percentage, for the strategy
    reported; such as `"load": ([0-9.]+)`."""
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
    scope: Literal["process", "machine", "cluster"] = "machine"
    """Of whom one process probes, and tells the others, by shared state; a process that is alone probes in any case."""

    @model_validator(mode="after")
    def _load_is_found(self) -> Self:
        if self.load and not re.compile(self.load).groups:
            raise Wrong("no group in it", 'put the load in parentheses, as in "load": ([0-9.]+)', at=("load",))
        return self

    @model_validator(mode="after")
    def _answered_before_the_next(self) -> Self:
        if self.timeout > self.interval:
            fix = f"write a timeout of at most {spell_duration(self.interval)}, or a longer interval"
            raise Wrong("timeout is longer than interval", fix, at=("timeout",))
        return self


class BreakerSettings(Frozen):
    """When the answers of a backend show that it fails, it is ejected: it takes no requests for a while."""

    enabled: bool = True
    """Whether backends are ejected at all."""
    consecutive: int = Field(default=5, ge=0)
    """Failures in a row that eject; 0 is off."""
    failure_ratio: Ratio = 0.5
    """Share of failures in the window that ejects; 0 is off."""
    slow: Duration = 0.0
    """A response head that takes longer is slow; 0 is off."""
    slow_ratio: Ratio = 0.5
    """Share of slow responses in the window that ejects; a pool is never emptied for it."""
    outliers: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    """Standard deviations by which the success rate in the window may lie below the mean of the pool; 0 is off, 1.9 is
    usual."""
    window: Annotated[Duration, AfterValidator(_a_second)] = 10.0
    """Time that shares and rates are counted over; at least 1s."""
    min_requests: int = Field(default=20, ge=1)
    """Requests in the window, below which no share and no rate counts."""
    status: Listed[Annotated[str, AfterValidator(statuses), AfterValidator(_failure)]] = ("502-504",)
    """Statuses that are failures: `503`, `500-599`. No response, or not all of it, is one in any case."""
    ejection: Duration = Field(default=30.0, gt=0)
    """How long the first ejection lasts; the second in a row twice that, the third three times."""
    max_ejection: Duration = Field(default_factory=lambda data: max(300.0, data["ejection"]), gt=0)
    """How long an ejection lasts at most; 5m, or `ejection` where that is longer."""
    jitter: Ratio = 0.1
    """Share by which an ejection is made longer, so that backends do not return in step."""
    max_ejected: Ratio = 0.5
    """Share of the pool that may be ejected at the same time; of two or more backends one always may."""
    half_open: int = Field(default=3, ge=1)
    """Requests at a time that find out, after an ejection, whether the backend is well."""
    scope: Literal["process", "machine", "cluster"] = "process"
    """Of whom all hear when one process ejects a backend: they let only `half_open` requests at a time through to it
    until they know for themselves."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_ejection < self.ejection:
            fix = f"write a max_ejection of at least {spell_duration(self.ejection)}, or a shorter ejection"
            raise Wrong("max_ejection is shorter than ejection", fix, at=("max_ejection",))
        return self


class RetrySettings(Frozen):
    """When a failed attempt is followed by another, at another backend where there is one."""

    attempts: int = Field(default=2, ge=1, le=10)
    """Attempts at one request, the first included; 1 switches retries off."""
    status: Listed[Annotated[str, AfterValidator(statuses), AfterValidator(_unwell)]] = ("502-504",)
    """Statuses that are tried again: `503`, `500-599`. No response is, in any case."""
    methods: Listed[Method] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
    """Methods that may be sent twice: the idempotent ones. Any other may when nothing was sent, or the request has an
    `Idempotency-Key`."""
    max_body: Size = 65536
    """Bytes of a request body that are kept to be sent again; a longer one is tried again only when none of it was
    sent."""
    backoff: Duration = 0.025
    """Longest wait before the first retry, doubled for each one after it; how long it is, is drawn at random."""
    max_backoff: Duration = Field(default_factory=lambda data: max(0.25, data["backoff"]))
    """What the doubling ends at; 250ms, or `backoff` where that is longer."""
    max_retry_after: Duration = 1.0
    """Longest `Retry-After` of a backend that is waited for; where it is longer, there is no retry."""
    budget: Ratio = 0.2
    """Retries as a share of the requests, so that a pool that fails is not asked twice as much."""
    min_per_second: int = Field(default=3, ge=0)
    """Retries a second that are allowed in any case."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.backoff > self.max_backoff:
            fix = f"write a max_backoff of at least {spell_duration(self.backoff)}, or a shorter backoff"
            raise Wrong("max_backoff is shorter than backoff", fix, at=("max_backoff",))
        return self


class HedgeSettings(Frozen):
    """A second backend is asked when the first takes long; the answer that comes first is taken. GET and HEAD only."""

    enabled: bool = False
    """Whether requests are hedged."""
    quantile: Ratio = Field(default=0.95, gt=0, lt=1)
    """Of the times that the pool takes to a response head: a request that takes longer is hedged."""
    min_delay: Duration = 0.005
    """No request is hedged earlier than that."""


class QueueSettings(Frozen):
    """Where requests wait while all backends are full."""

    size: int = Field(default=100, ge=0)
    """Requests that may wait in a pool; what comes then is answered 503. 0: none waits."""
    timeout: Duration = Field(default=1.0, gt=0)
    """How long a request waits, before it is answered 503."""
    order: Literal["fifo", "lifo"] = "fifo"
    """Who goes first: fifo, the oldest; lifo, the newest, which under overload is the one whose client still waits."""


class AdaptiveSettings(Frozen):
    """A limit on the requests in flight in a pool that finds itself: it sinks when responses get slower."""

    enabled: bool = False
    """Whether there is one."""
    min_limit: int = Field(default=3, ge=1)
    """The lowest limit."""
    max_limit: int = Field(default_factory=lambda data: max(1000, data["min_limit"]), ge=1)
    """The highest limit; 1000, or `min_limit` where that is higher."""
    window: Duration = Field(default=0.1, gt=0)
    """How often the limit is set."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_limit > self.max_limit:
            fix = f"write a max_limit of at least {self.min_limit}, or a lower min_limit"
            raise Wrong("max_limit is under min_limit", fix, at=("max_limit",))
        return self
