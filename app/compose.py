"""The composition root: settings to objects, top to bottom. Each layer's line says why it stands where it stands."""

from __future__ import annotations

from functools import partial
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any

from app.admin.cache import CachePurges
from app.admin.control import Control
from app.admin.reload import Reloads
from app.admin.routes import routes as admin_routes
from app.domain.membership import Change
from app.domain.tally import Tally, rules_of
from app.domain.trace import Ids
from app.edge.crowd import Crowd
from app.edge.link import Link
from app.engine.acme.keeper import Keeper
from app.engine.acme.storage import prepare
from app.engine.caches.purges import Purges
from app.engine.calls import Calls
from app.engine.client import Client
from app.engine.crew import Crew
from app.engine.direct import Direct, way_in
from app.engine.discovery.watch import Watcher
from app.engine.duty import Duty
from app.engine.hints import Hints
from app.engine.jobs import Jobs
from app.engine.mirror import Copies
from app.engine.passage import raising
from app.engine.prober import Prober
from app.engine.registrations import CLUSTER_LOOK, LOOK, Registrations
from app.engine.reload import Reload
from app.engine.revisions import Revisions
from app.engine.state import open_boards, open_state
from app.engine.telemetry.access_log import AccessLog
from app.engine.telemetry.instruments import Instruments
from app.engine.telemetry.journal import Journal
from app.engine.telemetry.lines import LINES
from app.engine.telemetry.tallies import Tallies
from app.engine.topology import Topology
from app.engine.transport import trust
from app.engine.transport.transport import UpstreamTransport
from app.engine.tunnels import Tunnels
from app.groups.authorities import Authorities
from app.groups.gateway import Gateway
from app.groups.mount import GroupMount
from app.groups.stores import Stores
from app.lifespan import Running, lifespan
from app.middleware.buffered import Buffered
from app.middleware.observe import Observe
from app.middleware.overload import Lag
from app.middleware.rescue import Rescue
from app.plan import plan
from app.planes import Planes
from app.renewal import Renewal
from app.snapshot import Ground, build

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.domain.routing import RouteTable
    from app.engine.dispatch import Dispatcher
    from settings import Settings


