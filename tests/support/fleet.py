"""Backends without a network, for tests of what chooses among them."""

from __future__ import annotations

from random import Random
from typing import Any

from app.domain.backend import Backend
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from app.domain.strategies.strategy import Strategy
from settings.models import Choice
from settings.pools import BackendSettings, PoolSettings
from settings.resilience import HealthSettings

UNPROBED = HealthSettings(kind="none")


def backend(name: str = "a", weight: int = 1, health: HealthSettings = UNPROBED, url: str = "") -> Backend:
    """One backend, UP unless *health* has probes."""
    return Backend("p", BackendSettings(url=url or f"http://{name}.test:8000", id=name, weight=weight), health)


def fleet(*weights: int, health: HealthSettings = UNPROBED) -> tuple[Backend, ...]:
    """A backend for each weight, called a, b, c ... and from the 27th on by number."""
    return tuple(backend(chr(97 + i) if i < 26 else str(i), weight, health) for i, weight in enumerate(weights))


def strategy(kind: str, seed: int = 7) -> Strategy:
    """One of the table, with chance from *seed*; options stand behind its kind: "maglev|bounded=1.5|table=251"."""
    name, *options = kind.split("|")
    return STRATEGIES.build(Choice(kind=name, **dict(option.split("=") for option in options)), rng=Random(seed))


def pool(backends: tuple[Backend, ...], kind: str = "round_robin", **settings: Any) -> Pool:
    """A pool of these."""
    return Pool("p", PoolSettings(**settings), strategy(kind), backends)
