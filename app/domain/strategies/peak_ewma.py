"""Peak EWMA: of two backends drawn, the one with the lower peak of latency, times what it has to do; O(log n) a pick.

    on a response after `seconds`:   seconds > peak:  peak = seconds                          (at once up)
                                     else:            peak += (seconds - peak) * (1 - e)      (slowly down)
                                     where            e = exp(-(now - last heard) / decay)
    load = peak * exp(-idle / decay) * (in flight / relative weight + 1)

`decay` is 10 s unless said otherwise. A backend that turns slow is noticed with its first slow answer, and one that
gets well is forgiven with its first good answer to a trial; while others are so busy that it is in use all the time,
after decay * ln(peak / usual), 23 s for a peak of ten times the usual. Failures, idleness, trials, new backends and
weights are as in `estimate`, pairs as in `pairs`.

Sources: Finagle, `PeakEwma.scala` ("designed to converge quickly when encountering slow endpoints"); tower
`load/peak_ewma.rs` and linkerd2-proxy, with the same 10 s.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.backend import Backend
from app.domain.strategies.estimate import Estimate, Timed


class PeakEwma(Timed):
    """Least peak latency between two."""

    __slots__ = ()

    def _among(self, available: Sequence[Backend]) -> Sequence[Backend]:
        return self._draw(available)

    def _gain(self, estimate: Estimate, seconds: float, now: float) -> float:
        return 1.0 if seconds > estimate.seconds else self._aged(estimate, now)
