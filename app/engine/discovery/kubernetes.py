"""Backends that are the ready endpoints of a Kubernetes service: its EndpointSlices, listed and watched.

Our service account has to be allowed to list and to watch `endpointslices` of `discovery.k8s.io` in the namespace.
What is not ready, or on its way out, is no backend: it is drained by us while it is being stopped.

Source: Kubernetes API, "EndpointSlice v1" and "Efficient detection of changes" with what to do about 410 Gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import Field

from app.engine.discovery.api import ApiOptions, Url, token_of
from app.engine.discovery.members import Sieve, decoded, url
from app.engine.discovery.request import asking
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.models import File, Line
from settings.units import Duration

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds who it is."""
GATHER = 0.1
"""Seconds, within which events are one change."""
REST = 0.2
"""Seconds, at least, between two lists."""
GONE = 410
MOST_SLICES = 1000

Slices = dict[str, dict[str, Any]]


class KubernetesOptions(ApiOptions):
    """Which service. As it stands, it is for a balancer that runs in the cluster itself."""

    url: Url = "https://kubernetes.default.svc"
    """Where the API server is."""
    ca: File = ACCOUNT / "ca.crt"
    """PEM file of its authority."""
    token_file: File = ACCOUNT / "token"
    """File that holds our token, read anew for each request."""
    namespace: Line = ""
    """Namespace of the service; our own when not given."""
    service: Line = Field(min_length=1)
    """Name of the service."""
    port: Line = ""
    """Name or number of the port, needed where there are several; that of the pods, not of the service."""
    scheme: Literal["http", "https", "h2c"] = "http"
    """How the backends are spoken to."""
    interval: Duration = Field(default=300.0, ge=1)
    """How long a watch goes on before all is listed anew."""


class Kubernetes(Source):
    """Lists the slices of a service, and goes by what the watch says of them."""

    Options = KubernetesOptions

    def __init__(self, options: KubernetesOptions, *, pool: str, **services: object) -> None:
        self._options = options
        self._sieve = Sieve(pool)

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give what is there now, and after each change."""
        options = self._options
        namespace = options.namespace or (await asyncio.to_thread((ACCOUNT / "namespace").read_text)).strip()
        path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"
        which = {"labelSelector": f"kubernetes.io/service-name={options.service}"}
        while True:
            slices, version = await self._list(f"{path}?{urlencode(which)}")
            watch = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(round(options.interval))}
            async with asking(options, f"{path}?{urlencode(which | watch)}", fields=await self._fields()) as told:
                _well(told.status)
                yield self._members(slices)
                while lines := await told.lines(options.interval + options.timeout, GATHER):
                    if not _follow(slices, lines):
                        break
                    yield self._members(slices)
            await asyncio.sleep(REST)

    async def _list(self, target: str) -> tuple[Slices, str]:
        async with asking(self._options, target, fields=await self._fields()) as reply:
            _well(reply.status)
            said = decoded(await reply.read())
        try:
            return {one["metadata"]["name"]: one for one in said["items"]}, str(said["metadata"]["resourceVersion"])
        except (KeyError, TypeError):
            raise SourceFailed("not an answer of Kubernetes") from None

    async def _fields(self) -> dict[str, str]:
        token = await token_of(self._options)
        return {"authorization": f"Bearer {token}"} if token else {}

    def _members(self, slices: Slices) -> Members:
        """Of a service of both families the IPv4 addresses: each pod is in slices of either."""
        found: dict[str, list[tuple[str, dict[str, Any] | str]]] = {"IPv4": [], "IPv6": []}
        for name, one in sorted(slices.items()):
            if (family := one.get("addressType")) in found:
                found[family] += self._endpoints(name, one)
        return self._sieve.take(found["IPv4"] or found["IPv6"])

    def _endpoints(self, name: str, said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any] | str]]:
        try:
            port = self._port(said.get("ports") or ())
            ready = [one for one in said.get("endpoints") or () if _is_ready(one.get("conditions") or {})]
            addresses = [str(one["addresses"][0]) for one in ready]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            yield name, "it is not described as Kubernetes does"
            return
        if port is None:
            if addresses:
                yield name, f"it has no TCP port {self._options.port}" if self._options.port else "which of its ports?"
            return
        for address in addresses:
            yield f"{name} {address}", {"url": url(self._options.scheme, address, port)}

    def _port(self, ports: Any) -> int | None:
        wanted = self._options.port
        there = {(port.get("name") or "", int(port["port"])) for port in ports if port.get("protocol", "TCP") == "TCP"}
        if wanted:
            there = {(name, number) for name, number in there if wanted in (name, str(number))}
        return there.pop()[1] if len(there) == 1 else None


def _is_ready(conditions: dict[str, Any]) -> bool:
    """Not known is to be taken for ready."""
    return conditions.get("ready") is not False and not conditions.get("terminating")


def _follow(slices: Slices, lines: list[bytes]) -> bool:
    """Apply what a watch said; False where it cannot go on, and all has to be listed anew. Raises SourceFailed."""
    for line in lines:
        said = decoded(line)
        try:
            kind, one = said["type"], said["object"]
            if kind == "ERROR":
                if one.get("code") == GONE:
                    return False
                raise SourceFailed(f"watch: {str(one.get('message'))[:200]}")
            name = one["metadata"].get("name")
        except (KeyError, TypeError, AttributeError):
            raise SourceFailed("not an answer of Kubernetes") from None
        if kind == "DELETED":
            slices.pop(name, None)
        elif kind in ("ADDED", "MODIFIED"):
            slices[name] = one
            if len(slices) > MOST_SLICES:
                raise SourceFailed(f"over {MOST_SLICES} slices")
    return True


def _well(status: int) -> None:
    if status != 200:
        raise SourceFailed(f"status {status}")