def create_app(settings: Settings) -> Planes:
    """The app that *settings* describe; nothing runs before its lifespan.

    Raises:
        SettingsError: something that is asked for cannot be made.
    """
    table = plan(settings)  # before anything is opened
    prepare(settings)  # before a listener looks for its certificates
    rng = Random()
    ids = Ids(rng)

    # The backends, and the way to them
    topology = Topology(rng=rng)
    transport = UpstreamTransport()
    topology.listen(lambda _: transport.follow(topology.pools.values()))
    client = Client(transport)

    # What is shared
    boards = open_boards(settings, rng)
    crew = Crew(boards)
    state = open_state(settings, rng)

    # The groups, and what they need
    copies = Copies()
    tunnels = Tunnels()
    stores = Stores(settings.caches)
    authorities = Authorities()
    crowd = Crowd()
    lag = Lag(settings.edge.max_loop_lag) if settings.edge.max_loop_lag else None
    link = Link(settings.edge, crowd=crowd)

    def waiting() -> int:
        return link.buffered + transport.buffered

    held = Buffered(settings.edge.max_buffered, waiting) if settings.edge.max_buffered else None
    signs = tuple(sign for sign in (lag, held) if sign is not None)
    ground = Ground(topology, client, state, copies, tunnels, stores, authorities, rng, ids)
    now = build(settings, table, ground)
    gateway = Gateway(table, now.groups, settings.edge.encoded_slash)

    def dispatchers() -> Iterable[Dispatcher]:
        return now.dispatchers.values()

    def follow(_: Change) -> None:
        for dispatcher in dispatchers():
            dispatcher.follow()

    topology.listen(follow)

    # What is written down
    acme = settings.tls.acme
    keeper = Keeper(acme, settings.tls.reload_interval) if acme.domains else None
    renewals: list[Renewal[Any]] = []  # those of the listeners are known when the lifespan has begun
    line = LINES.get(settings.log.format)
    access_log = AccessLog(line) if line is not None else None
    instruments = Instruments(
        dispatchers=dispatchers,
        limited=lambda: [limiter.sample() for limiter in now.limiters.values()],
        mirrored=copies.sample,
        crowd=crowd,
        caches=stores,
        dropped=lambda: access_log.dropped if access_log is not None else 0,
        state=state,
        lag=lag,
        orders=keeper.sample if keeper is not None else list,
        renewals=lambda: [*renewals, *trust.renewals(topology.pools.values())],
        held=held,
    )
    observers = [instruments.observe, *((access_log.observe,) if access_log is not None else ())]
    journal = Journal(observers, [instruments.refused])

    # The data plane, from the inside out
    rescue = Rescue(gateway, ids=ids)  # outside all that raise; inside Observe, so that its responses are timed
    observe = Observe(rescue, journal=journal)  # outside all: sees 429, 503 and crashes; closes every exchange
    link.refused = journal.refuse
    direct: Direct | None = None
    if settings.edge.driver == "direct":
        direct = Direct(
            prefix=settings.admin.prefix.encode(),
            find=gateway.find,
            around=lambda app: partial(observe.close_after, Rescue(app, ids=ids)),
            close=observe.close,
        )

    def tally() -> Tally:
        journal.flush()
        return instruments.tally()

    duty = Duty(topology, boards, crew)
    tallies = Tallies(boards.machine, crew, tally, forget=instruments.forget, rules=rules_of(instruments.all))

    async def metrics() -> str:
        return instruments.text(await tallies.together())

    def ready() -> tuple[bool, dict[str, dict[str, int]]]:
        open_, pools = topology.ready(monotonic())
        return open_ and not link.draining, pools

    def put() -> None:
        """Have requests come to the snapshot that is now."""
        gateway.swap(now.table, now.groups, now.settings.edge.encoded_slash)
        rescue.app = now.layers(gateway, signs)
        if direct is not None:
            layers, end = way_in(rescue.app)
            direct.follow(layers if end is gateway else None, now.groups)  # else a layer has to wait for something
        link.follow(now.settings.edge)
        crowd.trusted = now.trusted
        control.settings, control.route_table = now.settings, now.table
        planes.show(GroupMount(name, now.settings.groups[name], app, gateway) for name, app in now.groups.items())

    def take(wanted: Settings, planned: RouteTable) -> None:
        """Have *wanted* in force, for which `plan` gave *planned*."""
        nonlocal now
        now = build(wanted, planned, ground, now)
        put()

    control = Control(settings=settings, topology=topology, route_table=table, metrics_text=metrics, ready=ready)
    revisions = Revisions(boards.machine, settings.reload.keep)
    reload = Reload(settings, plan=plan, apply=take, revisions=revisions)
    calls = Calls(reload, boards.cluster, crew)
    look = LOOK if boards.cluster is boards.machine else CLUSTER_LOOK
    purges = Purges(stores.by_name, stores.fetches.purges, boards.cluster, crew)
    registrations = Registrations(topology, boards.cluster, crew, settings.admin.allow_backends, look=look)
    running = Running(
        settings=settings,
        client=client,
        jobs=Jobs(),
        topology=topology,
        duty=duty,
        prober=Prober(topology, duty, rng=rng),
        watcher=Watcher(topology, rng=rng),
        state=state,
        boards=boards,
        journal=journal,
        access_log=access_log,
        copies=copies,
        tunnels=tunnels,
        stores=stores,
        authorities=authorities,
        lag=lag,
        held=held,
        link=link,
        reload=reload,
        calls=calls,
        purges=purges,
        registrations=registrations,
        crew=crew,
        tallies=tallies,
        hints=Hints(topology, boards, crew),
        renewals=renewals,
        keeper=keeper,
    )
    planes = Planes(
        data=observe,
        prefix=settings.admin.prefix,
        routes=admin_routes(control, Reloads(reload, calls), registrations, CachePurges(stores.keys, purges)),
        lifespan=partial(lifespan, running=running),
        direct=direct,
        limits=lambda: link.settings,
        refusing=lambda error: Observe(Rescue(raising(error), ids=ids), journal=journal),
    )

    put()
    return planes
