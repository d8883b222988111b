"""A picture of one run: CPU as a multiple of nginx's, a bar for each proxy, one panel for each scenario. Plain SVG."""

from __future__ import annotations

from html import escape
from typing import Any

WIDTH, LEFT, RIGHT = 800, 230, 120
ROW, BAR, TITLE, GAP = 22, 14, 30, 18
LONGEST = 8.0  # times the first: what is longer is cut there, and its figure says how long it is
METRICS = {"cpu_us": "us a request", "cpu_ms": "ms for 100 MiB"}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.bar { fill: #8c959f } .ours { fill: #0969da } .spread { stroke: #24292f; stroke-width: 1.5 } .grid { stroke: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #8d96a0 } .bar { fill: #6e7681 } .ours { fill: #4493f8 }
  .spread { stroke: #e6edf3 } .grid { stroke: #30363d }
}
"""


def across(ratio: float) -> float:
    """Where a ratio is, in pixels from the left."""
    return LEFT + min(ratio, LONGEST) / LONGEST * (WIDTH - LEFT - RIGHT)


def panel(name: str, told: dict[str, Any], top: int) -> tuple[list[str], int]:
    """The lines of one scenario, and where the next one begins."""
    metric = told["compared"][0]
    rows = sorted(told["figures"].items(), key=lambda row: row[1]["ratio"][metric]["median"])
    title = f"{name}: {told['about']} (times {next(iter(told['figures']))})"
    lines = [f'<text class="title" x="8" y="{top + 16}">{escape(title)}</text>']
    top += TITLE
    bottom = top + ROW * len(rows)
    for times in range(int(LONGEST) + 1):
        at = f"{across(times):.1f}"
        lines.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{top}" y2="{bottom}"/>')
        lines.append(f'<text class="small" text-anchor="middle" x="{at}" y="{bottom + 12}">{times}x</text>')
    for number, (row, of) in enumerate(rows):
        lines += bar(row, of["ratio"][metric], of[metric]["median"], METRICS[metric], top + ROW * number)
    return lines, bottom + GAP + 12


def bar(row: str, ratio: dict[str, float], value: float, unit: str, top: int) -> list[str]:
    """Name, bar, quartiles, figure."""
    middle, end = top + ROW / 2, across(ratio["median"])
    kind = "ours" if row.startswith("l7lb") else "bar"
    cut = ratio["median"] > LONGEST
    figure = f"{ratio['median']:.2f}x{' (cut)' if cut else ''}"
    lines = [
        f'<text text-anchor="end" x="{LEFT - 8}" y="{middle + 4}">{escape(row)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{middle - BAR / 2}" width="{end - LEFT:.1f}" height="{BAR}">',
        f"<title>{escape(row)}: {value:.1f} {unit}</title></rect>",
        f'<text x="{max(end, across(ratio["q3"])) + 6:.1f}" y="{middle + 4}">{figure}</text>',
    ]
    if not cut:
        first, last = f"{across(ratio['q1']):.1f}", f"{across(ratio['q3']):.1f}"
        lines.append(f'<line class="spread" x1="{first}" x2="{last}" y1="{middle}" y2="{middle}"/>')
    return lines


def drawn(told: dict[str, Any]) -> str:
    """The SVG of what a run wrote as JSON. Raises ValueError when none of its scenarios is about the CPU of proxies."""
    panels = {
        name: scenario
        for name, scenario in told["scenarios"].items()
        if scenario["compared"][0] in METRICS and not scenario["own_rows"]
    }
    if not panels:
        raise ValueError("the run has no scenario that can be drawn: get, tls, post, connect, download or upload")
    lines, top = [], 52
    for name, scenario in panels.items():
        more, top = panel(name, scenario, top)
        lines += more
    machine, python = told["machine"], ", ".join(told["pythons"])
    under = f"{machine['cpu']}, {machine['cores']} cores, loopback; {python}; {told['conditions']['rounds']} rounds"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" role="img">',
        f"<title>CPU of each proxy as a multiple of nginx's</title><style>{STYLE}</style>",
        '<text class="title" x="8" y="20">CPU as a multiple of nginx&#8217;s in the same round: less is better</text>',
        f'<text class="small" x="8" y="38">{escape(under)}; bars are medians, lines are quartiles</text>',
    ]
    return "\n".join([*head, *lines, "</svg>\n"])
