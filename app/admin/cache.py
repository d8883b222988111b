"""Purges stored responses: by URL, by the beginning of URLs, by tag; here and everywhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from app.admin.answers import Json, Refusal
from app.admin.body import body_of, parsed
from app.engine.caches import Purge
from app.engine.caches.purges import Done, Purges
from app.engine.state.board import BoardAway
from settings.models import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.engine.caches.keys import Keys

_log = logging.getLogger("l7lb.admin")


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)]


class PurgeRequest(Frozen):
    """What a POST says: one of `url`, `prefix` and `tag`, each a text or a list of them, or `all`."""

    model_config = ConfigDict(strict=True)

    url: Texts = ()
    """As clients ask for it: `https://example.org/path?query`."""
    prefix: Texts = ()
    """What URLs begin with: `https://example.org/shop/`."""
    tag: Texts = ()
    """Of those that responses name in Cache-Tag or Surrogate-Key."""
    all: bool = False
    """Everything."""
    group: str = ""
    """Only what this group has stored."""
    soft: bool = False
    """They stay, stale: to be validated, or used in place of an error."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum((bool(self.url), bool(self.prefix), bool(self.tag), self.all)) != 1:
            raise ValueError("say one of url, prefix, tag and all")
        return self


class CachePurges:
    """`/cache/purge`: POST forgets, and says how many responses that were, and who has done it.

    Args:
        keys: of each group that has a cache.
    """

    def __init__(self, keys: Mapping[str, Keys], purges: Purges) -> None:
        self._keys = keys
        self._purges = purges

    async def answer(self, request: Request) -> Response:
        """Serve one request. Raises Refusal."""
        asked = parsed(await body_of(request), PurgeRequest)
        wanted = list(self._wanted(asked))
        try:
            done = await self._purges.purge(wanted)
        except BoardAway as error:
            raise Refusal(503, f"purged here, and nowhere else: {error}", {"retry-after": "1"}) from None
        return self._told(asked, done)

    def _wanted(self, asked: PurgeRequest) -> Iterator[Purge]:
        """The purges, in the terms of stores. Raises Refusal."""
        groups = self._groups(asked.group)
        for tag in asked.tag:
            yield Purge("tag", _ascii(tag, "tag"), asked.group, asked.soft)
        for name in groups if asked.all else ():
            yield Purge("prefix", name.encode() + b" ", soft=asked.soft)
        for prefix in asked.prefix:
            scheme, host, target = _split(prefix, "prefix")
            for name in groups:
                if target:
                    begin = self._keys[name].of(scheme, host, b"") + target
                else:
                    begin = f"{name} {scheme}://{host}".encode()
                yield Purge("prefix", begin, soft=asked.soft)
        for url in asked.url:
            scheme, host, target = _split(url, "url")
            for name in groups:
                yield Purge("key", self._keys[name].of(scheme, host, target or b"/"), soft=asked.soft)

    def _groups(self, group: str) -> list[str]:
        known = list(self._keys)
        if group and group not in known:
            detail = f"group {group} has no cache"
            raise Refusal(422, detail, errors=[{"at": "group", "message": detail}])
        return [group] if group else known

    def _told(self, asked: PurgeRequest, done: list[Done]) -> Response:
        everywhere = self._purges.reaches_all and all(one.responses is not None for one in done)
        count = sum(one.responses or 0 for one in done)
        _log.info("cache: %d stored responses are %s", count, "stale" if asked.soft else "forgotten")
        told = {
            "responses": count,
            "soft": asked.soft,
            "everywhere": everywhere,
            "workers": [
                {
                    "worker": one.worker.id,
                    "machine": one.worker.machine,
                    "pid": one.worker.pid,
                    "state": "silent" if one.responses is None else "purged",
                    "responses": one.responses or 0,
                }
                for one in done
            ],
        }
        return Json(told, 200 if everywhere else 202)


def _split(url: str, name: str) -> tuple[str, str, bytes]:
    """Scheme, host and target, which is empty where there is no path. Raises Refusal."""
    _ascii(url, name)
    try:
        parts = urlsplit(url)
        host = parts.netloc.lower()
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in host and not parts.fragment
    except ValueError:
        sound = False
    if not sound:
        detail = "not a URL: write https://host/path, as clients ask for it"
        raise Refusal(422, f"{name}: {detail}", errors=[{"at": name, "message": detail}])
    target = url.partition("://")[2].partition("/")[1:]
    return parts.scheme, host, _ascii("".join(target), name)


def _ascii(text: str, name: str) -> bytes:
    if not text.isascii() or any(character.isspace() or not character.isprintable() for character in text):
        detail = "write it as it is sent: without spaces, what is not ASCII percent-encoded"
        raise Refusal(422, f"{name}: {detail}", errors=[{"at": name, "message": detail}])
    return text.encode()
