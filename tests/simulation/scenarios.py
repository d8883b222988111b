"""The troubles that every strategy is put through: each of them lasts from 10 s to 40 s, and is looked at to 70 s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from app.domain.backend import Backend
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from settings.models import Choice
from settings.pools import PoolSettings
from settings.resilience import HealthSettings
from tests.simulation.balancer import Balancer, Served
from tests.simulation.clockwork import Clockwork
from tests.simulation.machine import Machine, Span, Trouble

BEGINS, ENDS, OVER = 10.0, 40.0, 70.0
RATE = 20.0
"""Requests a second for each backend."""
BASE, SIZE = 0.01, 0.01
"""Seconds that a request needs of a worker: what is the same for all, and the mean of what is exponential."""
CLIENTS = 5000
NAMES = "abcdefgh"


@dataclass(frozen=True)
class Scenario:
    """One kind of trouble.

    Attributes:
        about: in a few words.

        troubles: by backend.

        events: what the operator does, and when.

        odd: the backend to look at.

        well: when that is well again.
    """

    about: str
    odd: str = ""
    well: float = ENDS
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    events: Mapping[float, Callable[[Pool], None]] = field(default_factory=dict)


def _restarts() -> Scenario:
    """One after the other is drained, restarted, and slow for 2 s."""
    troubles = {}
    events: dict[float, Callable[[Pool], None]] = {}

    def set_draining(number: int, *, to: bool) -> Callable[[Pool], None]:
        return lambda pool: (pool.drain if to else pool.undrain)(pool.backends[number])

    for number, name in enumerate(NAMES[:5]):
        since = BEGINS + 6.0 * number
        events[since] = set_draining(number, to=True)
        events[since + 4.0] = set_draining(number, to=False)
        troubles[name] = Trouble(down=[Span(since + 1.0, since + 4.0)], slow=[(Span(since + 4.0, since + 6.0), 5.0)])
    return Scenario("each is drained, restarted, 5 times as slow for 2 s", "c", BEGINS + 18.0, troubles, events)


SCENARIOS = {
    "equal": Scenario("all alike"),
    "slow": Scenario("one takes 10 times as long", "a", ENDS, {"a": Trouble(slow=[(Span(BEGINS, ENDS), 10.0)])}),
    "failing": Scenario("one answers 503 at once", "a", ENDS, {"a": Trouble(failing=[Span(BEGINS, ENDS)])}),
    "cold": Scenario(
        "one is added, 10 times as slow for 10 s",
        "a",
        BEGINS + 10.0,
        {"a": Trouble(down=[Span(0.0, BEGINS)], slow=[(Span(BEGINS, BEGINS + 10.0), 10.0)])},
    ),
    "flapping": Scenario(
        "one is down for 5 s, up for 5 s, three times",
        "a",
        ENDS - 5.0,
        {"a": Trouble(down=[Span(BEGINS + 10.0 * i, BEGINS + 10.0 * i + 5.0) for i in range(3)])},
    ),
    "restart": _restarts(),
}


@dataclass(frozen=True)
class Run:
    """What came of a strategy in a scenario."""

    backends: tuple[Backend, ...]
    served: list[Served]
    attempts: list[tuple[float, Backend]]


def run(kind: str, scenario: Scenario, count: int = 5, over: float = OVER) -> Run:
    """Put a strategy through a scenario with *count* backends. The same requests come at the same times for all."""
    settings = PoolSettings.model_validate({"backends": _backends(kind, count), "health": {"kind": "tcp"}})
    strategy = STRATEGIES.build(Choice(kind=kind), rng=Random(1))
    backends = tuple(Backend("p", spec, HealthSettings(kind="tcp")) for spec in settings.backends)
    pool = Pool("p", settings, strategy, backends, rng=Random(2))
    clock = Clockwork()
    machines = [Machine(scenario.troubles.get(backend.id, Trouble())) for backend in backends]
    balancer = Balancer(clock, pool, strategy, machines, Random(3))
    for when, event in scenario.events.items():
        clock.at(when, lambda event=event: event(pool))
    rng = Random(4)

    def arrive() -> None:
        balancer.take(b"%d" % rng.randrange(CLIENTS), BASE + rng.expovariate(1 / SIZE))
        clock.at(clock.now + rng.expovariate(RATE * count), arrive)

    arrive()
    clock.run(over)
    return Run(backends, balancer.served, balancer.attempts)


def _backends(kind: str, count: int) -> list[str]:
    """For `priority` two of five are of the next level."""
    spare = count * 2 // 5 if kind == "priority" else 0
    return [f"http://{name}.test|id={name}|level={int(i >= count - spare)}" for i, name in enumerate(NAMES[:count])]
