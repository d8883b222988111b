"""From what pydantic found to what an operator can put right: the place, the value, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from settings.problems import Crossed, Problem, Wrong, did_you_mean
from settings.redaction import shown
from settings.routes import FIELDS, parse
from settings.shape import variable
from settings.sources import ROOT, Source

Place = tuple[str | int, ...]

# pydantic's type of error: what is wrong, and what to write instead, with what pydantic knows about it filled in.
_MEANINGS = {
    "missing": ("it is missing", "write it"),
    "literal_error": ("not known", "write {expected}"),
    "int_type": ("not a whole number", "write one such as 3"),
    "int_parsing": ("not a whole number", "write one such as 3"),
    "int_parsing_size": ("too large", "write a smaller number"),
    "int_from_float": ("not a whole number", "write one such as 3"),
    "greater_than": ("too small", "write more than {gt:g}"),
    "greater_than_equal": ("too small", "write at least {ge}"),
    "less_than": ("too large", "write less than {lt:g}"),
    "less_than_equal": ("too large", "write at most {le}"),
    "float_type": ("not a number", "write one such as 1.5"),
    "float_parsing": ("not a number", "write one such as 1.5"),
    "finite_number": ("not a number", "write one such as 1.5"),
    "bool_type": ("neither true nor false", "write true or false"),
    "bool_parsing": ("neither true nor false", "write true or false"),
    "string_type": ("not text", "write it in quotes"),
    "string_unicode": ("not valid text", "write UTF-8"),
    "model_type": ("not a table", "write its settings one by one"),
    "model_attributes_type": ("not a table", "write its settings one by one"),
    "dict_type": ("not a table", "write names and values, such as a = ..."),
    "tuple_type": ("not a list", 'write ["a", "b"], or "a,b"'),
    "path_type": ("not a path", "write one in quotes"),
}


def problems(error: ValidationError, sources: Sequence[Source]) -> Iterator[Problem]:
    """A Problem for each thing that pydantic found."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":  # follows from another error
            continue
        place = tuple(key for key in detail["loc"] if key != "[key]")
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Crossed):
            for path, wrong in cause.found:
                yield _problem(path, wrong.message, wrong.fix, sources)
        elif isinstance(cause, Wrong):
            value = "" if cause.at else shown(place, detail["input"])
            yield _problem((*place, *cause.at), cause.message, cause.fix, sources, value)
        else:
            yield _problem(place, *meaning(place, detail), sources, shown(place, detail["input"]))


def locate(place: Place, sources: Sequence[Source]) -> str:
    """The variable or `file:line` that says what is at *place*; the variable that would, when nothing does."""
    for source in sources:
        if place in source.origins:
            return source.origins[place]
    where, groups = routed(sources)
    if place[:1] == ("groups",) and len(place) > 1 and place[1] in groups and (len(place) == 2 or place[2] in FIELDS):
        return where
    for source in sources:
        for known, origin in source.origins.items():
            if known[: len(place)] == place:
                return origin
    for length in range(len(place) - 1, 0, -1):
        for source in sources:
            if place[:length] in source.origins:
                return source.origins[place[:length]]
    return variable(place)


def routed(sources: Sequence[Source]) -> tuple[str, dict[str, dict[str, Any]]]:
    """Where the one-line routes are, and the groups that they make."""
    for source in sources:
        if source.data.get("routes") is not None:
            try:
                return source.origins["routes",], parse(str(source.data["routes"]))
            except Wrong:
                break
    return "", {}


def _problem(place: Place, message: str, fix: str, sources: Sequence[Source], value: str = "") -> Problem:
    path = ".".join(map(str, place))
    return Problem(path, locate(place, sources), f"{message}: {value}" if value else message, fix)


def meaning(place: Place, detail: ErrorDetails) -> tuple[str, str]:
    """What *detail* says is wrong at *place*, and what to write instead."""
    ctx: dict[str, Any] = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return "there is no such setting", _instead(place)
    if detail["type"] == "missing":
        return "it is missing", f"write {place[-1]}"
    message, fix = _MEANINGS.get(detail["type"], (detail["msg"][:1].lower() + detail["msg"][1:], "write another value"))
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        near = did_you_mean(detail["input"], re.findall(r"'([^']*)'", ctx["expected"]))
        fix = f'write "{near}" ({{expected}})' if near else fix
    return message, fix.format_map(ctx)


def _instead(place: Place) -> str:
    """What to write for a key that is not known: the nearest here, or the place that has a key of that name."""
    key, shape = str(place[-1]), ROOT.walk(place[:-1])
    if shape is not None and shape.choice:
        return "remove it: the kind has no such option"
    known = shape.keys() if shape is not None else ()
    near = did_you_mean(key, known)
    if near:
        return f'did you mean "{near}"?'
    elsewhere = [leaf for leaf in ROOT.leaves() if leaf[-1] == key]
    if elsewhere:
        best = max(elsewhere, key=lambda leaf: sum(1 for ours, its in zip(place, leaf, strict=False) if ours == its))
        return f"it belongs in {'.'.join(best)}"
    return f"write one of {', '.join(known)}" if known else "remove it"
