"""What is measured of each strategy in each scenario, and the tables that docs/strategies.md has of it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from functools import cache

from app.domain.strategies import STRATEGIES
from tests.simulation.scenarios import BEGINS, ENDS, OVER, SCENARIOS, Run, run

WINDOW = 2.0
"""Seconds: in which a backend that is back must have half a fair share. 20 of 40 are 3 sigma of chance away."""


@dataclass(frozen=True)
class Figures:
    """Of one run.

    Attributes:
        p50, p99: seconds that clients waited, those who came while there was trouble.

        lost: requests that came to nothing, in the whole run.

        least, most: what the backends with the least and the most attempts had of a fair share, in that time.

        share: the same of the one that had the trouble.

        recovery: seconds from when that was well until it had half a fair share again; None where that never came.

        rush: the most attempts that it had in one of the ten seconds that began with its first one after that.
    """

    p50: float
    p99: float
    lost: int
    least: float
    most: float
    share: float
    recovery: float | None
    rush: int


@cache
def figures(kind: str, name: str, count: int = 5) -> Figures:
    """Of a strategy in a scenario with *count* backends; run once."""
    scenario = SCENARIOS[name]
    return measured(run(kind, scenario, count), scenario.odd or "a", scenario.well)


def measured(done: Run, odd: str, well: float) -> Figures:
    """What came of a run."""
    waited = sorted(one.seconds for one in done.served if BEGINS <= one.at < ENDS)
    had = Counter(backend.id for at, backend in done.attempts if BEGINS <= at < ENDS)
    level = [backend.id for backend in done.backends if backend.level == 0]
    fair = sum(had.values()) / len(level)
    times = [at for at, backend in done.attempts if backend.id == odd]
    after = times[bisect_left(times, well) :]
    seconds = Counter(int(at - after[0]) for at in after)
    return Figures(
        p50=waited[len(waited) // 2],
        p99=waited[len(waited) * 99 // 100],
        lost=sum(one.status != 200 for one in done.served),
        least=min(had[name] for name in level) / fair,
        most=max(had[name] for name in level) / fair,
        share=had[odd] / fair,
        recovery=recovery(times, done, well),
        rush=max(seconds[second] for second in range(10)),
    )


def recovery(attempts: list[float], done: Run, well: float) -> float | None:
    """When the window begins in which half of a fair share is there; its first request is what it begins with."""
    levels = sum(backend.level == 0 for backend in done.backends)
    rate = len([one for one in done.served if one.at >= ENDS]) / (OVER - ENDS) / levels
    first = bisect_left(attempts, well)
    many = round(rate * WINDOW / 2)
    for i in range(first, len(attempts) - many):
        if attempts[i + many] <= attempts[i] + WINDOW:
            return attempts[i] - well
    return None


def tables() -> str:
    """Both, for docs/strategies.md."""
    about = [f"- **{name}**: {scenario.about}." for name, scenario in SCENARIOS.items()]
    return "\n".join([*about, "", *latencies(), "", *shares()])


def latencies() -> list[str]:
    """p50 and p99."""
    lines = ["| p50 / p99, ms | " + " | ".join(SCENARIOS) + " |", "|---" * (len(SCENARIOS) + 1) + "|"]
    for kind in STRATEGIES:
        cells = [_latency(figures(kind, name)) for name in SCENARIOS]
        lines.append(f"| `{kind}` | {' | '.join(cells)} |")
    return lines


def shares() -> list[str]:
    """What the backend in trouble had, and how long it took to have half a fair share again."""
    troubles = [name for name in SCENARIOS if name != "equal"]
    lines = ["| share, recovery | equal | " + " | ".join(troubles) + " |", "|---" * (len(troubles) + 2) + "|"]
    for kind in STRATEGIES:
        equal = figures(kind, "equal")
        cells = [f"{equal.least:.0%} to {equal.most:.0%}", *(_share(figures(kind, name)) for name in troubles)]
        if kind == "first":
            cells = [""] * len(cells)
        lines.append(f"| `{kind}` | {' | '.join(cells)} |")
    return lines


def _latency(of: Figures) -> str:
    lost = f" ({of.lost} lost)" if of.lost else ""
    return f"{of.p50 * 1e3:.0f} / {of.p99 * 1e3:.0f}{lost}"


def _share(of: Figures) -> str:
    return f"{of.share:.1%}, {'never' if of.recovery is None else f'{of.recovery:.1f} s'}"
