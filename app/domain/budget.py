"""A retry budget: retries are a share of the requests, so that a pool that is down is not asked twice as much.

There are two balances. Each request puts `ratio` of a token into one, each second `min_per_second` tokens into the
other; a retry needs a whole token in either, and takes one out of both, as far as they have it. So the rate of retries
is the larger of the two, not their sum. Of either about 4 s of deposits are saved:

    kept    = exp(-t / 4)                                  for the t seconds since it was last asked
    share   = share * kept + ratio * requests since then * (1 - kept) * 4 / t        as if they had come evenly
    reserve = min(reserve + min_per_second * t, min_per_second * 4)

A request costs an integer that its owner counts; the sums are done when a retry asks. Over any stretch of time there
are never more retries than

    ratio * requests + min_per_second * seconds + what was saved when it began.

Where every attempt begins to fail, requests are tried twice for 4 * ln(1 / (1 - ratio)) s, 0.9 s with a ratio of 20 %,
and what comes after it 1.2 times on average. Without a reserve, a pool of few requests may never have a whole token: at
20 %, one of under 1.25 a second.

Sources: Finagle, `RetryBudget.scala` (a share of the requests, a reserve for times with few, deposits that expire);
Envoy, `retry_budget` of its circuit breakers (20 %, at least 3). Finagle holds the deposits of 10 s in slices; 10 s of
20 % would let a dead pool be asked twice for 2.5 s.
"""

from __future__ import annotations

from math import exp

MEMORY = 4.0
"""Seconds: the time constant of what is saved; after 10 s 8 % of it are left."""


class Budget:
    """The retries that one pool may make.

    Args:
        ratio: retries as a share of the requests, 0 to 1.

        min_per_second: retries a second that are allowed in any case.

        now: monotonic seconds, from when on requests are counted. 4 s of *min_per_second* are there at once.
    """

    __slots__ = ("_asked", "_counted", "_min_per_second", "_ratio", "_reserve", "_share")

    def __init__(self, ratio: float, min_per_second: float, now: float) -> None:
        self._ratio = ratio
        self._min_per_second = min_per_second
        self._asked = now
        self._counted = 0
        self._share = 0.0
        self._reserve = min_per_second * MEMORY

    def withdraw(self, requests: int, now: float) -> bool:
        """Take a token for one retry; False where there is none, and nothing is taken.

        Args:
            requests: how many there were in all, retries left out; it only grows.

            now: monotonic seconds.
        """
        deposit = (requests - self._counted) * self._ratio
        self._counted = requests
        elapsed = now - self._asked
        if elapsed > 0:
            kept = exp(-elapsed / MEMORY)
            self._share *= kept
            deposit *= (1.0 - kept) * MEMORY / elapsed
            self._reserve = min(self._reserve + self._min_per_second * elapsed, self._min_per_second * MEMORY)
            self._asked = now
        self._share += deposit
        if self._share < 1.0 and self._reserve < 1.0:
            return False
        self._share = max(0.0, self._share - 1.0)
        self._reserve = max(0.0, self._reserve - 1.0)
        return True
