"""One group: what answers its requests, with the layers that it asked for around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from app.domain.affinity import affinity_of
from app.domain.fields import FieldRules, field_name, trailer_names
from app.domain.location import Location
from app.domain.rewrite import Target
from app.domain.routing import Rule
from app.domain.split import Sides
from app.engine.caches.keys import bypasses
from app.engine.mirror import Copies, Mirror
from app.groups.answers import FixedResponse, Redirect
from app.groups.authorities import Authorities, jwt_usable
from app.groups.stores import Stores
from app.groups.traffic import Fallback, Split
from app.middleware.access import Access
from app.middleware.api_key import ApiKey
from app.middleware.basic_auth import Users
from app.middleware.compression import Compression, codings_of
from app.middleware.cors import Cors
from app.middleware.error_pages import ErrorPages, pages_of
from app.middleware.fault import Fault
from app.middleware.forward_auth import ForwardAuth
from app.middleware.in_flight import InFlight
from app.middleware.rate_limit import Limiter, rate_limited
from settings.groups import GroupSettings
from settings.problems import Wrong

if TYPE_CHECKING:
    from app.engine.asgi import ASGIApp

ForwarderFactory = Callable[[str, "GroupSettings"], "ASGIApp"]


def build_group(
    name: str,
    settings: GroupSettings,
    *,
    forwarder_factory: ForwarderFactory,
    limiters: Mapping[str, Limiter],
    copies: Copies,
    stores: Stores,
    authorities: Authorities,
    rng: Random,
) -> ASGIApp:
    """The app of one group; what it does not ask for is not there.

    Args:
        name: of the group.

        settings: of the group.

        forwarder_factory: makes the app that forwards to a pool, from the pool's name and the group's settings.

        limiters: by name; a limiter of kind none is not there, and costs nothing.

        copies: of all groups.

        stores: of the caches.

        authorities: of all groups.

        rng: for what is left to chance.

    Raises:
        Wrong: as `problems` says it.

        ValueError: there is no such function as the key of a split names.
    """
    app: ASGIApp
    if settings.redirect is not None:
        app = Redirect(settings.redirect, Target.of(settings), FieldRules.of(settings.response_headers))
    elif settings.respond is not None:
        app = FixedResponse(settings.respond, FieldRules.of(settings.response_headers))
    else:
        app = _forwarding(settings, forwarder_factory, rng)
        if settings.compression is not None:
            app = Compression(app, codings=codings_of(settings.compression))  # innermost: our own answers are small
        if (mirror := settings.mirror) is not None:  # around all pools: one copy, whichever of them answers
            other = forwarder_factory(mirror.pool, settings)
            app = Mirror(app, group=name, settings=mirror, forwarder=other, copies=copies, rng=rng)
        if settings.cache is not None:  # around the mirror: no copy of what is not forwarded
            app = stores.cache(app, name, settings.cache, rng, identified=settings.identifies)
    if settings.fault is not None:
        app = Fault(app, settings=settings.fault, rng=rng)  # outside the mirror: no copy of what is not forwarded
    if settings.max_in_flight_per_client:
        app = InFlight(app, most=settings.max_in_flight_per_client)  # who is held up on purpose is in flight, too
    if settings.limit is not None and settings.limit in limiters:
        app = rate_limited(app, limiters[settings.limit])  # inside the gateway: it may count by group, and by user
    if (auth := settings.forward_auth) is not None:
        ask = forwarder_factory(auth.pool, GroupSettings(pool=auth.pool))  # of the group's own changes it gets none
        app = ForwardAuth(app, settings=auth, ask=ask)  # the dearest of those who ask: it sees who got past the others
    if settings.jwt is not None:
        app = authorities.jwt(app, settings.jwt)  # may have to verify, or to wait for keys
    if settings.basic_auth is not None:
        app = authorities.basic_auth(app, settings.basic_auth)  # may have to hash
    if settings.api_key is not None:
        app = ApiKey(app, settings=settings.api_key)  # of those who ask the cheapest
    if settings.cors is not None:  # before all who ask: a preflight has no credentials, and scripts may read a 401
        app = Cors(app, settings=settings.cors)
    if settings.access is not None:
        app = Access(app, settings=settings.access)  # before all that costs more, and tells more
    if settings.errors is not None:
        app = ErrorPages(app, pages=pages_of(settings.errors))  # outside all that raise
    return app


def _forwarding(settings: GroupSettings, forwarder_factory: ForwarderFactory, rng: Random) -> ASGIApp:
    """To one pool, or to several."""
    app: ASGIApp
    if (split := settings.split) is not None:
        pools = {pool: forwarder_factory(pool, settings) for pool, weight in split.pools.items() if weight}
        key = affinity_of(split.key)
        assert key is not None  # the settings have one part at least
        app = Split(Sides(split.pools, rng), key, pools)
    else:
        assert settings.pool is not None  # the settings have exactly one answer
        app = forwarder_factory(settings.pool, settings)
    if settings.fallback or settings.fallback_respond is not None:
        others = (forwarder_factory(pool, settings) for pool in settings.fallback)
        fixed = settings.fallback_respond
        answer = FixedResponse(fixed, FieldRules.of(settings.response_headers)) if fixed is not None else None
        app = Fallback((app, *others), answer)
    return app


def problems(groups: Mapping[str, GroupSettings]) -> Iterable[tuple[tuple[str, ...], Wrong]]:
    """All that keeps *groups* from being built, each with its place in the settings."""
    for name, settings in groups.items():
        for place, build in _parts(name, settings):
            try:
                build()
            except Wrong as wrong:
                yield ("groups", name, *place, *wrong.at), wrong


def _parts(name: str, settings: GroupSettings) -> Iterable[tuple[tuple[str, ...], Callable[[], object]]]:
    yield (), lambda: Rule(name, settings, 0)
    yield (), lambda: Target.of(settings)
    yield ("request_headers",), lambda: FieldRules.of(settings.request_headers)
    if (cache := settings.cache) is not None:
        yield ("cache",), lambda: bypasses(cache)
    yield ("response_headers",), lambda: FieldRules.of(settings.response_headers)
    yield ("request_trailers",), lambda: trailer_names(settings.request_trailers)
    if (redirect := settings.redirect) is not None:
        yield (), lambda: Location.of(redirect)
    yield from _policies(settings)


def _policies(settings: GroupSettings) -> Iterable[tuple[tuple[str, ...], Callable[[], object]]]:
    if (basic := settings.basic_auth) is not None:
        yield ("basic_auth",), lambda: Users(basic)
        if basic.header is not None:
            yield ("basic_auth", "header"), partial(field_name, basic.header)
    if (key := settings.api_key) is not None:
        for place, name in (("header", key.header), ("owner_header", key.owner_header)):
            if name is not None:
                yield ("api_key", place), partial(field_name, name)
    if (jwt := settings.jwt) is not None:
        yield ("jwt",), lambda: jwt_usable(jwt)
        yield ("jwt", "header"), partial(field_name, jwt.header)
        for claim, name in jwt.claims.items():
            yield ("jwt", "claims", claim), partial(field_name, name)
    if (auth := settings.forward_auth) is not None:
        for place in ("request_fields", "backend_fields", "client_fields"):
            for name in getattr(auth, place):
                yield ("forward_auth", place), partial(field_name, name)
    if (errors := settings.errors) is not None:
        yield ("errors",), lambda: pages_of(errors)
    if (compression := settings.compression) is not None:
        yield ("compression",), lambda: codings_of(compression)
