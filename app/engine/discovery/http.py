"""Backends that a JSON endpoint names, which is asked again and again, by ETag where it has one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import Field

from app.engine.discovery.api import ApiOptions, token_of
from app.engine.discovery.members import decoded, members_of
from app.engine.discovery.request import asking
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.units import Duration


class HttpOptions(ApiOptions):
    """Which endpoint. It answers 200 with a list of backends, or a table with a list `backends`; or 304.

    The token is sent as `Authorization: Bearer`.
    """

    interval: Duration = Field(default=5.0, gt=0)
    """How long after an answer it is asked again."""


class Http(Source):
    """Polls an endpoint. Redirects are not followed, and an answer that is cut short is none."""

    Options = HttpOptions

    def __init__(self, options: HttpOptions, **services: object) -> None:
        self._options = options
        self._etag = ""
        self._members: Members = frozenset()

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give each answer."""
        while True:
            await self._ask()
            yield self._members
            await asyncio.sleep(self._options.interval)

    async def _ask(self) -> None:
        fields = {}
        if token := await token_of(self._options):
            fields["authorization"] = f"Bearer {token}"
        if self._etag:
            fields["if-none-match"] = self._etag
        async with asking(self._options, "", fields=fields) as reply:
            if reply.status == 304 and self._etag:
                return
            if reply.status != 200:
                raise SourceFailed(f"status {reply.status}")
            self._members = members_of(decoded(await reply.read()))
            self._etag = reply.fields.get("etag", "")
