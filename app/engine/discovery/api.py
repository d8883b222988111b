"""Where an API is that knows backends, and what lets us in: the options that all sources over HTTP have."""

from __future__ import annotations

import asyncio
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from app.engine.discovery.source import SourceFailed
from settings.models import File, Frozen
from settings.problems import Wrong
from settings.units import Duration


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return value
    if parts.scheme not in ("http", "https") or not host or port == 0 or not value.isascii() or not value.isprintable():
        raise Wrong("not a URL", 'write one such as "http://10.0.0.1:8500", or "unix:///run/some.sock"')
    if parts.username is not None or parts.fragment or " " in value:
        raise Wrong("a user name, a fragment or a space in it", "leave it out")
    return value


Url = Annotated[str, AfterValidator(_url)]


class ApiOptions(Frozen):
    """Where an API is, and how it is asked."""

    url: Url
    """Where it is: http, https, or `unix:///` and the path of a socket."""
    ca: File = None
    """PEM file of the authorities of an https URL; the system's store when not given."""
    verify: bool = True
    """Whether its certificate is verified."""
    timeout: Duration = Field(default=5.0, gt=0)
    """How long an answer may take."""
    token: SecretStr | None = None
    """What lets us in."""
    token_file: File = None
    """File that holds it, read anew for each request."""


async def token_of(api: ApiOptions) -> str:
    """The token for *api*, "" without one. Raises OSError, SourceFailed."""
    if api.token_file is None:
        return api.token.get_secret_value() if api.token is not None else ""
    text = (await asyncio.to_thread(api.token_file.read_text, "latin-1")).strip()
    if not text.isprintable():
        raise SourceFailed("the token's file has more than one line")
    return text
