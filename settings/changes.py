"""How settings differ from those that are in force, and which differences need a restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from settings.redaction import redacted
from settings.root import Settings

Path = tuple[str, ...]

RESTART = (
    "config", "state", "caches", "log", "admin", "tls", "drain", "reload", "initial_grace", "edge.driver",
    "edge.max_loop_lag", "edge.max_buffered",
    "edge.max_buffered",
)  # fmt: skip
"""What is given to a process once, when it starts."""


class Changed(NamedTuple):
    """One setting, or a group, pool or limiter as a whole, that has come, gone or become another.

    Attributes:
        path: such as `pools.a.weight`.

        before, after: as JSON has them, without secrets; None is not there.
    """

    path: str
    before: Any
    after: Any

    @property
    def needs_restart(self) -> bool:
        """Whether a reload cannot make it so."""
        return any(f"{self.path}.".startswith(f"{place}.") for place in RESTART)


def changes(before: Settings, after: Settings) -> list[Changed]:
    """Everything in which *after* differs."""
    return list(_in_models((), before, after))


def _in_models(path: Path, before: BaseModel, after: BaseModel) -> Iterator[Changed]:
    """Of what stands at *path*."""
    for name in {**dict(before), **dict(after)}:  # a kind has options of its own
        was, will = getattr(before, name, None), getattr(after, name, None)
        if was == will:
            continue
        if isinstance(was, BaseModel) and isinstance(will, BaseModel):
            yield from _in_models((*path, name), was, will)
        elif isinstance(was, dict) and isinstance(will, dict):
            yield from _in_tables((*path, name), before, after)
        else:
            yield Changed(".".join((*path, name)), _shown((*path, name), before), _shown((*path, name), after))


def _in_tables(path: Path, before: BaseModel, after: BaseModel) -> Iterator[Changed]:
    """Of the table that stands at *path*, which ends with its name in these models."""
    was, will = getattr(before, path[-1]), getattr(after, path[-1])
    for key in {**was, **will}:
        if was.get(key) == will.get(key):
            continue
        place = (*path, key)
        if isinstance(was.get(key), BaseModel) and isinstance(will.get(key), BaseModel):
            yield from _in_models(place, was[key], will[key])
        else:
            old = _shown(place, before, 2) if key in was else None
            new = _shown(place, after, 2) if key in will else None
            yield Changed(".".join(place), old, new)


def _shown(path: Path, model: BaseModel, depth: int = 1) -> Any:
    """The value at *path*, whose last *depth* names lead to it from *model*, as JSON without secrets has it."""
    names = path[-depth:]
    value: Any = model.model_dump(mode="json", include={names[0]: {names[1]}} if depth == 2 else {names[0]})
    for name in names:
        value = value.get(name)
    return redacted(path, value)
