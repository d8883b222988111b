"""What strategies that go by latency have in common: an estimate of each backend's, and who is best by them.

    load = seconds * exp(-idle / decay) * (in flight / relative weight + 1)

- *seconds* is the estimate, of the time to the first byte, as each strategy makes it of what it observes. A long
  download weighs by being in flight and does not spoil it.
- A **failure** (no whole response, 429, 502, 503, 504) counts as 5 s, or its `Retry-After` where that is longer: who
  fails fast must not look attractive. What the client broke off took at least as long as it had waited.
- *idle* is the time since the backend was last picked or heard of. So a backend that looked bad once looks better and
  better until it is tried again (**nobody is starved**), and from the moment it is tried it looks as bad as before
  until it answers: one request finds out, not all (**no herd**). Of a new one nothing is known: the same holds.
  Where requests are rare, 100 picks of others make up a `decay`: trials are never many among the requests.
- Besides, one pick in 16 looks at a backend drawn by weight, and takes it if none of the last 150 picks was its and it
  has nothing to do. So each that answers gets one pick in 150 + 16 / share or more, share being that of its weight:
  0.55 % beside one other, 0.43 % among five, however slow it is. Its answer counts alone, whatever was known before:
  who is well again is forgiven with it.
- Loads less than a quarter apart are the same. Of several such the quickest is taken, for how long a queue lasts is a
  guess, and latency is not; of several alike in that, too, the turns of the weights decide, not noise. *relative
  weight* is that to the mean, so that with nothing in flight weights count there and nowhere else.

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
"""Ratio of two loads, or two latencies, up to which they are the same."""
LOOKS = 1 / 16
"""Share of the picks that look whether a backend has to be tried."""
REST = 150
"""Picks, none of which it had. Under 70, a slow one of two would be in the 99th percentile."""
PACE = 100
"""Picks without which idleness does not count for a whole `decay`."""
FAILING = frozenset({429, 502, 503, 504})
"""Statuses by which a backend says that it cannot. A 500 is the request's fault as often as the backend's."""


def failed(attempt: Attempt) -> bool:
    """Whether the backend is to blame for what came of it."""
    return attempt.status in FAILING or isinstance(attempt.error, UpstreamError)


class Decay(Frozen):
    """Options of strategies that go by latency."""

    decay: Duration = Field(default=10.0, gt=0)
    """Time constant: what is that old counts for 37 %."""


class Estimate:
    """Of one backend: *seconds*; when it was last *heard* of and *picked*; its *turn*, by which pick of all."""

    __slots__ = ("heard", "picked", "seconds", "turn")

    def __init__(self) -> None:
        self.seconds = UNKNOWN
        self.heard = -inf
        self.picked = -inf
        self.turn = -inf


class Timed(Strategy):
    """Keeps the estimates of the backends that are available."""

    __slots__ = ("_decay", "_estimates", "_mean", "_pairs", "_picks", "_rng", "_turns", "_whole")

    Options: ClassVar[type[Decay]] = Decay
    learns = True

    def __init__(self, options: Decay, *, rng: Random, **services: object) -> None:
        self._decay = options.decay
        self._rng = rng
        self._estimates: dict[Backend, Estimate] = {}
        self._turns = Turns((), rng)
        self._picks = 0
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
        """Take who has to be tried, if one is seen; else the best of those that are looked at."""
        self._picks += 1
        chance = self._rng.random()
        backend = self._rested(available, chance < LOOKS / 2) if chance < LOOKS else None
        if backend is None:
            backend = self._best(available, now)
        estimate = self._estimates[backend]
        estimate.picked = now
        estimate.turn = self._picks
        return backend

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Learn how long it took, or would have taken."""
        estimate = self._estimates.get(attempt.backend)
        if estimate is None:
            return
        seconds = (attempt.first_byte or attempt.ended) - attempt.started
        if failed(attempt):
            seconds = max(seconds, FAILURE, min(retry_after, LONGEST))
        elif not attempt.first_byte and seconds <= estimate.seconds:
            return  # the client went before anything could be said
        estimate.seconds += (seconds - estimate.seconds) * self._gain(estimate, seconds, now)
        estimate.heard = now

    def _among(self, available: Sequence[Backend]) -> Sequence[Backend]:
        """Those whose loads are compared: all."""
        return available

    def _best(self, available: Sequence[Backend], now: float) -> Backend:
        """The least loaded; of several alike the quickest; of several alike in that, too, whose turn it is."""
        mean, least = self._mean, inf
        seen: list[tuple[float, float, Backend]] = []
        for backend in self._among(available):
            seconds = self._seconds(backend, now)
            load = seconds * (backend.in_flight * mean / backend.share + 1.0)
            seen.append((load, seconds, backend))
            if load < least:  # noqa: PLR1730  # min() takes three times as long
                least = load
        least *= ALIKE
        alike = [one for one in seen if one[0] <= least]
        if len(alike) > 1:
            quick = min([one[1] for one in alike]) * ALIKE
            alike = [one for one in alike if one[1] <= quick]
        return self._turns.take([one[2] for one in alike])

    def _rested(self, available: Sequence[Backend], second: bool) -> Backend | None:
        """One drawn by weight, if it had nothing to do for long enough."""
        backend = self._draw(available)[second]
        estimate = self._estimates[backend]
        if backend.in_flight or self._picks - estimate.turn <= REST:
            return None
        estimate.heard = -inf  # so that the answer counts, and nothing before it
        return backend

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

    def _seconds(self, backend: Backend, now: float) -> float:
        """The estimate, as far as it still counts."""
        estimate = self._estimates[backend]
        idle = now - (estimate.heard if estimate.heard > estimate.picked else estimate.picked)
        if idle <= 0.0:
            return estimate.seconds
        return estimate.seconds * exp(-min(idle / self._decay, (self._picks - estimate.turn) / PACE))
