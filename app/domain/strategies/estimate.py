"""What strategies that go by latency have in common: an estimate of each backend's, and who is best by them.

    load = seconds * exp(-idle / decay) * (in flight / relative weight + 1)

- *seconds* is the estimate, of the time to the first byte, as each strategy makes it of what it observes. A long
  download weighs by being in flight and does not spoil it.
- A **failure** (no whole response, 429, 502, 503, 504) counts as 5 s, or its `Retry-After` where that is longer: who
  fails fast must not look attractive. What the client broke off took at least as long as it had waited.
- *idle* is the time since the backend was last picked or heard of. So a backend that looked bad once looks better and
  better until it is tried again (**nobody is starved**), and from the moment it is tried it looks as bad as before
  until it answers: one request finds out, not all (**no herd**). Of a new one nothing is known: the same holds.
- Besides, one pick in 64 goes by weight alone, so that each gets at least 1/64 of its share.
- Loads less than a quarter apart are the same: the turns of the weights decide, not noise. *relative weight* is that
  to the mean, so that with nothing in flight weights count there and nowhere else.

Sources: Finagle, `PeakEwma.scala` (decay while idle, load by what is pending); linkerd2-proxy, load biaser (failures);
nginx, `least_time` (latencies in clusters, turns within). What it is to prevent: traefik issue 12306.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import exp, inf
from random import Random
from typing import ClassVar

from pydantic import Field

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.errors import UpstreamError
from app.domain.strategies.pairs import Pair, Pairs
from app.domain.strategies.strategy import Strategy
from app.domain.strategies.turns import ARREARS, Turns
from settings.models import Frozen
from settings.units import Duration

UNKNOWN = 60.0
"""Seconds: the estimate of a backend that was tried and never heard of."""
FAILURE = 5.0
"""Seconds that a failure counts for, at least."""
LONGEST = 300.0
"""Seconds of a `Retry-After`, above which it is not believed."""
ALIKE = 1.25
"""Ratio of two loads, up to which they are the same."""
BLIND = 1 / 64
"""Share of the picks that go by weight alone. Twice as much would put a slow one of three into the 99th percentile."""
FAILING = frozenset({429, 502, 503, 504})
"""Statuses by which a backend says that it cannot. A 500 is the request's fault as often as the backend's."""


class Decay(Frozen):
    """Options of strategies that go by latency."""

    decay: Duration = Field(default=10.0, gt=0)
    """Time constant: what is that old counts for 37 %."""


class Estimate:
    """Of one backend: *seconds*, when something was last *heard* of it, when it was last *picked*."""

    __slots__ = ("heard", "picked", "seconds")

    def __init__(self) -> None:
        self.seconds = UNKNOWN
        self.heard = -inf
        self.picked = -inf


class Timed(Strategy):
    """Keeps the estimates of the backends that are available."""

    __slots__ = ("_decay", "_estimates", "_mean", "_pairs", "_rng", "_turns", "_whole")

    Options: ClassVar[type[Decay]] = Decay
    learns = True

    def __init__(self, options: Decay, *, rng: Random, **services: object) -> None:
        self._decay = options.decay
        self._rng = rng
        self._estimates: dict[Backend, Estimate] = {}
        self._turns = Turns((), rng)
        self._mean = 1.0
        self._whole: Sequence[Backend] = ()
        self._pairs: Pairs | None = None

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Keep what is known of those that stay; who comes back starts anew."""
        self._estimates = {backend: self._estimates.get(backend) or Estimate() for backend in available}
        self._turns = Turns(available, self._rng, arrears=ARREARS)
        self._whole = available
        self._pairs = Pairs(available, self._rng) if available else None
        self._mean = sum(backend.share for backend in available) / (len(available) or 1)

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Take the least loaded of those that are looked at, by turns among those alike."""
        chance = self._rng.random()
        if chance < BLIND:
            backend = self._draw(available)[chance < BLIND / 2]
        else:
            among = self._among(available)
            loads = [self._load(backend, now) for backend in among]
            bound = min(loads) * ALIKE
            backend = self._turns.take([backend for backend, load in zip(among, loads, strict=True) if load <= bound])
        self._estimates[backend].picked = now
        return backend

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Learn how long it took, or would have taken."""
        estimate = self._estimates.get(attempt.backend)
        if estimate is None:
            return
        seconds = (attempt.first_byte or attempt.ended) - attempt.started
        if attempt.status in FAILING or isinstance(attempt.error, UpstreamError):
            seconds = max(seconds, FAILURE, min(retry_after, LONGEST))
        elif not attempt.first_byte and seconds <= estimate.seconds:
            return  # the client went before anything could be said
        estimate.seconds += (seconds - estimate.seconds) * self._gain(estimate, seconds, now)
        estimate.heard = now

    def _among(self, available: Sequence[Backend]) -> Sequence[Backend]:
        """Those whose loads are compared: all."""
        return available

    def _draw(self, available: Sequence[Backend]) -> Pair:
        pairs = self._pairs
        if pairs is None or available is not self._whole:
            pairs = Pairs(available, self._rng)
        return pairs.draw()

    @abstractmethod
    def _gain(self, estimate: Estimate, seconds: float, now: float) -> float:
        """From 0 to 1: how far the estimate moves to what was observed."""

    def _aged(self, estimate: Estimate, now: float) -> float:
        """How much of what is known is too old by *now*: 1.0 where nothing is."""
        return 1.0 - exp(min(0.0, estimate.heard - now) / self._decay)

    def _load(self, backend: Backend, now: float) -> float:
        estimate = self._estimates[backend]
        idle = now - (estimate.heard if estimate.heard > estimate.picked else estimate.picked)
        decayed = estimate.seconds * exp(-idle / self._decay) if idle > 0 else estimate.seconds
        return decayed * (backend.in_flight * self._mean / backend.share + 1.0)
