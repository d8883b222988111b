"""One route group: which requests, which pool, what is changed on the way. It is longer than most, for it is a list."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from settings.cache import CacheSettings
from settings.identity import ApiKeySettings, BasicAuthSettings, ForwardAuthSettings, JwtSettings
from settings.models import (
    Fields,
    FieldValue,
    Frozen,
    Line,
    Listed,
    Matches,
    Method,
    Name,
    Network,
    Parameters,
    Pattern,
    Token,
    compiled,
)  # fmt: skip
from settings.policies import AccessSettings, CompressionSettings, CorsSettings, ErrorSettings
from settings.problems import Wrong
from settings.traffic import FaultSettings, MirrorSettings, SplitSettings
from settings.units import Size


def _host(value: str) -> str:
    host = value.lower().rstrip(".")
    if host == "*":
        return host
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise Wrong("not a host", "write its ASCII form, which begins with xn--") from None
    if not re.fullmatch(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]", host):
        near = re.sub(r"^[a-z]+://|[:/].*$", "", host)
        fix = f'write "{near}"' if near not in ("", host) else 'write a name such as "example.org" or "*.example.org"'
        raise Wrong("not a host", f"{fix}, without scheme, port or path")
    return host


def _strip(value: Any) -> Any:
    """A switch or a prefix; from the environment both are text."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    value = words.get(str(value).strip().lower(), value)
    if isinstance(value, bool) or (isinstance(value, str) and re.fullmatch(r"/[^?#\x00-\x20\x7f]*", value)):
        return value
    raise Wrong("neither a switch nor a prefix", 'write true, false or a path that starts with "/"')


def _prefix(value: str) -> str:
    if value and not re.fullmatch(r"/[^?#\x00-\x20\x7f]*", value):
        raise Wrong("not a path", 'write one that starts with "/" and has no "?", "#" or space')
    return value


