"""Which backends a pool has: what its sources say, merged, and what that changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from app.domain.backend import Backend, locate
from settings.pools import BackendSettings
from settings.resilience import HealthSettings


class Change(NamedTuple):
    """What became of the backends of one pool, or of all.

    Attributes:
        joined: not there before.

        left: no longer there; requests at them finish.
    """

    joined: tuple[Backend, ...]
    left: tuple[Backend, ...]


def merge(sources: Mapping[str, Sequence[BackendSettings]]) -> dict[str, BackendSettings]:
    """Id -> backend, in the order of the sources; the first source to name an id has the last word on it."""
    merged: dict[str, BackendSettings] = {}
    for specs in sources.values():
        for spec in specs:
            merged.setdefault(spec.id, spec)
    return merged


def deputies(gone: Iterable[Backend], members: Iterable[Backend]) -> tuple[Backend, ...]:
    """Those of *gone*, which no source names any more, that have to go on, for none of *members* takes requests.

    So a pool whose backends are all replaced has no gap until the first new one is UP, and an answer without backends,
    right or wrong, does not empty it. For how long is for the caller to say.
    """
    names = set()
    for backend in members:
        if backend.available:
            return ()
        names.add(backend.id)
    return tuple(backend for backend in gone if backend.available and backend.id not in names)


def diff(
    pool: str,
    present: Sequence[Backend],
    wanted: Mapping[str, BackendSettings],
    health: HealthSettings,
    leaving: Iterable[Backend] = (),
) -> tuple[tuple[Backend, ...], Change]:
    """Backends of *pool* as *wanted*, in its order, and how that differs from those at *present*.

    A backend of the same id and address keeps its object, and so its counters, even when it is *leaving*; nothing is
    written to it here.
    """
    before = {backend.id: backend for backend in (*leaving, *present)}
    members: list[Backend] = []
    for name, spec in wanted.items():
        backend = before.get(name)
        if backend is None or (backend.scheme, backend.host, backend.port) != locate(spec):
            backend = Backend(pool, spec, health)
        members.append(backend)
    there, staying = set(present), set(members)
    joined = tuple(backend for backend in members if backend not in there)
    return tuple(members), Change(joined, tuple(backend for backend in present if backend not in staying))
