"""Backends that run as containers: by label, as Docker, or Podman, lists them and tells of their events.

| label        | says                                                                                     |
|--------------|------------------------------------------------------------------------------------------|
| `l7lb.pool`  | whose backend it is                                                                      |
| `l7lb.port`  | where it listens, where that is not the only port it exposes                             |
| `l7lb.scheme`, `l7lb.id`, `l7lb.weight`, `l7lb.level`, `l7lb.max_in_flight` | as in the settings        |

Its id is the name of the container. Whether it is well is for our probes to find out.

Source: Docker Engine API, "List containers" and "Monitor events".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal
from urllib.parse import urlencode

from pydantic import Field

from app.engine.discovery.api import ApiOptions, Url
from app.engine.discovery.members import Sieve, decoded, url
from app.engine.discovery.request import asking
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.models import Line, Port
from settings.units import Duration

PREFIX = "l7lb."
OPTIONS = ("id", "weight", "level", "max_in_flight")
EVENTS = ("start", "die", "died", "pause", "unpause", "rename", "update")
"""What may change the list; `died` is what Podman 4 calls `die`, when it is asked for it."""
GATHER = 0.1
"""Seconds, within which events are one change."""


class DockerOptions(ApiOptions):
    """Which containers. Who may use the socket is root on its machine: a proxy that only lets reading through helps."""

    url: Url = "unix:///var/run/docker.sock"
    """Where the API is."""
    label: Line = ""
    """Label, or label=value, of the containers, such as `com.docker.compose.service=web`; `l7lb.pool=<pool>` when not
    given."""
    network: Line = ""
    """The network in which they are reached; the first by name when not given."""
    port: Port | None = None
    """Where they listen, where no label says it."""
    scheme: Literal["http", "https", "h2c"] = "http"
    """How they are spoken to, where no label says it."""
    interval: Duration = Field(default=60.0, gt=0)
    """How long after the last event they are listed anew in any case."""


class Docker(Source):
    """Lists the containers, and lists them again when there was an event."""

    Options = DockerOptions

    def __init__(self, options: DockerOptions, *, pool: str, **services: object) -> None:
        self._options = options
        self._label = options.label or f"{PREFIX}pool={pool}"
        self._sieve = Sieve(pool)

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give what is there now, and after each change."""
        events = _target("/events", type=["container"], label=[self._label], event=list(EVENTS))
        while True:
            async with asking(self._options, events) as told:  # before the list, so that nothing is missed in between
                if told.status != 200:
                    raise SourceFailed(f"events: status {told.status}")
                while True:
                    yield await self._list()
                    try:
                        if not await told.lines(self._options.interval, GATHER):
                            raise SourceFailed("the stream of events ended")
                    except TimeoutError:
                        break

    async def _list(self) -> Members:
        containers = _target("/containers/json", label=[self._label], status=["running"])
        async with asking(self._options, containers) as reply:
            if reply.status != 200:
                raise SourceFailed(f"containers: status {reply.status}")
            listed = decoded(await reply.read())
        if not isinstance(listed, list):
            raise SourceFailed("not a list of containers")
        return self._sieve.take(self._container(one) for one in listed)

    def _container(self, said: Any) -> tuple[str, dict[str, Any] | str]:
        try:
            name = str(said["Names"][0]).removeprefix("/")
            labels: dict[str, str] = said.get("Labels") or {}
            networks: dict[str, dict[str, Any]] = said["NetworkSettings"]["Networks"]
            ports = {port["PrivatePort"] for port in said.get("Ports") or () if port["Type"] == "tcp"}
            addresses = {name: of.get("IPAddress") or of.get("GlobalIPv6Address") for name, of in networks.items()}
        except (KeyError, TypeError, IndexError, AttributeError):
            return "a container", "it is not described as Docker does"
        wanted = [self._options.network] if self._options.network else sorted(addresses)
        address = next((addresses[one] for one in wanted if addresses.get(one)), None)
        if address is None:
            return name, f"it has no address in {self._options.network or 'any network'}"
        port = labels.get(f"{PREFIX}port") or self._options.port or (ports.pop() if len(ports) == 1 else None)
        if port is None:
            return name, f"which of its ports? Say it by the label {PREFIX}port"
        fields = {key: labels[PREFIX + key] for key in OPTIONS if labels.get(PREFIX + key)}
        scheme = labels.get(f"{PREFIX}scheme") or self._options.scheme
        return name, {"id": name, **fields, "url": url(scheme, str(address), port)}


def _target(path: str, **filters: list[str]) -> str:
    return f"{path}?{urlencode({'filters': json.dumps(filters)})}"
