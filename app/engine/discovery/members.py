"""From what a source was told to backends: all of it or nothing, or all that can be used."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from app.engine.discovery.source import Members, SourceFailed
from settings.pools import BackendSettings
from settings.problems import Wrong

MOST = 4096
"""Backends of one source."""
TOLD = 1000
"""Things that a source says once; after that it begins anew."""

log = logging.getLogger("l7lb.sources")


def members_of(said: Any) -> Members:
    """The backends of a list that somebody wrote: URLs as in the settings, or tables of url, id, weight and so on.

    The list may stand in a table, as `backends`. One that is wrong makes all of it wrong: who writes such a list is
    to know, and half of it is nobody's wish.

    Raises:
        SourceFailed: it is no such list, or too long.
    """
    listed = said.get("backends") if isinstance(said, Mapping) else said
    if not isinstance(listed, list):
        raise SourceFailed("not a list of backends, nor a table that has one as backends")
    bounded(len(listed))
    found: dict[str, BackendSettings] = {}
    for number, item in enumerate(listed, 1):
        try:
            backend = BackendSettings.model_validate(item)
        except ValidationError as error:
            raise SourceFailed(f"backend {number}: {wrong(error)}") from None
        if backend.id in found:
            raise SourceFailed(f'two backends have the id "{backend.id}"')
        found[backend.id] = backend
    return frozenset(found.values())


def decoded(text: bytes) -> Any:
    """What *text* says as JSON. Raises SourceFailed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise SourceFailed("not JSON") from None


def bounded(count: int) -> None:
    """Raises SourceFailed where that are too many backends for one source."""
    if count > MOST:
        raise SourceFailed(f"{count} backends; {MOST} is the limit")


def wrong(error: ValidationError) -> str:
    """The first thing that is wrong, in a few words."""
    detail = error.errors(include_url=False, include_input=False)[0]
    cause = detail.get("ctx", {}).get("error")
    message = cause.message if isinstance(cause, Wrong) else detail["msg"][:1].lower() + detail["msg"][1:]
    place = ".".join(map(str, detail["loc"]))
    return f"{place}: {message}" if place else message


class Sieve:
    """Takes from what an orchestrator knows all that can be used, and says once of the rest why not.

    There one that is wrong is one of many, and its owner somebody else: it must not keep the others out.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._told: set[tuple[str, str]] = set()

    def take(self, found: Iterable[tuple[str, Mapping[str, Any] | str]]) -> Members:
        """The backends of pairs: a name for the log, and the fields of a backend or why it has none.

        Raises:
            SourceFailed: there are too many.
        """
        members: dict[str, BackendSettings] = {}
        for name, fields in found:
            if isinstance(fields, str):
                self._tell(name, fields)
                continue
            try:
                backend = BackendSettings.model_validate(fields)
            except ValidationError as error:
                self._tell(name, wrong(error))
                continue
            members.setdefault(backend.id, backend)
            bounded(len(members))
        return frozenset(members.values())

    def _tell(self, name: str, why: str) -> None:
        if (name, why) in self._told:
            return
        if len(self._told) >= TOLD:
            self._told.clear()
        self._told.add((name, why))
        log.warning("pool %s: %s is left out: %s", self._pool, name[:100], why)


def noted(own: str, value: bytes) -> dict[str, Any] | str:
    """What somebody wrote of one backend under its id, as a line or as JSON: its fields, or why it has none."""
    try:
        text = value.decode().strip()
        said = json.loads(text) if text.startswith("{") else text
    except (ValueError, RecursionError):
        return "its value is neither a line nor JSON"
    named = {"id": own} if own else {}
    if isinstance(said, dict):
        return {**named, **said}
    address, *options = text.split("|")
    return {**named, **dict(option.partition("=")[::2] for option in options), "url": address}


def url(scheme: str, host: str, port: int | str) -> str:
    """Of a backend."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
