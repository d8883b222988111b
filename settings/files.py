"""The settings file, TOML or YAML, with the line of every key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from settings.problems import Problem
from settings.sources import ROOT, Source, read, reason, settled

_MOST_NODES = 200_000
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"
Place = tuple[str | int, ...]


class Unreadable(ValueError):
    """The file is not of its format: *message*, at *line* (from 1)."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def file(path: Path, text: str | None = None) -> Source:
    """What the file at *path* says, or would if *text* were in it; its problems when it cannot be read."""
    source = Source()
    try:
        text = source.text = (read(path) if text is None else text).replace("\r\n", "\n")
        if path.suffix not in _FORMATS:
            fix = "give it a name that ends in .toml or .yaml"
            source.problems.append(Problem("config", str(path), "neither TOML nor YAML by its name", fix))
            return source
        data, lines = _FORMATS[path.suffix](text)
    except Unreadable as error:
        fix = 'write TOML: key = "value"' if path.suffix == ".toml" else 'write YAML: key: "value"'
        source.problems.append(Problem("", f"{path}:{error.line}", error.message, fix))
    except RecursionError:
        source.problems.append(Problem("", f"{path}:1", "nested too deep", "write it flatter"))
    except (OSError, ValueError) as error:
        fix = "write the path of a readable .toml or .yaml file"
        source.problems.append(Problem("config", str(path), f"the file cannot be read ({reason(error)})", fix))
    else:
        if "config" in data:
            line = lines.get(("config",), 1)
            fix = "remove it: LB_CONFIG and --config say which file is read"
            source.problems.append(Problem("config", f"{path}:{line}", "a file cannot name another one", fix))
        source.data = settled(ROOT, _present(data))
        source.origins = {place: f"{path}:{line}" for place, line in lines.items()}
        for place, where in list(source.origins.items()):
            shape = ROOT.walk(place)
            if shape is not None and shape.short:  # `strategy = "first"` says strategy.kind
                source.origins.setdefault((*place, shape.short), where)
    return source


def _toml(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        data = tomllib.loads(text)
    except ValueError as error:
        found = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1 if found else 1
        raise Unreadable(str(error)[: found.start()].lower() if found else "not TOML", line) from None
    return data, dict(_toml_lines(text.split("\n")))


def _toml_lines(lines: list[str]) -> Iterator[tuple[Place, int]]:
    """Each key of a valid TOML text with its line.

    tomllib keeps no positions. So each statement is read alone, which gives its keys: from its first line on, a value
    that goes over several lines is longer than that until it can be read.
    """
    table: Place = ()
    arrays: dict[Place, int] = {}
    i = 0
    while i < len(lines):
        start, i = i, i + 1
        if not lines[start].strip() or lines[start].lstrip().startswith("#"):
            continue
        said = _statement(lines[start])
        while said is None and i < len(lines):
            i += 1
            if re.search(r"""[\]}]|'''|\"\"\"""", lines[i - 1]):  # only these end a value of several lines
                said = _statement("\n".join(lines[start:i]))
        if lines[start].lstrip().startswith("["):
            table = _header(said or {}, arrays)
            yield table, start + 1
        else:
            for place in _places(said or {}):
                yield (*table, *place), start + 1


def _statement(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except ValueError:
        return None


def _header(said: Any, arrays: dict[Place, int]) -> Place:
    """The place that `[a.b]` or `[[a.b]]` opens; *arrays* counts the tables of the latter."""
    place: Place = ()
    while isinstance(said, dict) and said:
        (key, said), = said.items()  # fmt: skip
        place = (*place, key)
        if isinstance(said, list):
            arrays[place] = arrays.get(place, -1) + 1
        if place in arrays:
            place = (*place, arrays[place])
    return place


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield (*place, key)
        yield from _places(inner, (*place, key))


def _yaml(text: str) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = dict(_yaml_lines(node, (), [], [_MOST_NODES])) if node is not None else {}
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(error.problem or "not YAML", mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:  # what is no text at all
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise Unreadable(getattr(error, "reason", "not YAML"), line) from None
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        raise Unreadable("not a table of settings", 1)
    return data, lines


def _yaml_lines(node: yaml.Node, place: Place, above: list[yaml.Node], left: list[int]) -> Iterator[tuple[Place, int]]:
    """Each key with its line. Raises Unreadable for keys twice or not text, loops, and more than can be meant."""
    line = node.start_mark.line + 1
    left[0] -= 1
    if left[0] < 0 or any(node is other for other in above):
        raise Unreadable("an alias inside itself, or too many of them", line)
    inner = [*above, node]
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield (*place, i), item.start_mark.line + 1
            yield from _yaml_lines(item, (*place, i), inner, left)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):  # what is merged is weaker
            if key.tag == _MERGE:
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from _yaml_lines(merged, place, inner, left)
                continue
            where = key.start_mark.line + 1
            if key.tag != _TEXT:
                raise Unreadable("a key that is not text, so put it in quotes", where)
            if key.value in seen:
                raise Unreadable(f'"{key.value}" is there twice', where)
            seen.add(key.value)
            yield (*place, key.value), where
            yield from _yaml_lines(value, (*place, key.value), inner, left)


def _present(value: Any) -> Any:
    """*value* without what is null, and with fractions as text, for whoever reads quantities to ask for their unit."""
    if isinstance(value, dict):
        return {key: _present(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_present(inner) for inner in value]
    return repr(value) if isinstance(value, float) else value


_FORMATS = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
