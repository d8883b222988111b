"""One route group: which requests, which pool, what is changed on the way."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import Field

from settings.models import Frozen

Network = IPv4Network | IPv6Network


class RedirectSettings(Frozen):
    """Answer with a redirect; `{scheme} {host} {path} {query}` in *to* are the request's."""

    to: str
    status: Literal[301, 302, 303, 307, 308] = 308


class ResponseSettings(Frozen):
    """Answer with a fixed response."""

    status: int = Field(200, ge=200, le=599)
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


class RewriteSettings(Frozen):
    """Replace the path by a regular expression."""

    pattern: str
    to: str


class HeaderSettings(Frozen):
    """Header fields to change: removed first, then set, then added."""

    remove: tuple[str, ...] = ()
    set: dict[str, str] = {}
    add: dict[str, str] = {}


class GroupSettings(Frozen):
    """A route group. What is not given matches everything."""

    host: tuple[str, ...] = ()
    """Hosts: exact, or `*.example.org` for one or more labels in front."""
    path: str = "/"
    """A path; `path_match` says how it is compared."""
    path_match: Literal["prefix", "exact", "regex"] = "prefix"
    """prefix goes by whole segments: `/api` matches `/api` and `/api/x`, never `/apix`."""
    method: tuple[str, ...] = ()
    header: dict[str, str] = {}
    """Name to value; `*` for any value, `~` in front for a regular expression."""
    query: dict[str, str] = {}
    """Likewise for query parameters."""
    client: tuple[Network, ...] = ()
    """Networks of the client."""
    priority: int = 0
    """The higher wins; among equals the more specific, as in the Gateway API."""

    pool: str | None = None
    redirect: RedirectSettings | None = None
    respond: ResponseSettings | None = None

    strip_prefix: bool | str = False
    """true: the group's own path is taken off; or the prefix to take off."""
    add_prefix: str = ""
    rewrite: RewriteSettings | None = None
    host_header: Literal["pass", "backend"] = "pass"
    """The Host that the backend sees: the client's, or its own."""
    request_headers: HeaderSettings = HeaderSettings()
    response_headers: HeaderSettings = HeaderSettings()
    limit: str | None = None
    """Name of a limiter under `limits`."""
