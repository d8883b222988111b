"""Backends that Consul knows as passing instances of a service, by blocking queries.

Source: Consul's HTTP API, "Health: list service instances", and "Blocking queries" with what it asks of clients: an
index that went backwards, or is 0, is not gone on with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import Field

from app.engine.discovery.api import ApiOptions, Url, token_of
from app.engine.discovery.members import Sieve, decoded, url
from app.engine.discovery.request import asking
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.models import Line, Listed
from settings.units import Duration

REST = 0.2
"""Seconds, at least, between two questions."""


class ConsulOptions(ApiOptions):
    """Which service. The token is sent as `X-Consul-Token`."""

    url: Url = "http://127.0.0.1:8500"
    """Where the API of an agent is."""
    service: Line = Field(min_length=1)
    """Name of the service."""
    tags: Listed[Line] = ()
    """Tags that an instance has to have, all of them."""
    datacenter: Line = ""
    """That of the agent when not given."""
    scheme: Literal["http", "https", "h2c"] = "http"
    """How the backends are spoken to."""
    wait: Duration = Field(default=55.0, gt=0, le=600)
    """How long a question may stay unanswered while nothing changes."""


class Consul(Source):
    """Asks for the instances; the answer comes when they are others."""

    Options = ConsulOptions

    def __init__(self, options: ConsulOptions, *, pool: str, **services: object) -> None:
        self._options = options
        self._sieve = Sieve(pool)

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give what is there now, and after each change."""
        index = 0
        while True:
            members, now = await self._ask(index)
            index = now if now >= index else 0
            yield members
            await asyncio.sleep(REST)

    async def _ask(self, index: int) -> tuple[Members, int]:
        options = self._options
        query = [("passing", "true"), *(("tag", tag) for tag in options.tags)]
        if options.datacenter:
            query.append(("dc", options.datacenter))
        if index:
            query += [("index", str(index)), ("wait", f"{round(options.wait * 1000)}ms")]
        token = await token_of(options)
        async with asking(
            options,
            f"/v1/health/service/{quote(options.service, safe='')}?{urlencode(query)}",
            fields={"x-consul-token": token} if token else None,
            patience=options.wait * 17 / 16 if index else 0.0,  # it waits up to a sixteenth longer
        ) as reply:
            if reply.status != 200:
                raise SourceFailed(f"status {reply.status}")
            said = reply.fields.get("x-consul-index", "")
            listed = decoded(await reply.read())
        if not isinstance(listed, list) or not (said.isascii() and said.isdigit()):
            raise SourceFailed("not an answer of Consul")
        return self._sieve.take(self._instance(one) for one in listed), max(1, int(said))

    def _instance(self, said: Any) -> tuple[str, dict[str, Any] | str]:
        try:
            service, node = said["Service"], said["Node"]
            name, port = f"{node['Node']}/{service['ID']}", int(service["Port"])
            address = str(service.get("Address") or node["Address"])
            weight = int((service.get("Weights") or {}).get("Passing", 1))
        except (KeyError, TypeError, ValueError, AttributeError):
            return "an instance", "it is not described as Consul does"
        if not port:
            return name, "it has no port"
        return name, {"url": url(self._options.scheme, address, port), "weight": weight}
