"""The same figures as a picture: a panel for each scenario, from p50 to p99 for each strategy. Plain SVG."""

from __future__ import annotations

from html import escape
from math import log10

from app.domain.strategies import STRATEGIES
from tests.simulation.figures import figures
from tests.simulation.scenarios import SCENARIOS

WIDTH, COLUMNS, LEFT, RIGHT = 840, 2, 130, 56
ROW, TITLE, AXIS, HEAD = 18, 28, 34, 52
LEAST, MOST = 0.01, 20.0  # seconds, on a scale of logarithms
TICKS = {0.01: "10 ms", 0.1: "0.1 s", 1.0: "1 s", 10.0: "10 s"}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a } .grid { stroke: #d0d7de }
.span { stroke: #8c959f; stroke-width: 2 } .p50 { fill: #8c959f } .p99 { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #8d96a0 } .grid { stroke: #30363d }
  .span { stroke: #6e7681 } .p50 { fill: #6e7681 } .p99 { fill: #4493f8 }
}
"""


def across(seconds: float, left: float) -> float:
    """Where a time is, in pixels from the left, in a panel that begins at *left*."""
    room = WIDTH / COLUMNS - LEFT - RIGHT
    return left + LEFT + (log10(seconds) - log10(LEAST)) / (log10(MOST) - log10(LEAST)) * room


def drawn() -> str:
    """The SVG."""
    height = TITLE + ROW * len(list(STRATEGIES)) + AXIS
    lines: list[str] = []
    for number, name in enumerate(SCENARIOS):
        lines += panel(name, number % COLUMNS * WIDTH / COLUMNS, HEAD + number // COLUMNS * height)
    under = "5 backends, 20 requests a second each, 20 ms a request; a scale of logarithms; figures: p99 in ms"
    total = HEAD + -(-len(SCENARIOS) // COLUMNS) * height
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" role="img">',
        f"<title>Latency of each strategy in trouble</title><style>{STYLE}</style>",
        '<text class="title" x="8" y="20">How long clients wait, simulated: from p50 (grey) to p99 (blue)</text>',
        f'<text class="small" x="8" y="38">{under}</text>',
    ]
    return "\n".join([*head, *lines, "</svg>\n"])


def panel(name: str, left: float, top: float) -> list[str]:
    """One scenario."""
    lines = [f'<text class="title" x="{left + 8:g}" y="{top + 18:g}">{name}: {escape(SCENARIOS[name].about)}</text>']
    top += TITLE
    bottom = top + ROW * len(list(STRATEGIES))
    for seconds, label in TICKS.items():
        at = f"{across(seconds, left):.1f}"
        lines.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{top:g}" y2="{bottom:g}"/>')
        lines.append(f'<text class="small" text-anchor="middle" x="{at}" y="{bottom + 13:g}">{label}</text>')
    for number, kind in enumerate(STRATEGIES):
        lines += row(kind, name, left, top + ROW * (number + 0.5))
    return lines


def row(kind: str, name: str, left: float, middle: float) -> list[str]:
    """One strategy: name, line, both ends, figure."""
    of = figures(kind, name)
    first, last = across(of.p50, left), across(of.p99, left)
    lost = f", {of.lost} lost" if of.lost else ""
    return [
        f'<text text-anchor="end" x="{left + LEFT - 8:g}" y="{middle + 4:g}">{kind}</text>',
        f"<g><title>{kind}: p50 {of.p50 * 1e3:.0f} ms, p99 {of.p99 * 1e3:.0f} ms{lost}</title>",
        f'<line class="span" x1="{first:.1f}" x2="{last:.1f}" y1="{middle:g}" y2="{middle:g}"/>',
        f'<circle class="p50" cx="{first:.1f}" cy="{middle:g}" r="3"/>',
        f'<circle class="p99" cx="{last:.1f}" cy="{middle:g}" r="4"/></g>',
        f'<text class="small" x="{last + 8:.1f}" y="{middle + 4:g}">{of.p99 * 1e3:.0f}</text>',
    ]
