"""What a group does at its edge: whom it lets in, what browsers may do, how errors look, what is compressed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from settings.models import FieldValue, Frozen, Listed, Network, Token, paired
from settings.problems import Wrong
from settings.units import Duration, Size


def _origin(value: str) -> str:
    origin = value.lower()
    if origin in ("*", "null") or re.fullmatch(
        r"[a-z][a-z0-9+.-]*://(?:\*\.)?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", origin
    ):
        return origin.removesuffix(":443" if origin.startswith("https:") else ":80")
    fix = 'write scheme and host, such as "https://app.example.org" or "https://*.example.org", without a path'
    raise Wrong("not an origin", fix)


def _status(value: str) -> str:
    if not re.fullmatch(r"[45](?:xx|[0-9]{2})", value.lower()):
        raise Wrong("not a status of an error", 'write one such as "404", or a class, "4xx" or "5xx"')
    return value.lower()


def _media(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)", value.lower()):
        raise Wrong("not a media type", 'write one such as "text/html" or "text/*"')
    return value.lower()


class AccessSettings(Frozen):
    """Which networks may come."""

    allow: Listed[Network] = ()
    """Networks of clients that may; all, when none is named."""
    deny: Listed[Network] = ()
    """Networks of clients that may not, whatever `allow` says."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.allow and not self.deny:
            raise Wrong("it refuses nobody", "write allow, deny, or both")
        return self


class CorsSettings(Frozen):
    """What scripts of other origins may do, as browsers ask (the Fetch standard)."""

    origins: Listed[Annotated[str, AfterValidator(_origin)]]
    """Origins that may: exact, `https://*.example.org` for one or more labels in front, or `*`."""
    methods: Listed[Token] = ("GET", "HEAD", "POST")
    """Methods that they may use."""
    headers: Listed[Token] = ()
    """Fields that they may send beside the simple ones; `*` for any."""
    expose: Listed[Token] = ()
    """Fields of responses that they may read beside the simple ones."""
    credentials: bool = False
    """Whether they may come with cookies and logins."""
    max_age: Duration = 600.0
    """How long a browser need not ask again."""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if not self.origins:
            raise Wrong("no origin may do anything", "write some origins", at=("origins",))
        if self.credentials and {"*", "null"} & set(self.origins):
            fix = "name the origins that may come with cookies: any page could act for who is logged in"
            raise Wrong("credentials for everybody", fix, at=("origins",))
        if self.credentials and "*" in self.headers:
            raise Wrong('with credentials, browsers take "*" for a name', "name the fields", at=("headers",))
        return self


class ErrorSettings(Frozen):
    """How errors look: `404` or a class, `5xx`, to a page. `{status}`, `{title}` and `{request_id}` are put in."""

    files: Annotated[dict[Annotated[str, AfterValidator(_status)], Path], BeforeValidator(paired)] = Field(default={})
    """Status to a file, whose suffix says what it is: .html, .txt or .json; looked at again when it changes."""
    texts: Annotated[dict[Annotated[str, AfterValidator(_status)], str], BeforeValidator(paired)] = Field(default={})
    """Status to the page itself."""
    content_type: FieldValue = "text/html; charset=utf-8"
    """Content-Type of the texts."""
    backend: bool = False
    """Whether errors that a backend answers are shown so, too."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.files and not self.texts:
            raise Wrong("there is no page", "write some files, or texts")
        if both := sorted(self.files.keys() & self.texts.keys()):
            raise Wrong(f"{both[0]} has a file and a text", "keep one of them", at=("texts",))
        return self


class CompressionSettings(Frozen):
    """Compress what backends answer."""

    codings: Listed[Literal["zstd", "br", "gzip"]] = ("gzip",)
    """Ways of compressing, the one we like best first."""
    level: int = Field(default=4, ge=1, le=9)
    """How hard it is tried: 1 quick, 9 small."""
    min_size: Size = 1024
    """Bytes below which a response stays as it is."""
    types: Listed[Annotated[str, AfterValidator(_media)]] = (
        "text/*", "application/json", "application/javascript", "application/xml", "application/problem+json",
        "application/ld+json", "application/manifest+json", "application/wasm", "application/x-ndjson",
        "application/xhtml+xml", "application/rss+xml", "application/atom+xml", "image/svg+xml", "font/ttf", "font/otf",
    )  # fmt: skip
    """Media types that are compressed."""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.codings:
            raise Wrong("there is no way to compress", 'write some, such as "gzip"', at=("codings",))
        return self
