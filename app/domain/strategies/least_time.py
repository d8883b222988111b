"""Least time: the backend that will answer first by the mean of its latency and what it has to do; O(n) a pick.

    on a response after `seconds`:   mean += (seconds - mean) * max(0.05, 1 - exp(-(now - last heard) / decay))
    load = mean * exp(-idle / decay) * (in flight / relative weight + 1)

`decay` is 10 s unless said otherwise. Exact: all are looked at. To a mean, a slow answer is one among twenty, where
to `peak_ewma` it is the new truth: better where single requests differ much and backends do not. Failures, idleness,
new backends and weights are as in `estimate`.

Source: nginx 1.31, `least_time`, whose average takes 0.05 of each answer and is halved while the backend is idle.
"""

from __future__ import annotations

from app.domain.strategies.estimate import Estimate, Timed

STEP = 0.05
"""What one answer counts for beside those before it, at least."""


class LeastTime(Timed):
    """Least mean latency of all."""

    __slots__ = ()

    def _gain(self, estimate: Estimate, seconds: float, now: float) -> float:
        return max(STEP, self._aged(estimate, now))
