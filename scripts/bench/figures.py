"""What the rounds come to: medians and quartiles, and those of the ratio in each round."""

from __future__ import annotations

import statistics
from typing import Any

Sample = dict[str, float]
"""What one visit to one proxy gave: metric to value; `wrong` counts answers that were not right."""
Rounds = dict[str, list[Sample]]
Figures = dict[str, dict[str, Any]]


def quartiles(values: list[float]) -> dict[str, float]:
    """First quartile, median, third quartile."""
    first, median, third = values * 3 if len(values) == 1 else statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": first, "median": median, "q3": third}


def summary(rounds: Rounds, compared: tuple[str, ...]) -> Figures:
    """For each row: each metric, the ratio of the *compared* ones to the first row's in the same round, what was wrong.

    A ratio is left out where the first row's value is 0.
    """
    base = next(iter(rounds.values()))
    figures: Figures = {}
    for name, samples in rounds.items():
        metrics = [metric for metric in samples[0] if metric != "wrong"]
        of: dict[str, Any] = {metric: quartiles([one[metric] for one in samples]) for metric in metrics}
        of["ratio"] = {
            metric: quartiles([one[metric] / to[metric] for one, to in zip(samples, base, strict=True)])
            for metric in compared
            if all(to[metric] for to in base)
        }
        of["wrong"] = int(sum(one["wrong"] for one in samples))
        figures[name] = of
    return figures


def ratios(rounds: Rounds, name: str, metric: str) -> dict[str, float]:
    """The *metric* of *name* as a multiple of each other's, the median of that in each round."""
    mine = [one[metric] for one in rounds[name]]
    return {
        other: statistics.median(one / of[metric] for one, of in zip(mine, samples, strict=True))
        for other, samples in rounds.items()
        if other != name and all(of[metric] for of in samples)
    }
