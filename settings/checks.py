"""What has to fit together across the settings: every name that is used is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from settings.problems import Wrong, did_you_mean

if TYPE_CHECKING:
    from settings.groups import GroupSettings
    from settings.pools import PoolSettings
    from settings.root import Settings

Place = tuple[str, ...]


def crossed(settings: Settings) -> Iterator[tuple[Place, Wrong]]:
    """Each place that names a pool or a limiter that is not there, or takes a name that is another's."""
    if "default" in settings.limits:
        wrong = Wrong('"default" is the limiter for everybody, which rate_limit sets', "give this limiter another name")
        yield ("limits", "default"), wrong
    for name, group in settings.groups.items():
        for place, pool in _named(group):
            if pool not in settings.pools:
                yield ("groups", name, *place), _absent("pool", "pools", pool, settings.pools)
        if group.limit is not None and group.limit not in settings.limits:
            yield ("groups", name, "limit"), _absent("limiter", "limits", group.limit, settings.limits)
        if group.cache is not None and group.cache.store not in ("default", *settings.caches):
            yield ("groups", name, "cache", "store"), _absent("store", "caches", group.cache.store, settings.caches)


def doubtful(settings: Settings) -> Iterator[tuple[Place, str]]:
    """Each place that is allowed and hardly meant."""
    used = {pool for group in settings.groups.values() for _, pool in _named(group)}
    for name, pool in settings.pools.items():
        if not pool.backends and pool.source is None:
            yield ("pools", name, "backends"), "a pool without backends answers 503; write the URLs of its backends"
        elif pool.source is None and all(backend.weight == 0 for backend in pool.backends):
            yield ("pools", name, "backends"), "every backend has weight 0, so the pool answers 503; give one a weight"
        if name not in used:
            yield ("pools", name), "no group uses this pool; write its name as the pool of a group"
        if not pool.tls.verify:
            yield ("pools", name, "tls", "verify"), "certificates are not verified; set tls.ca to the authority instead"
        for method in ("POST", "PATCH"):
            if method in pool.retry.methods:
                doubt = f"a {method} may be done twice; leave it out: with an Idempotency-Key it is tried again"
                yield ("pools", name, "retry", "methods"), doubt
        for place, doubt in _idle(pool):
            yield ("pools", name, *place), doubt
    for name, group in settings.groups.items():
        if group.fault is not None and group.fault.header is None:
            yield ("groups", name, "fault"), "it hits everybody; set fault.header so that it hits who asks for it"
        if group.mirror is not None and group.mirror.pool in group.pools:
            yield ("groups", name, "mirror"), "the pool gets its own requests twice; write another pool"
        if group.forward_auth is not None and group.forward_auth.away == "allow":
            doubt = "while the pool cannot be asked, everybody is let in; leave it out, if that is not meant"
            yield ("groups", name, "forward_auth", "away"), doubt
        if group.api_key is not None and group.api_key.query:
            doubt = "a key in a URL is in logs and histories; have clients send it in a field"
            yield ("groups", name, "api_key", "query"), doubt
    yield from _same_cookie(settings)


def _named(group: GroupSettings) -> Iterator[tuple[Place, str]]:
    """Every pool that *group* names, and where."""
    if group.pool is not None:
        yield ("pool",), group.pool
    if group.split is not None:
        for pool in group.split.pools:
            yield ("split", "pools", pool), pool
    for pool in group.fallback:
        yield ("fallback",), pool
    if group.mirror is not None:
        yield ("mirror", "pool"), group.mirror.pool
    if group.forward_auth is not None:
        yield ("forward_auth", "pool"), group.forward_auth.pool


def _idle(pool: PoolSettings) -> Iterator[tuple[Place, str]]:
    """What was said of *pool* and does nothing, because what switches it on was not."""
    for key in ("hedge", "adaptive", "sticky"):
        part = getattr(pool, key)
        if part.model_fields_set and "enabled" not in part.model_fields_set:
            yield (key,), f"it is off, whatever else is said of it; set {key}.enabled to true"
    breaker = pool.breaker.model_fields_set
    if "slow_ratio" in breaker and "slow" not in breaker:
        yield ("breaker", "slow_ratio"), "no response is slow as long as breaker.slow is 0; set it"
    limited = {"max_in_flight", "backend_max_in_flight"} & pool.model_fields_set or pool.adaptive.enabled
    limited = limited or pool.source is not None or any(backend.max_in_flight is not None for backend in pool.backends)
    if pool.queue.model_fields_set and not limited:
        yield ("queue",), "nothing waits, for no backend is ever full; set max_in_flight or backend_max_in_flight"
    if pool.strategy.kind == "round_robin" and any(backend.level for backend in pool.backends):
        yield ("backends",), "levels are for the strategy priority; set it as the strategy"


def _same_cookie(settings: Settings) -> Iterator[tuple[Place, str]]:
    """Pools that overwrite each other's cookie: who is a client of both loses its backend each time."""
    taken: dict[tuple[str, str, str], tuple[str, str]] = {}
    told: set[str] = set()
    for name, group in settings.groups.items():
        for pool in group.pools:
            sticky = settings.pools[pool].sticky
            for host in group.host or ("*",):
                if not sticky.enabled:
                    continue
                whose, first = taken.setdefault((host, sticky.cookie, sticky.path), (name, pool))
                if whose != name and first != pool and pool not in told:
                    told.add(pool)
                    yield ("pools", pool, "sticky"), f"pool {first} sets the same cookie; set sticky.cookie to another"


def _absent(what: str, section: str, name: str, known: Iterable[str]) -> Wrong:
    near = did_you_mean(name, known)
    there = ", ".join(sorted(known)[:10])
    fix = f'write "{near}"' if near else f"write one that is there ({there})" if there else f"add {section}.{name}"
    return Wrong(f'there is no {what} "{name[:80]}"', fix)
