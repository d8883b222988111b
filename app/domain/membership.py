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


def diff(
    pool: str, present: Iterable[Backend], wanted: Mapping[str, BackendSettings], health: HealthSettings
) -> tuple[tuple[Backend, ...], Change]:
    """Backends of *pool* as *wanted*, in its order, and how that differs from those at *present*.

    A backend of the same id and address keeps its object, and so its counters; nothing is written to it here.
    """
    before = {backend.id: backend for backend in present}
    members: list[Backend] = []
    joined: list[Backend] = []
    for name, spec in wanted.items():
        backend = before.get(name)
        if backend is None or (backend.scheme, backend.host, backend.port) != locate(spec):
            backend = Backend(pool, spec, health)
            joined.append(backend)
        members.append(backend)
    staying = set(members)
    left = tuple(backend for backend in before.values() if backend not in staying)
    return tuple(members), Change(tuple(joined), left)
