"""One place where settings are said: its values, and the variable or the line that each came from."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from settings.problems import Problem
from settings.root import Settings
from settings.shape import Shape, nearest_variable

ROOT = Shape(Settings)
LARGEST = 4 * 1024 * 1024
Path_ = tuple[str, ...]


class Source(PydanticBaseSettingsSource):
    """Raw values in the shape of the settings; pydantic-settings lays the sources over each other.

    Attributes:
        data: the values.

        origins: where each was said, by its path; tables that a file opens are there, too.

        problems: what could not be read.

        warnings: what nothing reads.

        text: of the settings file, where it is one.
    """

    def __init__(self) -> None:
        super().__init__(Settings)
        self.data: dict[str, Any] = {}
        self.origins: dict[tuple[str | int, ...], str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.text = ""

    def put(self, path: Path_, value: Any, origin: str) -> None:
        """Set *value* at *path*: below what is there already when both are tables, in its place otherwise."""
        value = settled(ROOT.walk(path), value)
        self.note(path, value, origin)
        table = self.data
        for i, key in enumerate(path[:-1]):
            inner = table.get(key)
            if not isinstance(inner, dict):
                shape = ROOT.walk(path[: i + 1])
                inner = table[key] = {shape.short: inner} if shape and shape.short and inner is not None else {}
            table = inner
        table[path[-1]] = value

    def note(self, path: tuple[str | int, ...], value: Any, origin: str) -> None:
        """Remember that *value*, and all in it, was said at *origin*."""
        self.origins[path] = origin
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in inside:
            self.note((*path, key), inner, origin)

    def __call__(self) -> dict[str, Any]:
        """The values."""
        return self.data

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One top-level value, for pydantic-settings."""
        return self.data.get(field_name), field_name, False


def settled(shape: Shape | None, value: Any) -> Any:
    """*value* with every table that is only text written out, so that options from another source can join it."""
    if shape is None:
        return value
    if shape.short and isinstance(value, str):
        return {shape.short: value}
    if isinstance(value, dict):
        return {key: settled(shape.step(key) if isinstance(key, str) else None, inner) for key, inner in value.items()}
    return value


def arguments(given: Mapping[str, Any]) -> Source:
    """What was passed in by Python or by the command line."""
    source = Source()
    for key, value in given.items():
        source.put((key,), value, "argument")
    return source


def environment(variables: Mapping[str, str]) -> Source:
    """`LB_*` variables; names are lower-cased, `__` goes a level down. Unknown ones are warned of."""
    return _read((name, value, name) for name, value in variables.items())


def secrets(variables: Mapping[str, str]) -> Source:
    """`LB_*_FILE` variables: the value is what the named file holds, without the line end."""
    source = Source()
    for name, value in sorted(variables.items()):
        path = _secret(name)
        if path is None:
            continue
        try:
            source.put(path, read(Path(value)).rstrip("\r\n"), name)
        except (OSError, ValueError) as error:
            fix = "write the path of a readable text file"
            source.problems.append(Problem(".".join(path), name, f"the file cannot be read ({reason(error)})", fix))
    return source


def dotenv(path: Path) -> tuple[Source, Source]:
    """Variables and secrets of a `.env` file. Lines not of its form are warned of, other variables left alone."""
    if not path.is_file():  # also a virtual environment that has the name
        return Source(), Source()
    broken = Source()
    try:
        text = read(path)
    except (OSError, ValueError) as error:
        fix = "make it a readable text file of NAME=value lines, or remove it"
        broken.problems.append(Problem("", str(path), f"the file cannot be read ({reason(error)})", fix))
        return broken, Source()
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line + len(binding.original.string) - len(binding.original.string.lstrip("\n"))
        if binding.error:
            broken.warnings.append(f"{path}:{line}: not of the form NAME=value; nothing reads this line")
        elif binding.key is not None:
            lines[binding.key] = line
    found = {
        name: value
        for name, value in dotenv_values(stream=io.StringIO(_without_errors(text)), interpolate=True).items()
        if value is not None and name.upper().startswith("LB_")
    }
    said = _read((name, value, f"{path}:{lines.get(name, 1)}") for name, value in found.items())
    said.warnings[:0] = broken.warnings
    return said, secrets(found)


def _read(variables: Iterable[tuple[str, str, str]]) -> Source:
    """A source of (name, value, origin)."""
    source = Source()
    for name, value, origin in sorted(variables, key=lambda item: (item[0].count("__"), item[0])):
        if not name.upper().startswith("LB_") or _secret(name) is not None:
            continue
        path = tuple(name[3:].lower().split("__"))
        shape = ROOT.walk(path)
        if shape is None or "" in path:
            near = nearest_variable(ROOT, path)
            where = name if origin == name else f"{origin}: {name}"
            source.warnings.append(f"{where}: nothing reads this variable; {f'write {near}' if near else 'remove it'}")
        elif shape.table and not (shape.short and not value.lstrip().startswith("{")):
            try:
                source.put(path, _table(value), origin)
            except (ValueError, RecursionError):
                keys = shape.keys() or ("<name>",)
                fix = f'write {name}__{keys[0].upper()} and so on, or a JSON object such as {{"{keys[0]}": ...}}'
                source.problems.append(Problem(".".join(path), origin, "not a JSON object", fix))
        else:
            source.put(path, value, origin)
    return source


def _secret(name: str) -> Path_ | None:
    """The setting that *name* has a file for; None when it is not such a name."""
    if not name.upper().startswith("LB_") or not name.upper().endswith("_FILE"):
        return None
    path = tuple(name[3:-5].lower().split("__"))
    if ROOT.walk(tuple(name[3:].lower().split("__"))) is not None or "" in path:
        return None
    shape = ROOT.walk(path)
    return path if shape is not None and (shape.short or not shape.table) else None


def _table(value: str) -> dict[str, Any]:
    found = json.loads(value)
    if not isinstance(found, dict):
        raise ValueError
    return found


def _without_errors(text: str) -> str:
    """The lines of a `.env` that can be read, so that python-dotenv does not log the others."""
    return "".join(binding.original.string for binding in parse_stream(io.StringIO(text)) if not binding.error)


def read(path: Path) -> str:
    """The text of a file of at most 4 MiB. Raises OSError, ValueError (too long, not UTF-8, no path at all)."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError("over 4 MiB")
    return content.decode("utf-8-sig")


def reason(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, OSError):
        return os.strerror(error.errno).lower() if error.errno else type(error).__name__
    return str(error)
