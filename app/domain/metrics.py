"""Counters, gauges and histograms, and the text that Prometheus scrapes (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Literal

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]

MAX_SERIES = 5000
"""Label sets of one metric; what comes after them is counted under `other`, so that no input fills the memory."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_AS_GO_WRITES = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


class Counter:
    """How often something happened: values by label set, in the order of *labels*."""

    kind: Literal["counter"] = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1) -> None:
        """Count *amount* more."""
        values = self.values
        if labels not in values:
            labels = _admitted(labels, values)
        values[labels] = values.get(labels, 0) + amount

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the label sets that are not *wanted* any more."""
        _keep(self.values, wanted)

    def lines(self) -> Iterable[str]:
        """The samples as text."""
        return (f"{self.name}{_braces(self.labels, labels)} {_number(n)}" for labels, n in self.values.items())


class Reading:
    """A value that is known elsewhere and asked for when scraped: *read* gives all its label sets."""

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        read: Callable[[], Samples],
        kind: Literal["gauge", "counter"] = "gauge",
    ) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)
        self.read = read
        self.kind = kind

    def lines(self) -> Iterable[str]:
        """The samples as text; of two with the same labels the last, for a scrape may not have both."""
        return (f"{self.name}{_braces(self.labels, labels)} {_number(n)}" for labels, n in dict(self.read()).items())


class Histogram:
    """How values are distributed: counts by upper bound, by label set."""

    kind: Literal["histogram"] = "histogram"

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)
        self.bounds = tuple(sorted(bounds))
        self.values: dict[Labels, list[float]] = {}
        """For each bound, and above the last, how many; then the sum of all values."""

    def observe(self, labels: Labels, values: Iterable[float]) -> None:
        """Count each value in the first bucket whose bound is not below it."""
        cells = self.values.get(labels)
        if cells is None:
            labels = _admitted(labels, self.values)
            cells = self.values.setdefault(labels, [0] * (len(self.bounds) + 2))
        bounds = self.bounds
        for value in values:
            cells[bisect_left(bounds, value)] += 1
            cells[-1] += value

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the label sets that are not *wanted* any more."""
        _keep(self.values, wanted)

    def lines(self) -> Iterable[str]:
        """The samples as text: cumulative buckets, sum, count."""
        names = (*self.labels, "le")
        bounds = [*map(_number, self.bounds), "+Inf"]
        for labels, (*counts, total) in self.values.items():
            cumulative = list(accumulate(counts))
            for bound, number in zip(bounds, cumulative, strict=True):
                yield f"{self.name}_bucket{_braces(names, (*labels, bound))} {_number(number)}"
            braces = _braces(self.labels, labels)
            yield f"{self.name}_sum{braces} {_number(total)}"
            yield f"{self.name}_count{braces} {_number(cumulative[-1])}"


Metric = Counter | Reading | Histogram


def exposition(metrics: Iterable[Metric]) -> str:
    """All *metrics* as text, each with its HELP and TYPE."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escaped(metric.help_text)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines.extend(metric.lines())
    return "\n".join(lines) + "\n"


def _admitted(labels: Labels, values: dict[Labels, float] | dict[Labels, list[float]]) -> Labels:
    return labels if len(values) < MAX_SERIES else _overflow(labels)


def _keep(values: dict[Labels, float] | dict[Labels, list[float]], wanted: Callable[[Labels], bool]) -> None:
    for labels in [labels for labels in values if not wanted(labels) and labels != _overflow(labels)]:
        del values[labels]


def _overflow(labels: Labels) -> Labels:
    return ("other",) * len(labels)


def _braces(names: Labels, labels: Labels) -> str:
    if not names:
        return ""
    pairs = (f'{name}="{_quoted(label)}"' for name, label in zip(names, labels, strict=True))
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(label: str) -> str:
    return _escaped(label).replace('"', r"\"")


def _number(value: float) -> str:
    """Whole numbers without a fraction, others in full; infinities and NaN as Go writes them."""
    text = repr(float(value))
    return _AS_GO_WRITES.get(text) or text.removesuffix(".0")
