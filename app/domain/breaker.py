"""Whether a backend's answers are such that it may take requests: its breaker is closed, open or half-open.

| state     | what happens                                             | becomes |
|-----------|----------------------------------------------------------|---------|
| closed    | a reason to eject it, and the pool can spare it          | open: it is ejected |
| open      | its time is over                                         | half-open, at the next pick |
| half-open | `half_open` answers that pass                            | closed |
| half-open | one that fails, or is slow where that was the reason     | open, for longer; or closed, as for the pool |
| half-open | the time of a first ejection, without any of these       | half-open, with room for as many again |
| closed    | another process has ejected it, and the pool can spare it | half-open: it is suspect |
| any       | its health flips to UP; the pool cannot spare it any more; breakers are switched off | closed |

Everything else leaves the state. So no state is for ever: an open breaker ends by time alone, and a half-open one
has room again even when a request that it let through never ends. What a pool can spare is for `ejection` to say.

What an answer counts for, by the first that fits:

| answer                                                                      | counts as |
|-----------------------------------------------------------------------------|-----------|
| to a request that was sent before the state was entered, or while open      | nothing |
| no response or not all of it by the backend's fault, or a status in `status` | a failure |
| any other error, or neither error nor status: the client's doing            | nothing |
| a response head that took longer than `slow`                                | a pass, and slow |
| any other response, of whatever status                                      | a pass |

Reasons to eject: `consecutive` failures in a row; or, of at least `min_requests` in the `window`, a share of
`failure_ratio` that failed, of `slow_ratio` that were slow, or a success rate far below that of the pool, which
`ejection` finds. The window is ten buckets, the one that is being filled included, so that it reaches back 90 to 100 %
of its length.

The nth ejection in a row lasts n times the first, `max_ejection` at most, and up to `jitter` of that longer. n goes
down by one for each time of a first ejection that the breaker then was closed.

Sources: Envoy, `outlier_detection.proto` (failures in a row, the time of an ejection); Resilience4j, `CircuitBreaker`
(window, slow calls, half-open).
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from app.domain.statuses import statuses_of
from settings.resilience import BreakerSettings

if TYPE_CHECKING:
    from app.domain.attempt import Attempt

CONSECUTIVE: Final = "consecutive_failures"
FAILURES: Final = "failure_ratio"
SLOW: Final = "slow_ratio"
OUTLIER: Final = "success_rate"
REASONS: Final = (CONSECUTIVE, FAILURES, SLOW, OUTLIER)

BUCKETS: Final = 10
"""Of one window."""


class State(StrEnum):
    """Of a breaker, as it is logged and shown."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


CLOSED: Final = State.CLOSED
OPEN: Final = State.OPEN
HALF_OPEN: Final = State.HALF_OPEN


class Trip(NamedTuple):
    """Why a backend should be ejected: one of `REASONS`, and the same in a few words for people."""

    reason: str
    words: str


