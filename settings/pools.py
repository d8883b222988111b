"""One pool: which backends, how one is chosen, how long we wait."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from settings.models import AffinityKey, Choice, File, Frozen, Listed, Network, Token
from settings.problems import Wrong, did_you_mean
from settings.resilience import (
    AdaptiveSettings,
    BreakerSettings,
    HealthSettings,
    HedgeSettings,
    QueueSettings,
    RetrySettings,
)
from settings.traffic import StickySettings
from settings.units import Duration, Ratio, Size, spell_duration

_OPTIONS = ("weight", "id", "max_in_flight", "level")
_EXAMPLE = 'write one such as "http://10.0.0.1:8000" or "https://app.internal"'


def _url(value: str) -> str:
    """*value* as `scheme://host[:port]`. Raises Wrong."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Wrong("not a URL", _EXAMPLE) from None
    if parts.scheme not in ("http", "https", "h2c"):
        near = value if re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?", value) else ""
        raise Wrong("neither http://, https:// nor h2c://", f'write "http://{near}"' if near else _EXAMPLE)
    if not re.fullmatch(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|[0-9a-f:]*:[0-9a-f:.]*", host) or len(host) > 253:
        raise Wrong("there is no host in it, or not one that can be looked up", _EXAMPLE)
    if port == 0:
        raise Wrong("0 is no port", "write one from 1 to 65535")
    if parts.username is not None:
        raise Wrong("a user name or a password in it", "leave it out: set request_headers of the group instead")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise Wrong("a path, query or fragment in it", "leave it out: set add_prefix of the group instead")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"


def _id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]{1,128}", value):
        raise Wrong("not an id", "write letters, digits and . _ : - only, at most 128")
    return value


def _default_id(data: dict[str, Any]) -> str:
    """`host:port` of the URL."""
    parts = urlsplit(data["url"])
    return parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"


