"""The figures as a table for people and as JSON; and what they do not show."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

from scripts.bench.figures import Figures

METRICS = {
    "cpu_us": ("CPU us/request", ".1f"),
    "take_cpu_us": ("CPU us/take", ".2f"),
    "take_us": ("us/take", ".2f"),
    "cpu_ms": ("CPU ms/100 MiB", ".0f"),
    "scrape_ms": ("ms/scrape", ".2f"),
    "growth": ("RSS 100k/10k", ".3f"),
    "idle_kib": ("KiB/idle", ".1f"),
    "idle_tls_kib": ("KiB/idle TLS", ".1f"),
    "p99_ms": ("p99 ms", ".2f"),
    "p50_ms": ("p50 ms", ".2f"),
    "rps": ("req/s", ".0f"),
    "mib_s": ("MiB/s", ".0f"),
    "rss_mib": ("RSS MiB", ".1f"),
    "sets": ("label sets", ".0f"),
}
"""Heading and format of each, in the order of the columns."""

LIMITS = (
    "No network: load, backend and proxy talk over loopback on one machine; no packet is lost, no client is slow.",
    "Requests a second and latency: the quick proxies saturate the core of their load, so theirs are too low.",
    "Small differences: caches are shared and the machine may be noisy. Trust ratios, within their quartiles.",
    "Other runs: a figure is to be compared with those of the same run only.",
    "The same work: the others have no rate limit, no health checks, no 100 groups; go, aiohttp and naive no log.",
    "Tuned proxies: each is as its package sets it up, with connections to the backend kept.",
    "All memory: RSS has not in it what the kernel holds in socket buffers.",
)
"""What the figures do not show; printed with them."""


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": len(models), "kernel": platform.release()}


def spread(of: dict[str, float], form: str) -> str:
    if of["q1"] == of["q3"]:  # one round
        return f"{of['median']:{form}}"
    return f"{of['median']:{form}} ({of['q1']:{form}}-{of['q3']:{form}})"


def table(figures: Figures, compared: tuple[str, ...]) -> str:
    """The compared metrics with their quartiles and ratios, the others as medians."""
    reference = next(iter(figures))
    seen = {metric for of in figures.values() for metric in of}
    shown = [*compared, *(metric for metric in METRICS if metric in seen and metric not in compared)]
    head = ["proxy"]
    for metric in shown:
        head += [METRICS[metric][0], f"times {reference}"] if metric in compared else [METRICS[metric][0]]
    lines = [[*head, "wrong"]]
    for name, of in figures.items():
        line = [name]
        for metric in shown:
            value, form = of.get(metric), METRICS[metric][1]
            if metric in compared:
                ratio = of["ratio"].get(metric)
                line += [spread(value, form) if value else "-", spread(ratio, ".2f") if ratio else "-"]
            else:
                line.append(f"{value['median']:{form}}" if value else "-")
        lines.append([*line, str(of["wrong"])])
    return aligned(lines)


def aligned(lines: list[list[str]]) -> str:
    """The first column to the left, the others to the right, a rule under the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    ]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:]])


def write(directory: Path, told: dict[str, Any]) -> Path:
    """One file a run; returns it."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(told, indent=2) + "\n")
    return path
