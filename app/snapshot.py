"""What one revision of the settings makes of the data plane; a reload replaces it whole.

What a revision did not change is the same object in the next one, with all that it counts and knows. What it did
change goes on where the former left off, as far as that means the same. An exchange keeps the objects that it came by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from app.domain.client import TrustedProxies
from app.domain.cors import OWNED
from app.domain.fields import FieldRules, trailer_names
from app.domain.forwarded import ForwardedRule
from app.domain.request_head import RequestHeadRule
from app.domain.rewrite import Target
from app.engine.dispatch import Dispatcher
from app.engine.forward import Forwarder
from app.engine.relay import Relay
from app.engine.state import Roomy
from app.engine.switch import Switch
from app.groups.group import build_group
from app.middleware.challenges import Challenges
from app.middleware.client_address import ClientAddress
from app.middleware.hsts import Hsts
from app.middleware.overload import Overload, Sign
from app.middleware.rate_limit import Limiter, rate_limited

if TYPE_CHECKING:
    from app.domain.routing import RouteTable
    from app.domain.trace import Ids
    from app.engine.asgi import ASGIApp
    from app.engine.client import Client
    from app.engine.mirror import Copies
    from app.engine.state import RemoteState, State
    from app.engine.topology import Topology
    from app.engine.tunnels import Tunnels
    from app.groups.authorities import Authorities
    from app.groups.stores import Stores
    from settings import Settings
    from settings.groups import GroupSettings
    from settings.limits import LimitSettings


EVERYBODY = "default"
"""The limiter for every request; no other may have the name."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What every snapshot stands on, and outlives it."""

    topology: Topology
    client: Client
    state: State | RemoteState
    copies: Copies
    tunnels: Tunnels
    stores: Stores
    authorities: Authorities
    rng: Random
    ids: Ids


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision at work.

    Attributes:
        table: host and path to group.

        groups: the app of each.

        dispatchers: one for each pool.

        limiters: by name; that for everybody is EVERYBODY. One of kind none is not there, and costs nothing.

        trusted: whose word on the client is taken.
    """

    settings: Settings
    table: RouteTable
    groups: Mapping[str, ASGIApp]
    dispatchers: Mapping[str, Dispatcher]
    limiters: Mapping[str, Limiter]
    trusted: TrustedProxies

    def layers(self, app: ASGIApp, signs: Iterable[Sign]) -> ASGIApp:
        """*app*, which routes, with what stands around it, from the inside out; what is off is not there."""
        settings = self.settings
        if (everybody := self.limiters.get(EVERYBODY)) is not None:
            app = rate_limited(app, everybody)  # before routing: a refused request must cost nothing more
        if settings.tls.hsts:
            app = Hsts(app, tls=settings.tls)  # inside ClientAddress, which may know the scheme better
        if self.trusted:
            app = ClientAddress(app, trusted=self.trusted)  # before anything that keys on the client
        for sign in signs:
            app = Overload(app, sign=sign)  # before all that costs something
        if settings.tls.acme.domains:
            app = Challenges(app, settings.tls.acme.challenges)  # before all: an authority asks once, by any listener
        return app


def build(settings: Settings, table: RouteTable, ground: Ground, former: Snapshot | None = None) -> Snapshot:
    """The snapshot of *settings*, for which `plan` gave *table*, after *former*; the topology is changed with it."""
    ground.topology.apply(settings)
    dispatchers = _dispatchers(ground, former)
    limiters = _limiters(settings, ground, former)
    trusted = TrustedProxies(settings.trusted_proxies)
    forwarded = ForwardedRule(settings.forwarded, trusted)

    def forwarder(pool: str, group: GroupSettings) -> ASGIApp:
        return Forwarder(
            dispatchers[pool],
            client=ground.client,
            head=RequestHeadRule(settings.forwarded, forwarded, FieldRules.of(group.request_headers), ground.ids),
            relay=Relay(settings.forwarded.via, FieldRules.of(group.response_headers, OWNED if group.cors else ())),
            target=Target.of(group),
            own_host=group.host_header == "backend",
            max_body=settings.edge.max_body if group.max_body is None else group.max_body,
            trailers=trailer_names(group.request_trailers),
            switch=Switch(
                group.upgrade, tunnels=ground.tunnels, timeout=dispatchers[pool].pool.settings.timeouts.tunnel
            ),
        )

    def group(name: str, wanted: GroupSettings) -> ASGIApp:
        if former is not None and _same(former, settings, name, dispatchers, limiters):
            return former.groups[name]
        return build_group(
            name,
            wanted,
            forwarder_factory=forwarder,
            limiters=limiters,
            copies=ground.copies,
            stores=ground.stores,
            authorities=ground.authorities,
            rng=ground.rng,
        )

    groups = {name: group(name, wanted) for name, wanted in settings.groups.items()}
    return Snapshot(settings, table, groups, dispatchers, limiters, trusted)


def _dispatchers(ground: Ground, former: Snapshot | None) -> dict[str, Dispatcher]:
    found: dict[str, Dispatcher] = {}
    for name, pool in ground.topology.pools.items():
        present = former.dispatchers.get(name) if former is not None else None
        if present is None or present.pool is not pool:
            dispatcher = Dispatcher(pool, rng=ground.rng)
            if present is not None:
                present.yield_to(dispatcher)
            present = dispatcher
        found[name] = present
    for name, dispatcher in former.dispatchers.items() if former is not None else ():
        dispatcher.retired = name not in found
    return found


def _limiters(settings: Settings, ground: Ground, former: Snapshot | None) -> dict[str, Limiter]:
    before = _limits(former.settings) if former is not None else {}
    found: dict[str, Limiter] = {}
    for name, limit in _limits(settings).items():
        present = former.limiters.get(name) if former is not None else None
        if present is None or before[name] != limit:
            limiter = Limiter(name, limit, ground.state)
            if present is not None:
                limiter.refused = present.refused
            present = limiter
        found[name] = present
    if isinstance(ground.state, Roomy):
        ground.state.make_room(sum(limiter.rule.max_keys for limiter in found.values()))
    return found


def _limits(settings: Settings) -> dict[str, LimitSettings]:
    """By name, those that are on."""
    limits = {**settings.limits, EVERYBODY: settings.rate_limit}
    return {name: limit for name, limit in limits.items() if limit.kind != "none"}


def _same(
    former: Snapshot,
    settings: Settings,
    name: str,
    dispatchers: Mapping[str, Dispatcher],
    limiters: Mapping[str, Limiter],
) -> bool:
    """Whether the app of group *name* would be built of the same again."""
    before, wanted = former.settings, settings.groups[name]
    beside = (part.pool for part in (wanted.mirror, wanted.forward_auth) if part is not None)
    pools = (*wanted.pools, *beside)
    return (
        before.groups.get(name) == wanted
        and before.forwarded == settings.forwarded
        and before.trusted_proxies == settings.trusted_proxies
        and before.edge.max_body == settings.edge.max_body
        and all(former.dispatchers.get(pool) is dispatchers[pool] for pool in pools)
        and (wanted.limit is None or former.limiters.get(wanted.limit) is limiters.get(wanted.limit))
    )
