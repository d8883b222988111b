"""How settings differ from those that are in force, and which differences need a restart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from settings.root import Settings
from settings.view import tree

RESTART = (
    "config", "state", "log", "admin", "tls", "drain", "reload", "initial_grace", "edge.driver", "edge.max_loop_lag",
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
    return list(_differing("", before.model_dump(), after.model_dump(), tree(before), tree(after)))


def _differing(path: str, before: Any, after: Any, old: Any, new: Any) -> Iterator[Changed]:
    """*old* and *new* are how *before* and *after* are shown: a secret that is another one looks the same there."""
    if before == after:
        return
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        yield Changed(path, old, new)
        return
    for key in {**before, **after}:
        place = f"{path}.{key}" if path else str(key)
        if key in before and key in after:
            yield from _differing(place, before[key], after[key], old.get(key), new.get(key))
        else:
            yield Changed(place, old.get(key), new.get(key))
