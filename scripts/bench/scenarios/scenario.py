"""What a scenario is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.backends import Ready, small
from scripts.bench.figures import Rounds
from scripts.bench.site import Build, Peer
from scripts.bench.stage import Stage


@dataclass(frozen=True)
class Result:
    """The samples of each row; the first row is what the others are compared to."""

    rounds: Rounds
    compared: tuple[str, ...]
    """Metrics of which ratios are made; the first is what the scenario is about."""
    ready: dict[str, tuple[Peer, int]]
    notes: list[str] = field(default_factory=list)
    """What is to be known of the figures of this scenario."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table SCENARIOS."""

    about: str
    """What the clients do, for people."""
    play: Callable[[Stage, dict[str, Build]], Result]
    rows: dict[str, Build]
    backend: Callable[[Path], Ready] = small
    own_rows: bool = False
    """Its rows are l7lb set up in several ways: `--peers` does not choose among them."""
