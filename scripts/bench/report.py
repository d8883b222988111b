"""What the rounds come to: medians and quartiles of the ratio in each round, as a table and as JSON."""

from __future__ import annotations

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from scripts.bench.slices import Slice

Rounds = dict[str, list[Slice]]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": len(models), "kernel": platform.release()}


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, median, third


def summary(rounds: Rounds, reference: str) -> dict[str, dict[str, Any]]:
    """For each proxy: CPU us a request, its ratio to *reference* in the same round, requests a second, latency."""
    base = [one.cpu_us for one in rounds[reference]]
    figures = {}
    for name, slices in rounds.items():
        cpu = quartiles([one.cpu_us for one in slices])
        ratio = quartiles([one.cpu_us / of for one, of in zip(slices, base, strict=True)])
        figures[name] = {
            "cpu_us": dict(zip(("q1", "median", "q3"), cpu, strict=True)),
            "ratio": dict(zip(("q1", "median", "q3"), ratio, strict=True)),
            "rps": statistics.median(one.rps for one in slices),
            "p50_ms": statistics.median(one.p50_ms for one in slices),
            "p99_ms": statistics.median(one.p99_ms for one in slices),
            "wrong": sum(one.wrong for one in slices),
        }
    return figures


def ratios(rounds: Rounds, name: str) -> dict[str, float]:
    """The CPU a request of *name* as a multiple of each other's, the median of that in each round."""
    mine = [one.cpu_us for one in rounds[name]]
    return {
        other: statistics.median(one / of.cpu_us for one, of in zip(mine, slices, strict=True))
        for other, slices in rounds.items()
        if other != name
    }


def table(figures: dict[str, dict[str, Any]], reference: str) -> str:
    """The same for people."""
    head = f"{'proxy':12} {'CPU us/request':>22} {'times ' + reference:>22}"
    head += f" {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'wrong':>6}"
    lines = [head, "-" * len(head)]
    for name, of in figures.items():
        cpu, ratio = of["cpu_us"], of["ratio"]
        spread = f"{cpu['median']:.1f} ({cpu['q1']:.1f}-{cpu['q3']:.1f})"
        times = f"{ratio['median']:.2f} ({ratio['q1']:.2f}-{ratio['q3']:.2f})"
        rest = f"{of['rps']:8.0f} {of['p50_ms']:8.2f} {of['p99_ms']:8.2f} {of['wrong']:6}"
        lines.append(f"{name:12} {spread:>22} {times:>22} {rest}")
    return "\n".join(lines)


def write(directory: Path, told: dict[str, Any]) -> Path:
    """One file a run; returns it."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(told, indent=2) + "\n")
    return path
