"""What processes have counted, put together: each has a tally, and what is scraped is the sum of them.

| metric             | of those who are here                  | of those who have gone |
|--------------------|----------------------------------------|------------------------|
| counter, histogram | added up                               | added up               |
| gauge              | as it says of itself: sum, max, min    | not there              |
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from operator import add
from typing import NamedTuple

from app.domain.metrics import Across, Cells, Labels, Metric, Reading, Series

Told = dict[str, dict[Labels, Cells]]
"""By the name of a metric, all of its label sets."""

_RULES: dict[Across, Callable[[float, float], float]] = {"sum": add, "max": max, "min": min}


class Tally(NamedTuple):
    """What one process tells of itself, or several of themselves."""

    counted: Told
    gauges: Told

    def put(self, other: Tally, rules: Mapping[str, Across]) -> None:
        """Take another who is here; *rules* say what a gauge is then, and one that has none is not known here."""
        count(self.counted, other.counted)
        for name, series in other.gauges.items():
            if (rule := rules.get(name)) is not None:
                _combine(self.gauges, name, series, _RULES[rule])


def tally_of(metrics: Iterable[Metric]) -> Tally:
    """What *metrics* are now."""
    found = Tally({}, {})
    for metric in metrics:
        (found.gauges if metric.kind == "gauge" else found.counted)[metric.name] = dict(metric.series())
    return found


def rules_of(metrics: Iterable[Metric]) -> dict[str, Across]:
    """What each gauge among *metrics* says of itself."""
    return {metric.name: metric.across for metric in metrics if isinstance(metric, Reading) and metric.kind == "gauge"}


def count(total: Told, more: Mapping[str, Series]) -> None:
    """Add *more* to *total*. What another version has cut into other buckets is left out."""
    for name, series in more.items():
        _combine(total, name, series, add)


def less(counted: Mapping[str, Series], before: Mapping[str, Series]) -> Told:
    """*counted* without what was counted *before*; what began anew meanwhile, and is less, is as it is."""
    left: Told = {name: dict(series) for name, series in counted.items()}
    for name, series in before.items():
        mine = left.get(name, {})
        _combine(left, name, {labels: cells for labels, cells in series.items() if labels in mine}, _rest)
    return left


def packed(tally: Tally) -> bytes:
    """A tally for a note."""
    return zlib.compress(json.dumps([_listed(tally.counted), _listed(tally.gauges)]).encode(), 1)


def unpacked(value: bytes) -> Tally:
    """The tally of a note; an empty one where it cannot be read, being of another version."""
    try:
        counted, gauges = json.loads(zlib.decompress(value))
        return Tally(_told(counted), _told(gauges))
    except (zlib.error, ValueError, TypeError, AttributeError):
        return Tally({}, {})


def _combine(into: Told, name: str, series: Series, rule: Callable[[float, float], float]) -> None:
    mine = into.setdefault(name, {})
    for labels, cells in series.items():
        present = mine.get(labels)
        if present is None:
            mine[labels] = cells
        elif len(present) == len(cells):
            mine[labels] = tuple(map(rule, present, cells))


def _rest(number: float, before: float) -> float:
    return number - before if number >= before else number


def _listed(told: Told) -> dict[str, list[tuple[Labels, Cells]]]:
    return {name: list(series.items()) for name, series in told.items() if series}


def _told(listed: dict[str, list[tuple[list[str], list[float]]]]) -> Told:
    return {name: {tuple(labels): tuple(cells) for labels, cells in series} for name, series in listed.items()}
