"""A strict reader of Prometheus exposition format 0.0.4, as we write it: HELP, TYPE, then the samples of a metric."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL})(?:,{_LABEL})*)\}})? ([^ ]+)")
_KINDS = {"counter", "gauge", "histogram"}

Labels = tuple[tuple[str, str], ...]


class Malformed(AssertionError):
    """The text is not what a scraper takes."""


@dataclass
class Family:
    """One metric."""

    help_text: str
    kind: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """The metrics of *text* by name. Raises Malformed."""
    _require(text.endswith("\n"), "the last line has no end")
    families: dict[str, Family] = {}
    name = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _require(not name or bool(families[name].kind), f"{name} has no TYPE")
            name, _, help_text = line[7:].partition(" ")
            _require(re.fullmatch(_NAME, name) is not None and name not in families, f"HELP {name}")
            families[name] = Family(_unescaped(help_text))
        elif line.startswith("# TYPE "):
            about, _, kind = line[7:].partition(" ")
            _require(about == name and kind in _KINDS and not families[name].kind, line)
            families[name].kind = kind
        else:
            _require(bool(name and families[name].kind), f"a sample before HELP and TYPE: {line}")
            _sample(name, families[name], line)
    for name, family in families.items():
        if family.kind == "histogram":
            _check_buckets(name, family)
    return families


def _sample(name: str, family: Family, line: str) -> None:
    found = _SAMPLE.fullmatch(line)
    _require(found is not None, f"not a sample: {line}")
    assert found is not None
    suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
    _require(found[1] in {name + suffix for suffix in suffixes}, f"{found[1]} among the samples of {name}")
    labels = tuple((label, _unescaped(value)) for label, value in re.findall(_LABEL, found[2] or ""))
    _require((found[1], labels) not in family.samples, f"twice: {line}")
    try:
        family.samples[found[1], labels] = float(found[found.re.groups])
    except ValueError:
        raise Malformed(f"not a number: {line}") from None


def _check_buckets(name: str, family: Family) -> None:
    series: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), number in family.samples.items():
        if sample == f"{name}_bucket":
            _require(bool(labels) and labels[-1][0] == "le", f"a bucket of {name} without le")
            series.setdefault(labels[:-1], []).append((float(labels[-1][1]), number))
    for labels, buckets in series.items():
        _require(buckets == sorted(buckets), f"buckets of {name} out of order")
        _require([n for _, n in buckets] == sorted(n for _, n in buckets), f"buckets of {name} are not cumulative")
        _require(buckets[-1][0] == math.inf, f"{name} has no bucket +Inf")
        _require(buckets[-1][1] == family.samples.get((f"{name}_count", labels)), f"count of {name}")
        _require((f"{name}_sum", labels) in family.samples, f"{name} has no sum")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Malformed(what)
