"""What has to fit together across the settings: every name that is used is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from settings.problems import Wrong, did_you_mean

if TYPE_CHECKING:
    from settings.root import Settings


def crossed(settings: Settings) -> Iterator[tuple[tuple[str, ...], Wrong]]:
    """Each place that names a pool or a limiter that is not there, or takes a name that is another's."""
    if "default" in settings.limits:
        wrong = Wrong('"default" is the limiter for everybody, which rate_limit sets', "give this limiter another name")
        yield ("limits", "default"), wrong
    for name, group in settings.groups.items():
        if group.pool is not None and group.pool not in settings.pools:
            yield ("groups", name, "pool"), _absent("pool", "pools", group.pool, settings.pools)
        if group.limit is not None and group.limit not in settings.limits:
            yield ("groups", name, "limit"), _absent("limiter", "limits", group.limit, settings.limits)


def doubtful(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each place that is allowed and hardly meant."""
    used = {group.pool for group in settings.groups.values()}
    for name, pool in settings.pools.items():
        if not pool.backends:
            yield ("pools", name, "backends"), "a pool without backends answers 503; write the URLs of its backends"
        elif all(backend.weight == 0 for backend in pool.backends):
            yield ("pools", name, "backends"), "every backend has weight 0, so the pool answers 503; give one a weight"
        if name not in used:
            yield ("pools", name), "no group uses this pool; write its name as the pool of a group"
        if not pool.tls.verify:
            yield ("pools", name, "tls", "verify"), "certificates are not verified; set tls.ca to the authority instead"


def _absent(what: str, section: str, name: str, known: Iterable[str]) -> Wrong:
    near = did_you_mean(name, known)
    there = ", ".join(sorted(known)[:10])
    fix = f'write "{near}"' if near else f"write one that is there ({there})" if there else f"add {section}.{name}"
    return Wrong(f'there is no {what} "{name[:80]}"', fix)
