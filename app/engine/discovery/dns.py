"""Backends that DNS knows: the addresses of a name, or the services behind it, looked up again as their TTL says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from ipaddress import ip_address
from math import inf
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from app.engine.discovery import dns_message as dns
from app.engine.discovery.dns_message import Srv
from app.engine.discovery.members import bounded, url
from app.engine.discovery.resolver import Found, Resolver, Server, lookup
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.models import Frozen, Listed, Port
from settings.pools import BackendSettings
from settings.problems import Wrong
from settings.units import Duration

SHORTEST = 1.0
"""Seconds, at least, between two looks."""
TOGETHER = 8
"""Names that are looked up at once."""
HIGHEST_LEVEL = 127

_KINDS = {"a": (dns.A,), "aaaa": (dns.AAAA,), "both": (dns.A, dns.AAAA), "srv": (dns.SRV,)}


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", value) or len(value) > 253:
        raise Wrong("not a name", 'write one such as "web.internal", or "_http._tcp.web.internal" of record srv')
    return value


def _server(value: str) -> str:
    try:
        parts = urlsplit(f"//{f'[{value}]' if value.count(':') > 1 and '[' not in value else value}")
        ip_address(parts.hostname or "")
        if parts.port != 0 and not parts.path:
            return parts.netloc
    except ValueError:
        pass
    raise Wrong("not the address of a name server", 'write one such as "10.0.0.2", "10.0.0.2:5353" or "[fd00::2]:53"')


class DnsOptions(Frozen):
    """Which names."""

    name: Annotated[Listed[Annotated[str, AfterValidator(_name)]], Field(min_length=1)]
    """One name, or several. With a dot at its end it is whole, else the domains of resolv.conf are tried as well."""
    record: Literal["a", "aaaa", "both", "srv"] = "a"
    """What is asked for: IPv4 addresses, IPv6 addresses, both of them; or services, with their port and weight, their
    priority as level (for the strategy priority: others take all of them)."""
    scheme: Literal["http", "https", "h2c"] = "http"
    """How the backends are spoken to; for https, set `tls.server_name` of the pool, for they have addresses only."""
    port: Port | None = None
    """Where they listen; 80 or 443 when not given. An SRV record says it itself."""
    nameservers: Listed[Annotated[str, AfterValidator(_server)]] = ()
    """Whom to ask; those of resolv.conf when not given. At most three are."""
    interval: Duration = Field(default=10.0, gt=0)
    """How long an answer is used at most, whatever its TTL; and at least for a second."""
    timeout: Duration = Field(default=2.0, gt=0)
    """How long a name server may take; each is asked twice."""


class Dns(Source):
    """Looks names up. /etc/hosts is not looked at, for it has no TTL and is for the machine, not for a fleet.

    That a name does not exist, or has no such record, is an answer: nobody. That a server cannot say is a failure.
    """

    Options = DnsOptions

    longest: float = 10.0

    def __init__(self, options: DnsOptions, **services: object) -> None:
        self._options = options
        self._servers: list[Server] = []
        for server in options.nameservers:
            parts = urlsplit(f"//{server}")
            self._servers.append((parts.hostname or "", parts.port or 53))

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give each answer; resolv.conf is read anew when it begins."""
        resolver = Resolver(await asyncio.to_thread(lookup, self._servers), self._options.timeout)
        while True:
            found = await self._find(resolver)
            if self._options.record == "srv":
                members, ttl = await self._services(resolver, found)
            else:
                port = self._options.port or (443 if self._options.scheme == "https" else 80)
                members = frozenset(self._backend(str(r.value), port) for one in found for r in one.records)
                ttl = _ttl(found)
            yield members
            await asyncio.sleep(max(SHORTEST, min(ttl, self._options.interval)))

    async def _find(self, resolver: Resolver) -> list[Found]:
        found = [await resolver.find(name, kind) for name in self._options.name for kind in self._kinds]
        bounded(sum(len(one.records) for one in found))
        return found

    @property
    def _kinds(self) -> tuple[int, ...]:
        return _KINDS[self._options.record]

    async def _services(self, resolver: Resolver, found: list[Found]) -> tuple[Members, float]:
        """The backends of SRV records, whose targets are looked up where their addresses did not come along."""
        services = sorted({r.value for one in found for r in one.records if isinstance(r.value, Srv)})
        levels = {priority: n for n, priority in enumerate(sorted({service.priority for service in services}))}
        along: dict[str, list[str]] = {}
        ttl = _ttl(found)
        for record in (record for one in found for record in one.additional if record.kind in (dns.A, dns.AAAA)):
            along.setdefault(record.name, []).append(str(record.value))
            ttl = min(ttl, record.ttl)
        room = asyncio.Semaphore(TOGETHER)

        async def addresses(target: str) -> list[str]:
            nonlocal ttl
            async with room:
                for kind in (dns.A, dns.AAAA):
                    one = await resolver.find(f"{target}.", kind)
                    if one.records:
                        ttl = min(ttl, one.ttl)
                        return [str(record.value) for record in one.records]
            return []

        unknown = sorted({service.target for service in services if service.target and service.target not in along})
        async with asyncio.TaskGroup() as group:
            asked = {target: group.create_task(_quietly(addresses(target))) for target in unknown}
        for target, task in asked.items():
            answer = task.result()
            if isinstance(answer, SourceFailed):
                raise answer
            along[target] = answer
        members: dict[str, BackendSettings] = {}
        for service in services:
            for address in sorted(along.get(service.target, ())):
                backend = self._backend(
                    address, service.port, service.weight or 1, min(levels[service.priority], HIGHEST_LEVEL)
                )
                members.setdefault(backend.id, backend)
        bounded(len(members))
        return frozenset(members.values()), ttl

    def _backend(self, address: str, port: int, weight: int = 1, level: int = 0) -> BackendSettings:
        return BackendSettings(url=url(self._options.scheme, address, port), weight=weight, level=level)


async def _quietly(looking: Awaitable[list[str]]) -> list[str] | SourceFailed:
    """What is found, or why nothing is: so that a failure is one, and not a group of them."""
    try:
        return await looking
    except SourceFailed as error:
        return error


def _ttl(found: list[Found]) -> float:
    """The shortest, of those that have one."""
    return min((one.ttl for one in found if one.records), default=inf)