class Breaker:
    """The breaker of one backend. Times are monotonic seconds.

    A pass of a closed breaker changes nothing but `requests` and `streak`, so the pool, which has one to count for
    nearly every request, does that itself while `now < ends`.

    Attributes:
        since: when the state was entered.

        until: when it changes by itself, or a half-open one has room again; meaningless while closed.

        reason: of the last ejection, here or where it is suspect for, one of `REASONS`; "" before the first.

        ejections: how many there were, by reason.

        row: how many of them were in a row.

        streak: failures in a row.

        trials: requests let through while half-open that have not been answered.

        ends: when the bucket that is being filled is full; -inf while none is, inf where breakers are off.

        requests, failures, slows: in that bucket. What is slow is not a failure.

        failing: statuses that are failures; 0 is among them, which is none: it has to be looked at.

        slow: seconds that a response head may take.
    """

    __slots__ = (
        "_passes", "_past", "_width", "ejections", "ends", "failing", "failures", "reason", "requests", "row",
        "settings", "since", "slow", "slows", "state", "streak", "trials", "until",
    )  # fmt: skip

    def __init__(self, settings: BreakerSettings) -> None:
        self.state: State = CLOSED
        self.ends: float = -inf
        self.reason = ""
        self.ejections: dict[str, int] = {}
        self.row = self.streak = self.trials = self._passes = 0
        self.until = -inf
        self.requests = self.failures = self.slows = 0
        self._past: deque[tuple[int, int, int]] = deque(maxlen=BUCKETS - 1)
        self._set(settings)
        self._enter(CLOSED, -inf)

    def configure(self, settings: BreakerSettings) -> None:
        """Go by other settings from now on: an ejection is kept, unless breakers are switched off; counts are not."""
        if settings != self.settings:
            self._set(settings)
            if self.state is CLOSED or not settings.enabled:
                self.close(self.since)

    def _set(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.failing = statuses_of(settings.status) | {0}
        self.slow = settings.slow if settings.slow and settings.enabled else inf
        self._width = settings.window / BUCKETS

    @property
    def admits(self) -> bool:
        """Whether it lets another request through."""
        return self.state is CLOSED or (self.state is HALF_OPEN and self.trials < self.settings.half_open)

    def observe(self, attempt: Attempt, now: float) -> Trip | None:
        """Take an attempt that ended; returns why the backend should be ejected, if it should."""
        if self.state is OPEN or attempt.started < self.since or not self.settings.enabled:
            return None
        error, status = attempt.error, attempt.status
        failed = status in self.failing and status > 0
        if error is not None and error.side == "backend":
            failed = True
        counts = failed or (error is None and status > 0)
        slow = not failed and attempt.first_byte - attempt.started > self.slow
        if self.state is HALF_OPEN:
            if self.trials:
                self.trials -= 1
            return self._try(failed, slow, now) if counts else None
        if now >= self.ends:
            self.turn(now)
        if not counts:
            return None
        self.requests += 1
        if failed:
            self.failures += 1
            self.streak += 1
            return self._judge()
        self.streak = 0
        if slow:
            self.slows += 1
            return self._judge()
        return None

    def turn(self, now: float) -> None:
        """Begin the bucket of *now*; what has left the window is forgotten."""
        steps = int((now - self.ends) / self._width) + 1 if self.ends > -inf else BUCKETS
        if steps < BUCKETS:
            self._past.append((self.requests, self.failures, self.slows))
            self._past.extend([(0, 0, 0)] * (steps - 1))
            self.ends += steps * self._width
        else:
            self._past.clear()
            self.ends = now + self._width
        self.requests = self.failures = self.slows = 0

    def counts(self) -> tuple[int, int, int]:
        """Requests in the window, how many of them failed, and how many were slow."""
        requests, failures, slows = self.requests, self.failures, self.slows
        for bucket in self._past:
            requests += bucket[0]
            failures += bucket[1]
            slows += bucket[2]
        return requests, failures, slows

    def eject(self, reason: str, now: float, chance: float) -> None:
        """Open; *chance*, from 0 to 1, is how much of the jitter it gets."""
        self._forgive(now)
        self.row += 1
        seconds = min(self.settings.ejection * self.row, self.settings.max_ejection)
        self._enter(OPEN, now)
        self.until = now + seconds * (1.0 + self.settings.jitter * chance)
        self.reason = reason
        self.ejections[reason] = self.ejections.get(reason, 0) + 1

    def admit(self, now: float) -> bool:
        """Let as many requests through as find out, `until` being past; True where it was open before."""
        opened = self.state is OPEN
        if opened:
            self._enter(HALF_OPEN, now)
        self.trials = 0
        self.until = now + self.settings.ejection
        return opened

    def suspect(self, reason: str, now: float) -> None:
        """Let as many requests through as find out whether *reason*, for which another ejected it, holds here too."""
        self._forgive(now)
        self._enter(HALF_OPEN, now)
        self.until = now + self.settings.ejection
        self.reason = reason

    def close(self, since: float) -> None:
        """Let everything through; the window begins anew."""
        self._enter(CLOSED, since)

    def _enter(self, state: State, since: float) -> None:
        self.state = state
        self.since = since
        self.ends = -inf if self.settings.enabled else inf
        self.streak = self.trials = self._passes = 0

    def _forgive(self, now: float) -> None:
        if self.state is CLOSED and self.row:
            self.row = max(0, self.row - int((now - self.since) / self.settings.ejection))

    def _try(self, failed: bool, slow: bool, now: float) -> Trip | None:
        if failed:
            return Trip(self.reason, "failed again")
        if slow and self.reason == SLOW:
            return Trip(SLOW, "slow again")
        self._passes += 1
        if self._passes >= self.settings.half_open:
            self.close(now)
        return None

    def _judge(self) -> Trip | None:
        settings = self.settings
        if settings.consecutive and self.streak >= settings.consecutive:
            return Trip(CONSECUTIVE, f"{self.streak} failures in a row" if self.streak > 1 else "a failure")
        requests, failures, slows = self.counts()
        if requests < settings.min_requests:
            return None
        if failures and settings.failure_ratio and failures >= settings.failure_ratio * requests:
            return Trip(FAILURES, f"{failures} of {requests} failed")
        if slows and slows >= settings.slow_ratio * requests:
            return Trip(SLOW, f"{slows} of {requests} slow")
        return None
