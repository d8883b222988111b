"""The composition root: settings to objects, top to bottom. Each layer's line says why it stands where it stands."""

from __future__ import annotations

from functools import partial
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from app.admin.control import Control
from app.admin.routes import routes as admin_routes
from app.domain.client import TrustedProxies
from app.domain.fields import FieldRules
from app.domain.forwarded import ForwardedRule
from app.domain.membership import Change
from app.domain.request_head import RequestHeadRule
from app.domain.rewrite import Target
from app.edge.link import Link
from app.engine.client import Client
from app.engine.direct import Direct, way_in
from app.engine.discovery.watch import Watcher
from app.engine.dispatch import Dispatcher
from app.engine.forward import Forwarder
from app.engine.jobs import Jobs
from app.engine.mirror import Copies
from app.engine.prober import Prober
from app.engine.relay import Relay
from app.engine.state import open_boards, open_state
from app.engine.state.memory import MemoryState
from app.engine.telemetry.access_log import AccessLog
from app.engine.telemetry.instruments import Instruments
from app.engine.telemetry.journal import Journal
from app.engine.telemetry.lines import LINES
from app.engine.topology import Topology
from app.engine.transport.transport import UpstreamTransport
from app.groups.gateway import Gateway
from app.groups.group import build_group
from app.groups.mount import GroupMount
from app.lifespan import Running, lifespan
from app.middleware.client_address import ClientAddress
from app.middleware.hsts import Hsts
from app.middleware.observe import Observe
from app.middleware.overload import Lag, Overload
from app.middleware.rate_limit import Limiter, rate_limited
from app.middleware.rescue import Rescue
from app.plan import plan
from app.planes import Planes

if TYPE_CHECKING:
    from app.engine.asgi import ASGIApp
    from settings import Settings
    from settings.groups import GroupSettings


def create_app(settings: Settings) -> Planes:
    """The app that *settings* describe; nothing runs before its lifespan.

    Raises:
        SettingsError: something that is asked for cannot be made.
    """
    table = plan(settings)
    rng = Random()

    # The backends, and the way to them
    topology = Topology(rng=rng)
    transport = UpstreamTransport()
    topology.listen(lambda _: transport.follow(topology.pools.values()))
    topology.apply(settings)
    client = Client(transport)
    dispatchers = {name: Dispatcher(pool, rng=rng) for name, pool in topology.pools.items()}

    def follow(_: Change) -> None:
        for dispatcher in dispatchers.values():
            dispatcher.follow()

    topology.listen(follow)

    # What is shared, and what is written down
    limited = [limit for limit in (settings.rate_limit, *settings.limits.values()) if limit.kind != "none"]
    state = open_state(settings, rng) if limited else MemoryState()  # who limits nothing needs no place for it
    boards = open_boards(settings)
    limiters = {name: Limiter(name, limit, state) for name, limit in settings.limits.items() if limit.kind != "none"}
    everybody = Limiter("default", settings.rate_limit, state) if settings.rate_limit.kind != "none" else None
    line = LINES.get(settings.log.format)
    access_log = AccessLog(line) if line is not None else None
    lag = Lag(settings.edge.max_loop_lag) if settings.edge.max_loop_lag else None
    copies = Copies()
    instruments = Instruments(
        dispatchers=dispatchers.values,
        limited=lambda: [limiter.sample() for limiter in (*limiters.values(), *((everybody,) if everybody else ()))],
        mirrored=copies.sample,
        dropped=lambda: access_log.dropped if access_log is not None else 0,
        state=state,
        lag=lag,
    )
    observers = [instruments.observe, *((access_log.observe,) if access_log is not None else ())]
    journal = Journal(observers, [instruments.refused])

    # The groups
    trusted = TrustedProxies(settings.trusted_proxies)
    forwarded = ForwardedRule(settings.forwarded, trusted)

    def forwarder(pool: str, group: GroupSettings) -> ASGIApp:
        return Forwarder(
            dispatchers[pool],
            client=client,
            head=RequestHeadRule(settings.forwarded, forwarded, FieldRules.of(group.request_headers), rng),
            relay=Relay(settings.forwarded.via, FieldRules.of(group.response_headers)),
            target=Target.of(group),
            own_host=group.host_header == "backend",
            max_body=settings.edge.max_body,
        )

    groups = {
        name: build_group(name, group, forwarder_factory=forwarder, limiters=limiters, copies=copies, rng=rng)
        for name, group in settings.groups.items()
    }
    gateway = Gateway(table, groups, settings.edge.encoded_slash)

    # The data plane, from the inside out; what is off is not there
    data: ASGIApp = gateway
    if everybody is not None:
        data = rate_limited(data, everybody)  # before routing: a refused request must cost nothing more
    if settings.tls.hsts:
        data = Hsts(data, tls=settings.tls)  # inside ClientAddress, which may know the scheme better
    if trusted:
        data = ClientAddress(data, trusted=trusted)  # before anything that keys on the client
    if lag is not None:
        data = Overload(data, lag=lag)  # before all that costs something
    rescue = Rescue(data, rng=rng)  # outside all that raise; inside Observe, so that its responses are timed
    observe = Observe(rescue, journal=journal)  # outside all: sees 429, 503 and crashes; closes every exchange

    # The control plane, and the whole
    link = Link(settings.edge, journal.refuse)
    direct: Direct | None = None
    layers, end = way_in(data)
    if settings.edge.driver == "direct" and end is gateway:  # no layer has to wait for something
        direct = Direct(
            prefix=settings.admin.prefix.encode(),
            layers=layers,
            find=gateway.find,
            apps=groups,
            around=lambda app: partial(observe.close_after, Rescue(app, rng=rng)),
            close=observe.close,
        )

    def metrics() -> str:
        journal.flush()
        return instruments.text()

    def ready() -> tuple[bool, dict[str, dict[str, int]]]:
        open_, pools = topology.ready(monotonic())
        return open_ and not link.draining, pools

    control = Control(settings=settings, topology=topology, route_table=table, metrics_text=metrics, ready=ready)
    running = Running(
        settings=settings,
        client=client,
        jobs=Jobs(),
        prober=Prober(topology, rng=rng),
        watcher=Watcher(topology, rng=rng),
        state=state,
        boards=boards,
        journal=journal,
        access_log=access_log,
        copies=copies,
        lag=lag,
        link=link,
    )
    return Planes(
        data=observe,
        prefix=settings.admin.prefix,
        routes=[
            *admin_routes(control),
            *(GroupMount(name, group, groups[name], gateway) for name, group in settings.groups.items()),
        ],
        lifespan=partial(lifespan, running=running),
        direct=direct,
    )
