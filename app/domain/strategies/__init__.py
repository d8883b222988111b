"""How one backend of a pool is chosen: one file a strategy, and the table of them all."""

from app.domain.registry import Registry
from app.domain.strategies.first import First
from app.domain.strategies.least_connections import LeastConnections
from app.domain.strategies.least_time import LeastTime
from app.domain.strategies.maglev import Maglev
from app.domain.strategies.p2c import P2C
from app.domain.strategies.peak_ewma import PeakEwma
from app.domain.strategies.priority import Priority
from app.domain.strategies.random import Random
from app.domain.strategies.rendezvous import Rendezvous
from app.domain.strategies.reported import Reported
from app.domain.strategies.ring_hash import RingHash
from app.domain.strategies.round_robin import RoundRobin
from app.domain.strategies.strategy import Strategy

STRATEGIES: Registry[Strategy] = Registry(
    "l7lb.strategies",
    {
        "first": First,
        "least_connections": LeastConnections,
        "least_time": LeastTime,
        "maglev": Maglev,
        "p2c": P2C,
        "peak_ewma": PeakEwma,
        "priority": Priority,
        "random": Random,
        "rendezvous": Rendezvous,
        "reported": Reported,
        "ring_hash": RingHash,
        "round_robin": RoundRobin,
    },
)