class BackendSettings(Frozen):
    """One backend: `http://10.0.0.1:8000` or `http://10.0.0.1:8000|weight=2|id=a`."""

    url: Annotated[str, AfterValidator(_url)]
    """Where it is: http, https or h2c (HTTP/2 without TLS), host, and port when it is not 80 or 443."""
    id: Annotated[str, AfterValidator(_id)] = Field(default_factory=_default_id)
    """Its name in logs and metrics; host:port when not given."""
    weight: int = Field(default=1, ge=0, le=65535)
    """Share of the traffic beside the others; 0 takes none."""
    max_in_flight: int | None = Field(default=None, ge=0)
    """Requests that may be in flight at it, 0 is without limit; `backend_max_in_flight` of the pool when not given."""
    level: int = Field(default=0, ge=0, le=127)
    """For the strategy priority: level 0 is first, and a higher one takes what those below it cannot."""
    networks: Listed[Network] = ()
    """Networks that its address has to be in, looked at with every connection; none is everywhere."""

    @model_validator(mode="before")
    @classmethod
    def _from_line(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        url, *options = value.split("|")
        said: dict[str, str] = {"url": url.strip()}
        for option in options:
            name, equals, rest = (part.strip() for part in option.partition("="))
            if name not in _OPTIONS or not equals:
                near = did_you_mean(name, _OPTIONS)
                raise Wrong(
                    f'"{name[:40]}" is not an option of a backend',
                    f'write "{near}=..."' if near else 'write "url|weight=2|id=a"',
                )
            said[name] = rest
        return said


def _within(seconds: float, *names: str) -> Any:
    """A default of *seconds*, or what was said before under *names* where that is shorter; 0 is without limit."""
    return Field(default_factory=lambda data: min(seconds, *(data[name] or seconds for name in names)))


class TimeoutSettings(Frozen):
    """How long we wait for a backend; 0 is for ever. A default that is longer than total or attempt is cut to it."""

    total: Duration = 0.0
    """The whole exchange, retries and waiting in the queue included."""
    attempt: Duration = 0.0
    """One attempt, up to the response head; a retry may follow."""
    connect: Duration = _within(1.0, "total", "attempt")
    """For a connection, TLS included."""
    response: Duration = _within(15.0, "total", "attempt")
    """From the request being sent to the response head."""
    idle: Duration = _within(60.0, "total")
    """Between two pieces of the response."""
    write: Duration = Field(default_factory=lambda data: data["idle"])
    """How long the backend may read nothing of the request; `idle` when not given."""
    tunnel: Duration = 3600.0
    """How long an upgraded connection, such as a WebSocket, may be without a byte either way; 0 is for ever. What else
    stands here holds up to its 101."""
    keep_alive: Duration = 4.0
    """How long an idle connection to a backend is kept; below the backend's own limit (uvicorn's is 5 s)."""
    header: Token | None = None
    """Header field that tells the backend how long it has: in milliseconds, or as gRPC writes it when it is
    `grpc-timeout`, which it is by itself where HTTP/2 is spoken. A client that sends it shortens `total`."""

    @model_validator(mode="after")
    def _each_within_its_whole(self) -> Self:
        wholes = (("total", ("attempt", "connect", "response", "idle", "write")), ("attempt", ("connect", "response")))
        for whole, parts in wholes:
            longest = getattr(self, whole)
            for name in parts:
                if longest and getattr(self, name) > longest:
                    fix = f"write a {name} of at most {spell_duration(longest)}, or a longer {whole}"
                    raise Wrong(f"{name} is longer than {whole}", fix, at=(name,))
        return self


class SlowStartSettings(Frozen):
    """How a backend that begins to take requests is spared at first; not by strategies that hash."""

    window: Duration = 0.0
    """How long it takes to get to its whole weight; 0 is at once."""
    min_weight: Ratio = Field(default=0.1, gt=0)
    """Share of its weight that it has at least."""
    aggression: float = Field(default=1.0, gt=0, le=100)
    """1 is a straight line; more is more in the beginning, less is less."""


class BackendTlsSettings(Frozen):
    """How an `https://` backend is trusted."""

    ca: File = None
    """PEM file of the authorities; the system's store when not given."""
    verify: bool = True
    """Whether the backend's certificate is verified; switch it off for experiments only."""
    server_name: str = ""
    """Name to ask for and to verify; the host of the URL when not given."""
    cert: File = None
    """PEM file of the certificate that we show to backends that ask for one."""
    key: File = None
    """PEM file of its key; in the certificate's file when not given."""
    alpn: Annotated[Listed[Literal["http/1.1", "h2"]], Field(min_length=1)] = ("http/1.1",)
    """Protocols that are offered, the preferred one first: `http/1.1`, `h2`, or both."""

    @model_validator(mode="after")
    def _key_of_something(self) -> Self:
        if self.key is not None and self.cert is None:
            raise Wrong("a key without a certificate", "write the file of the certificate, too", at=("cert",))
        return self


class ProxyHeaderSettings(Frozen):
    """What the backends are told of a client before a connection begins: the PROXY protocol."""

    version: int = Field(default=0, ge=0, le=2)
    """Version of the header that connections to backends begin with, TLS or not, 1 or 2; 0 is none. They have to expect
    it, and each connection is for one client then."""
    tell: Listed[Literal["authority", "tls"]] = ()
    """What version 2 tells beside the addresses: authority, the name that the client has asked for (SNI); tls, version
    and suite of its TLS, and the common name in its certificate."""

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.tell and self.version != 2:
            raise Wrong(
                f"version {self.version} tells addresses only", "write version 2, or leave it out", at=("tell",)
            )
        return self


class Http2Settings(Frozen):
    """How HTTP/2 is spoken with `h2c://` backends, and with `https://` ones that agree to `h2`."""

    max_streams: int = Field(default=100, ge=1, le=10_000)
    """Exchanges at a time on one connection, or fewer where the backend says so; then another one is opened."""
    window: Size = Field(default=262_144, ge=1024, le=2**31 - 1)
    """Bytes of a response that may wait for its client, before its backend stops."""
    connection_window: Size = Field(default=4 * 2**20, ge=65_535, le=2**31 - 1)
    """Bytes of all responses of a connection that may be on their way to us; at least `window`."""
    ping: Duration = 0.0
    """How long a connection with exchanges may be silent, before it is asked whether it lives; 0 is never. Many gRPC
    servers end connections that ask more often than every 5m."""
    ping_timeout: Duration = 10.0
    """How long the answer may take."""


class PoolSettings(Frozen):
    """Backends, and how one is chosen."""

    backends: Listed[BackendSettings] = ()
    """The backends: `url|weight=2|id=a`, with commas between."""
    source: Choice | None = None
    """Where more backends come from: file, dns, http, docker, consul, etcd, kubernetes, redis, or what a package
    brings. Where it names one of `backends`, what stands there holds."""
    strategy: Choice = Choice(kind="round_robin")
    """How a backend is chosen: round_robin, random, least_connections, first, p2c, peak_ewma, least_time, rendezvous,
    ring_hash, maglev, priority, reported, or one that a package brings."""
    health: HealthSettings = HealthSettings()
    """How a backend's health is known."""
    timeouts: TimeoutSettings = TimeoutSettings()
    """How long we wait for a backend."""
    tls: BackendTlsSettings = BackendTlsSettings()
    """How an `https://` backend is trusted, and what is spoken with it."""
    proxy_header: ProxyHeaderSettings = ProxyHeaderSettings()
    """What the backends are told of a client before a connection begins."""
    http2: Http2Settings = Http2Settings()
    """How HTTP/2 is spoken with backends."""
    affinity: AffinityKey = ()
    """What requests for the same backend have in common: client, path, `header:<name>`, `cookie:<name>`,
    `query:<name>`, `module:function`, or several of them together. For rendezvous, ring_hash and maglev, which take the
    client when not given."""
    slow_start: SlowStartSettings = SlowStartSettings()
    """How a backend that begins to take requests is spared at first."""
    breaker: BreakerSettings = BreakerSettings()
    """When a backend is ejected for what it answers."""
    panic: Ratio = 0.5
    """Share of the backends: while fewer are available, ejected ones take requests again and, as long as one is UP, so
    do those that are DOWN, for the few that are left could not bear it all; 0 is off."""
    retry: RetrySettings = RetrySettings()
    """When a failed attempt is followed by another."""
    hedge: HedgeSettings = HedgeSettings()
    """When a second backend is asked beside the first."""
    max_in_flight: int = Field(default=0, ge=0)
    """Requests that may be in flight in the pool; what comes then waits in the queue. 0 is without limit."""
    backend_max_in_flight: int = Field(default=0, ge=0)
    """Requests that may be in flight at each backend that does not say it itself; 0 is without limit."""
    queue: QueueSettings = QueueSettings()
    """Where requests wait while all backends are full."""
    adaptive: AdaptiveSettings = AdaptiveSettings()
    """A limit on the requests in flight that finds itself."""
    sticky: StickySettings = StickySettings()
    """A cookie of ours that keeps a client at its backend."""
    max_response_header_bytes: Size = Field(default=65536, ge=1024)
    """Bytes of a response head, above which it is a 502; at least 1KiB."""
    max_response_headers: int = Field(default=200, ge=1)
    """Fields of a response head, above which it is a 502."""

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        twice = [name for name, count in Counter(backend.id for backend in self.backends).items() if count > 1]
        if twice:
            fix = 'give each an id of its own, as in "url|id=a"'
            raise Wrong(f'two backends have the id "{twice[0]}"', fix, at=("backends",))
        return self

    @model_validator(mode="after")
    def _one_client_a_connection(self) -> Self:
        message = "no PROXY header goes before HTTP/2, whose connections are for many clients"
        if self.proxy_header.version and any(backend.url.startswith("h2c:") for backend in self.backends):
            raise Wrong(message, "write http:// backends, or leave it out", at=("proxy_header", "version"))
        if self.proxy_header.version and "h2" in self.tls.alpn:
            raise Wrong(message, "leave out h2 here, or proxy_header.version", at=("tls", "alpn"))
        return self

    @model_validator(mode="after")
    def _waits_within_total(self) -> Self:
        """Only where it was said: a default is cut by what is left of the exchange."""
        total = self.timeouts.total
        if total and "timeout" in self.queue.model_fields_set and self.queue.timeout > total:
            fix = f"write a timeout of at most {spell_duration(total)}, or a longer timeouts.total"
            raise Wrong("the timeout of the queue is longer than timeouts.total", fix, at=("queue", "timeout"))
        return self
