"""One pool: which backends, how one is chosen, how long we wait."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from settings.models import Choice, File, Frozen, Listed
from settings.problems import Wrong, did_you_mean
from settings.resilience import HealthSettings
from settings.units import Duration, Ratio, Size, spell_duration

_EXAMPLE = 'write one such as "http://10.0.0.1:8000" or "https://app.internal"'


def _url(value: str) -> str:
    """*value* as `scheme://host[:port]`. Raises Wrong."""
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Wrong("not a URL", _EXAMPLE) from None
    if parts.scheme not in ("http", "https"):
        near = value if re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?", value) else ""
        raise Wrong("neither http:// nor https://", f'write "http://{near}"' if near else _EXAMPLE)
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


def _affinity(value: str) -> str:
    if re.fullmatch(r"client|path|(header|cookie):[!#$%&'*+\-.^_`|~0-9A-Za-z]+|query:[^&=#\s\x00-\x1f\x7f]+", value):
        return value.lower() if value.startswith("header:") else value
    if re.fullmatch(r"(?!(?:client|path|header|cookie|query):)[A-Za-z_][\w.]*:[A-Za-z_]\w*", value):
        return value
    fix = 'write "client", "path", "header:<name>", "cookie:<name>", "query:<name>" or "module:function"'
    raise Wrong("not a part of a key", fix)


def _whole_key(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) < len(value):
        raise Wrong("a part of the key is there twice", "leave one out")
    return value


def _default_id(data: dict[str, Any]) -> str:
    """`host:port` of the URL."""
    parts = urlsplit(data["url"])
    return parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"


class BackendSettings(Frozen):
    """One backend: `http://10.0.0.1:8000` or `http://10.0.0.1:8000|weight=2|id=a`."""

    url: Annotated[str, AfterValidator(_url)]
    """Where it is: http or https, host, and port when it is not 80 or 443."""
    id: Annotated[str, AfterValidator(_id)] = Field(default_factory=_default_id)
    """Its name in logs and metrics; host:port when not given."""
    weight: int = Field(default=1, ge=0, le=65535)
    """Share of the traffic beside the others; 0 takes none."""

    @model_validator(mode="before")
    @classmethod
    def _from_line(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        url, *options = value.split("|")
        said: dict[str, str] = {"url": url.strip()}
        for option in options:
            name, equals, rest = (part.strip() for part in option.partition("="))
            if name not in ("weight", "id") or not equals:
                near = did_you_mean(name, ("weight", "id"))
                raise Wrong(
                    f'"{name[:40]}" is not an option of a backend',
                    f'write "{near}=..."' if near else 'write "url|weight=2|id=a"',
                )
            said[name] = rest
        return said


def _within_total(seconds: float) -> Any:
    """A default of *seconds*, or the total where that is shorter."""
    return Field(default_factory=lambda data: min(seconds, data["total"] or seconds))


class TimeoutSettings(Frozen):
    """How long we wait for a backend; 0 is for ever. A default that is longer than total is cut to it."""

    total: Duration = 0.0
    """The whole exchange."""
    connect: Duration = _within_total(1.0)
    """For a connection, TLS included."""
    response: Duration = _within_total(15.0)
    """From the request being sent to the response head."""
    idle: Duration = _within_total(60.0)
    """Between two pieces of a body, either way."""
    keep_alive: Duration = 4.0
    """How long an idle connection to a backend is kept; below the backend's own limit (uvicorn's is 5 s)."""

    @model_validator(mode="after")
    def _each_within_total(self) -> Self:
        for name in ("connect", "response", "idle"):
            if self.total and getattr(self, name) > self.total:
                fix = f"write a {name} of at most {spell_duration(self.total)}, or a longer total"
                raise Wrong(f"{name} is longer than total", fix, at=(name,))
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


class PoolSettings(Frozen):
    """Backends, and how one is chosen."""

    backends: Listed[BackendSettings] = ()
    """The backends: `url|weight=2|id=a`, with commas between."""
    strategy: Choice = Choice(kind="round_robin")
    """How a backend is chosen: round_robin, random, least_connections, first, p2c, peak_ewma, least_time, rendezvous,
    ring_hash, maglev, or one that a package brings."""
    health: HealthSettings = HealthSettings()
    """How a backend's health is known."""
    timeouts: TimeoutSettings = TimeoutSettings()
    """How long we wait for a backend."""
    tls: BackendTlsSettings = BackendTlsSettings()
    """How an `https://` backend is trusted."""
    affinity: Annotated[Listed[Annotated[str, AfterValidator(_affinity)]], AfterValidator(_whole_key)] = ()
    """What requests for the same backend have in common: client, path, `header:<name>`, `cookie:<name>`,
    `query:<name>`, `module:function`, or several of them together. For rendezvous, ring_hash and maglev, which take the
    client when not given."""
    slow_start: SlowStartSettings = SlowStartSettings()
    """How a backend that begins to take requests is spared at first."""
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