def _upgrade(value: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?", value):
        raise Wrong("not a protocol", 'write its name, such as "websocket", with or without "/" and a version')
    if value.lower().partition("/")[0] in ("h2c", "h2", "http"):
        fix = "leave it out: requests in it would pass by every rule"
        raise Wrong("an upgrade to HTTP itself is never forwarded", fix)
    return value


class RedirectSettings(Frozen):
    """Answer with a redirect."""

    to: Line
    """Where to; `{scheme} {host} {hostname} {path} {query}` are the request's."""
    status: Literal[301, 302, 303, 307, 308] = 308
    """308 and 307 keep the method and the body, 301, 302 and 303 may turn it into a GET."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return _status_number({"to": value} if isinstance(value, str) else value)


class ResponseSettings(Frozen):
    """Answer with a fixed response."""

    status: int = Field(default=200, ge=200, le=599)
    """Status code."""
    body: str = ""
    """Text to answer with."""
    content_type: FieldValue = "text/plain; charset=utf-8"
    """Content-Type of the text."""

    @model_validator(mode="after")
    def _bodiless(self) -> Self:
        if self.body and self.status in (204, 205, 304):
            raise Wrong(f"a {self.status} has no body", "leave body out, or take another status", at=("body",))
        return self


class RewriteSettings(Frozen):
    """Replace the path by a regular expression."""

    pattern: Pattern
    """What to look for in the path, as sent; at most 1000 characters."""
    to: Line
    r"""What to put there; `\1` or `\g<name>` is a group of the pattern."""


class HeaderSettings(Frozen):
    """Header fields to change: removed first, then set, then added."""

    remove: Listed[Token] = ()
    """Names of the fields to take out."""
    set: Fields = Field(default={})
    """Fields to put in place of all others of their name."""
    add: Fields = Field(default={})
    """Fields to put beside others of their name."""


class GroupSettings(Frozen):
    """A route group. What is not given matches everything."""

    host: Listed[Annotated[str, AfterValidator(_host)]] = ()
    """Hosts: exact, or `*.example.org` for one or more labels in front; `*`, or none, is every host."""
    path: str = "/"
    """A path; `path_match` says how it is compared."""
    path_match: Literal["prefix", "exact", "regex"] = "prefix"
    """prefix goes by whole segments: `/api` matches `/api` and `/api/x`, never `/apix`."""
    method: Listed[Method] = ()
    """Methods, such as `GET`; CONNECT and TRACE are never served."""
    header: Matches = Field(default={})
    """Name to value; `*` for any value, `~` in front for a regular expression."""
    query: Parameters = Field(default={})
    """Likewise for query parameters."""
    client: Listed[Network] = ()
    """Networks of the client."""
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    """The higher wins; among equals the more specific, as in the Gateway API."""

    pool: Name | None = None
    """Name of the pool that requests are forwarded to."""
    split: SplitSettings | None = None
    """Several pools and the share of each, instead of one."""
    redirect: RedirectSettings | None = None
    """Answer with a redirect, instead of a pool."""
    respond: ResponseSettings | None = None
    """Answer with a fixed response, instead of a pool."""

    strip_prefix: Annotated[bool | str, BeforeValidator(_strip)] = False
    """true: the group's own path is taken off; or the prefix to take off."""
    add_prefix: Annotated[str, AfterValidator(_prefix)] = ""
    """Put in front of the path."""
    rewrite: RewriteSettings | None = None
    """Replace the path by a regular expression."""
    host_header: Literal["pass", "backend"] = "pass"
    """The Host that the backend sees: the client's, or its own."""
    request_headers: HeaderSettings = HeaderSettings()
    """Fields to change on the way to the backend."""
    response_headers: HeaderSettings = HeaderSettings()
    """Fields to change on the way to the client."""
    upgrade: Listed[Annotated[str, AfterValidator(_upgrade)]] = ("websocket",)
    """Protocols that a client may ask a backend for by `Upgrade`, whose bytes then pass unread; never h2c."""
    request_trailers: Listed[Token] = ()
    """Names of trailers of requests that go on to the backend. Many servers take them for fields of the head, so that
    none does by itself."""
    access: AccessSettings | None = None
    """Networks that may come, or may not; others are answered 403."""
    cors: CorsSettings | None = None
    """What scripts of other origins may do."""
    basic_auth: BasicAuthSettings | None = None
    """A user's name and password are asked for."""
    api_key: ApiKeySettings | None = None
    """A key is asked for."""
    jwt: JwtSettings | None = None
    """A signed token is asked for."""
    forward_auth: ForwardAuthSettings | None = None
    """Another server is asked about each request."""
    limit: Name | None = None
    """Name of a limiter under `limits`."""
    max_body: Size | None = None
    """Bytes of a request body, over which it is answered 413; `edge.max_body` when not given, 0 is without limit."""
    max_in_flight_per_client: int = Field(default=0, ge=0)
    """Requests of one client that may be in flight; what comes then is answered 429. 0 is without limit."""
    fallback: Listed[Name] = ()
    """Pools that are asked, in this order, when the group's own has no backend available."""
    fallback_respond: ResponseSettings | None = None
    """Answer when no pool has a backend available, instead of a 503."""
    mirror: MirrorSettings | None = None
    """Copies of requests for another pool, whose answers nobody sees."""
    cache: CacheSettings | None = None
    """Stored responses, in front of the pool."""
    fault: FaultSettings | None = None
    """Faults on purpose, to see how clients bear them."""
    errors: ErrorSettings | None = None
    """How errors look."""
    compression: CompressionSettings | None = None
    """Compress what backends answer."""

    @model_validator(mode="after")
    def _path_is_one(self) -> Self:
        if self.path_match == "regex":
            try:
                compiled(self.path)
            except Wrong as wrong:
                raise Wrong(wrong.message, wrong.fix, at=("path",)) from None
            if self.strip_prefix is True:
                fix = "write the prefix, or use rewrite"
                raise Wrong("a regular expression is no prefix to take off", fix, at=("strip_prefix",))
        elif not self.path.startswith("/") or re.search(r"[?#\x00-\x1f\x7f\\]|//|/\.{1,2}(?:/|$)", self.path):
            raise Wrong(
                "such a path never comes in",
                'write one that starts with "/" and has no "?", "#", "\\", "//" or dot segment in it',
                at=("path",),
            )
        return self

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        given = [name for name in ("pool", "split", "redirect", "respond") if getattr(self, name) is not None]
        if not given:
            raise Wrong("the group answers nothing", "write one of pool, split, redirect or respond")
        if len(given) > 1:
            raise Wrong(f"{' and '.join(given)} at once", f"keep one of {', '.join(given)}", at=(given[1],))
        return self

    @model_validator(mode="after")
    def _only_what_is_forwarded(self) -> Self:
        if self.pool is None and self.split is None:
            for name in ("fallback", "fallback_respond", "mirror", "cache", "compression", "max_body"):
                if getattr(self, name):
                    raise Wrong("the group forwards nothing", f"leave {name} out, or give the group a pool", at=(name,))
        if len(set(self.fallback)) < len(self.fallback):
            raise Wrong("a pool is there twice", "leave one out", at=("fallback",))
        if self.pool is not None and self.pool in self.fallback:
            raise Wrong(f"{self.pool} is the group's own pool", "leave it out", at=("fallback",))
        return self

    @model_validator(mode="after")
    def _one_authorization(self) -> Self:
        """A request has one `Authorization` field, so one layer can ask for it."""
        asking = [name for name in ("basic_auth", "api_key", "jwt") if self._asks(name)]
        if len(asking) > 1:
            fix = f"keep one of them, or set {asking[-1]}.header to another field"
            raise Wrong(f"{' and '.join(asking)} both want the Authorization field", fix, at=(asking[-1],))
        return self

    def _asks(self, name: str) -> bool:
        part = getattr(self, name)
        return part is not None and (name == "basic_auth" or (part.header or "").lower() == "authorization")

    @property
    def identifies(self) -> bool:
        """Whether its clients have to say who they are."""
        asking = (self.basic_auth, self.api_key, self.jwt, self.forward_auth)
        return any(one is not None for one in asking)

    @property
    def pools(self) -> tuple[str, ...]:
        """Every pool that takes requests of the group, its own first; copies not counted."""
        own = (self.pool,) if self.pool is not None else tuple(self.split.pools) if self.split is not None else ()
        return tuple(dict.fromkeys((*own, *self.fallback)))


def _status_number(value: Any) -> Any:
    """The environment's "301" as a number: a Literal takes no text."""
    if isinstance(value, dict) and isinstance(value.get("status"), str) and value["status"].isdecimal():
        return {**value, "status": int(value["status"][:4])}
    return value
