"""Backends in a file, which is looked at again and again: JSON, TOML, YAML, or a plain list."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import yaml
from pydantic import Field

from app.engine.discovery.members import decoded, members_of
from app.engine.discovery.source import Members, Source, SourceFailed
from app.engine.watched import Mark, mark, versions
from settings.models import Frozen
from settings.units import Duration

LARGEST = 1 << 20
"""Bytes of the file."""


class FileOptions(Frozen):
    """Which file."""

    path: Path
    """By its suffix it is .json, .toml or .yaml, a list or a table with a list `backends`; any other has a backend in
    each line, `http://10.0.0.1:8000|weight=2`, and `#` before what is no backend."""
    interval: Duration = Field(default=1.0, gt=0)
    """How often it is looked at."""


class File(Source):
    """The backends of a file; it may be replaced, or written anew where it is.

    A version is read when two looks in a row have found the same, so that what is still being written is left alone.
    One that cannot be read, or is gone, is a failure like any other: what was there before stays.
    """

    Options = FileOptions

    longest: float = 1.0

    def __init__(self, options: FileOptions, **services: object) -> None:
        self._path = options.path
        self._interval = options.interval
        self._first = True

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give what is there now, and each version after that."""
        at_once, self._first = self._first, False  # nobody is likely to write while we start, and many wait for us
        async for seen in versions(self._path, self._interval, at_once=at_once):
            found, text = await asyncio.to_thread(_read, self._path)
            if found == seen:
                yield parsed(self._path.suffix, text)


def parsed(suffix: str, text: bytes) -> Members:
    """The backends that *text* names. Raises SourceFailed."""
    try:
        match suffix.lower():
            case ".json":
                return members_of(decoded(text))
            case ".toml":
                return members_of(tomllib.loads(text.decode()))
            case ".yaml" | ".yml":
                return members_of(yaml.safe_load(text.decode()))
        lines = (line.partition("#")[0].strip() for line in text.decode().splitlines())
    except UnicodeDecodeError:
        raise SourceFailed("not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SourceFailed(f"not TOML: {error}") from None
    except (yaml.YAMLError, RecursionError):
        raise SourceFailed("not YAML") from None
    return members_of([line for line in lines if line])


def _read(path: Path) -> tuple[Mark, bytes]:
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
        found = os.fstat(file.fileno())
    if len(text) > LARGEST:
        raise SourceFailed(f"over {LARGEST} bytes")
    return mark(found), text
