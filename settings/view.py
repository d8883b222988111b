"""The settings as they are shown: without secrets, each value with where it was said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from settings.redaction import redacted
from settings.root import Settings

DEFAULT = "default"


class Value(NamedTuple):
    """One setting: its path, its value as JSON has it, and the variable or `file:line` that says so."""

    path: str
    value: Any
    origin: str


def tree(settings: Settings) -> dict[str, Any]:
    """All of *settings* in the shape of a settings file, quantities with their units, secrets left out."""
    shown: dict[str, Any] = redacted((), settings.model_dump(mode="json"))
    return shown


def values(settings: Settings) -> Iterator[Value]:
    """Every single value, in the order of the models."""
    for path, value in _nested(tree(settings)):
        yield Value(path, value, _origin(settings.origins, path))


def _origin(origins: Mapping[str, str], path: str) -> str:
    """Where *path* was said, by itself or in a short form of what it is in: `redirect = "/new"` says `redirect.to`."""
    while path:
        if path in origins:
            return origins[path]
        path = path.rpartition(".")[0]
    return DEFAULT


def _nested(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _nested(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
