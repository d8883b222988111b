"""Counters, gauges and histograms, and the text that Prometheus scrapes (exposition format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal

Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]
Cells = Sequence[float]
"""One number; of a histogram, for each bound and above the last how many, then the sum of all values."""
Series = Mapping[Labels, Cells]
Across = Literal["sum", "max", "min"]
"""What a gauge of several processes is."""

MAX_SERIES: Final = 5000
"""Label sets of one metric; what comes after them is counted under `other`, so that no input fills the memory."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_AS_GO_WRITES: Final = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


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

    def series(self) -> Series:
        """All label sets now."""
        return {labels: (number,) for labels, number in self.values.items()}

    def lines(self, series: Series) -> Iterable[str]:
        """*series* as text."""
        return _lines(self.name, self.labels, series)


class Reading:
    """A value that is known elsewhere and asked for when scraped.

    Args:
        read: gives all its label sets; of two that are the same the last holds.

        across: what a gauge of several processes is; counters are added up.
    """

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        read: Callable[[], Samples],
        kind: Literal["gauge", "counter"] = "gauge",
        *,
        across: Across = "sum",
    ) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)
        self.read = read
        self.kind = kind
        self.across: Across = across

    def series(self) -> Series:
        """All label sets now."""
        return {labels: (number,) for labels, number in self.read()}

    def lines(self, series: Series) -> Iterable[str]:
        """*series* as text."""
        return _lines(self.name, self.labels, series)


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
        """Count each value in the first bucket whose bound is not below it.

        They are sorted: for a batch that is quicker than to look for the place of each.
        """
        cells = self.values.get(labels)
        if cells is None:
            labels = _admitted(labels, self.values)
            cells = self.values.setdefault(labels, [0] * (len(self.bounds) + 2))
        ordered = sorted(values)
        counted = 0
        for place, bound in enumerate(self.bounds):
            upto = bisect_right(ordered, bound, counted)
            cells[place] += upto - counted
            counted = upto
            if counted == len(ordered):
                break
        cells[-2] += len(ordered) - counted
        cells[-1] += sum(ordered)

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forget the label sets that are not *wanted* any more."""
        _keep(self.values, wanted)

    def series(self) -> Series:
        """All label sets now."""
        return {labels: tuple(cells) for labels, cells in self.values.items()}

    def lines(self, series: Series) -> Iterable[str]:
        """*series* as text: cumulative buckets, sum, count."""
        bounds = [*map(_number, self.bounds), "+Inf"]
        for labels, (*counts, total) in series.items():
            pairs = _pairs(self.labels, labels)
            before = f'{self.name}_bucket{{{pairs}{"," if pairs else ""}le="'
            cumulative = list(accumulate(counts))
            for bound, number in zip(bounds, cumulative, strict=True):
                yield f'{before}{bound}"}} {_number(number)}'
            braces = f"{{{pairs}}}" if pairs else ""
            yield f"{self.name}_sum{braces} {_number(total)}"
            yield f"{self.name}_count{braces} {_number(cumulative[-1])}"


Metric = Counter | Reading | Histogram


def exposition(metrics: Iterable[Metric], told: Mapping[str, Series] | None = None) -> str:
    """All *metrics* as text, each with its HELP and TYPE: what they are now, or what is *told* of each name."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escaped(metric.help_text)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines.extend(metric.lines(metric.series() if told is None else told.get(metric.name, {})))
    return "\n".join(lines) + "\n"


def _admitted(labels: Labels, values: dict[Labels, float] | dict[Labels, list[float]]) -> Labels:
    return labels if len(values) < MAX_SERIES else _overflow(labels)


def _keep(values: dict[Labels, float] | dict[Labels, list[float]], wanted: Callable[[Labels], bool]) -> None:
    for labels in [labels for labels in values if not wanted(labels) and labels != _overflow(labels)]:
        del values[labels]


def _overflow(labels: Labels) -> Labels:
    return ("other",) * len(labels)


def _lines(name: str, names: Labels, series: Series) -> Iterable[str]:
    for labels, (number,) in series.items():
        yield f"{name}{{{_pairs(names, labels)}}} {_number(number)}" if names else f"{name} {_number(number)}"


def _pairs(names: Labels, labels: Labels) -> str:
    return ",".join([f'{name}="{_quoted(label)}"' for name, label in zip(names, labels, strict=True)])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(label: str) -> str:
    return _escaped(label).replace('"', r"\"")


def _number(value: float) -> str:
    """Whole numbers without a fraction, others in full; infinities and NaN as Go writes them."""
    text = repr(float(value))
    return _AS_GO_WRITES.get(text) or text.removesuffix(".0")
