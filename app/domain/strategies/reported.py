"""Reported: shares that follow the load which the backends say they have; O(log n) a pick, and O(n) once a second.

A backend says its load in a field of its responses (`x-lb-load: 0.75`, or `75%`): 0 is idle, 1 is full. Once a second:

    load  = mean of what it said since the last time, the share of its failures where that is more; at least 0.05
    bent += (mean of ln load of all who said something - ln load) * (1 - exp(-passed / decay))     within +-ln 8
    share = weight * exp(bent)

Load grows with what a backend gets, so shares come to rest where all loads are the same: each gets what it can bear,
whatever its size, and whatever else it has to do. A step goes by the *ratio* of the loads; one by what is free
(weight * (1 - load)) would overshoot the more the busier all are. Steps are those of a time constant, `decay`, for most
backends' figures lag as well. Nobody is starved: a share is never bent to less than 1/8, nor over 8 times the weight.

Who is idle goes back to its weight besides: where all are, they say nothing of what each could bear.

**Values age**: what was said is used once. Who then says nothing keeps its share for 3 * decay (it may just have had
no request), and goes back to its weight from then on, as all do that never say anything. A backend that fails says
full, whatever its field says: who fails fast must not look idle.

Sources: Envoy, `client_side_weighted_round_robin` (weight = rate / utilization, penalty for errors, values that
expire), of which this is the steady state; HAProxy, `agent-check`. Who asked for it: traefik issue 3745.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from heapq import heapify, heapreplace
from math import exp, inf, log
from random import Random

from pydantic import Field

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.strategies.estimate import failed
from app.domain.strategies.strategy import Strategy
from settings.models import Frozen, Token
from settings.units import Duration

EVERY = 1.0
"""Seconds between two looks at what was said."""
IDLE = 0.05
"""A load below which all are the same: a ratio of two small numbers is noise."""
MOST = log(8.0)
"""How far a share may be bent either way."""
STRAIGHT = 0.01
"""What is bent by less is as the weight says."""


class Reports(Frozen):
    """Options of reported."""

    header: Token = "x-lb-load"
    """Field of the responses that says the load: 0 to 1, or a percentage."""
    decay: Duration = Field(default=5.0, gt=0)
    """Time constant of the shares, and of forgetting; a longer one where loads are means over a long time."""


class Said:
    """What one backend said since the last look, and what was made of it so far."""

    __slots__ = ("answers", "bent", "failures", "heard", "sum", "times")

    def __init__(self) -> None:
        self.sum = 0.0
        self.times = 0
        self.answers = 0
        self.failures = 0
        self.heard = -inf
        self.bent = 0.0

    def load(self) -> float | None:
        """What comes of it, which is then forgotten; None where nothing was said."""
        said, times, answers, failures = self.sum, self.times, self.answers, self.failures
        self.sum, self.times, self.answers, self.failures = 0.0, 0, 0, 0
        if not times:
            return 1.0 if failures and failures == answers else None
        return max(IDLE, said / times, failures / answers if answers else 0.0)


class Reported(Strategy):
    """Weighted turns, weights bent by load."""

    __slots__ = ("_decay", "_due", "_last", "_periods", "_queue", "_rng", "_said", "_whole", "header")

    Options = Reports
    learns = True

    def __init__(self, options: Reports, *, rng: Random, **services: object) -> None:
        self.header = options.header.lower().encode()
        self._decay = options.decay
        self._rng = rng
        self._said: dict[Backend, Said] = {}
        self._whole: Sequence[Backend] = ()
        self._periods: dict[Backend, float] = {}
        self._queue: list[tuple[float, int, Backend]] = []
        self._due = inf
        self._last = -inf

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Deal out the turns anew, first at a random point of each period; who comes back starts with its weight."""
        self._whole = available
        self._said = {backend: self._said.get(backend) or Said() for backend in available}
        self._spread()
        self._queue = [(self._rng.random() * self._periods[b], i, b) for i, b in enumerate(available)]
        heapify(self._queue)

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose whose turn it is; where some were tried already, by chance among the others."""
        if now >= self._due:
            self._bend(now)
        if available is not self._whole:
            return self._rng.choices(available, [1.0 / self._periods[backend] for backend in available])[0]
        due, position, backend = self._queue[0]
        heapreplace(self._queue, (due + self._periods[backend], position, backend))
        return backend

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Count the failures, which say what a backend may not."""
        said = self._said.get(attempt.backend)
        if said is None:
            return
        if failed(attempt):
            said.failures += 1
            self._begin(now)
        if self._due != inf:
            said.answers += 1

    def report(self, backend: Backend, load: float, now: float) -> None:
        """Take a load of 0.0 to 1.0; what is more is 1.0, what is no number is ignored."""
        said = self._said.get(backend)
        if said is not None and load >= 0.0:
            said.sum += min(load, 1.0)
            said.times += 1
            self._begin(now)

    def _begin(self, now: float) -> None:
        """Look at it in a second, unless that is to come in any case."""
        if self._due == inf:
            self._last = now
            self._due = now + EVERY

    def _bend(self, now: float) -> None:
        step = 1.0 - exp(-(now - self._last) / self._decay)
        self._last = now
        loads = {said: log(load) for said in self._said.values() if (load := said.load()) is not None}
        mean = sum(loads.values()) / len(loads) if loads else 0.0
        idle = log(IDLE)
        going = False
        for said in self._said.values():
            if said in loads:
                said.heard = now
                if loads[said] <= idle:
                    said.bent *= 1.0 - step
                said.bent = max(-MOST, min(MOST, said.bent + (mean - loads[said]) * step))
            elif now - said.heard > 3 * self._decay:
                said.bent *= 1.0 - step
                if abs(said.bent) < STRAIGHT:
                    said.bent = 0.0
            going = going or said in loads or said.bent != 0.0
        self._due = now + EVERY if going else inf
        self._spread()

    def _spread(self) -> None:
        self._periods = {backend: exp(-said.bent) / backend.share for backend, said in self._said.items()}


def load_of(value: bytes) -> float | None:
    """What a field of a load says: `0.75` and `75%` are 0.75; None for what is neither."""
    found = re.fullmatch(rb"(\d{1,3}|\d{0,3}\.\d{1,9})(%?)", value.strip(b" \t"))
    return float(found[1]) / (100.0 if found[2] else 1.0) if found else None
