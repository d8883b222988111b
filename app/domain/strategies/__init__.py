"""How one backend of a pool is chosen: one file a strategy, and the table of them all."""

from app.domain.registry import Registry
from app.domain.strategies.first import First
from app.domain.strategies.least_connections import LeastConnections
from app.domain.strategies.random import Random
from app.domain.strategies.round_robin import RoundRobin
from app.domain.strategies.strategy import Strategy

STRATEGIES: Registry[Strategy] = Registry(
    "l7lb.strategies",
    {
        "first": First,
        "least_connections": LeastConnections,
        "random": Random,
        "round_robin": RoundRobin,
    },
)
