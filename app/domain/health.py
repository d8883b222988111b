"""Whether a backend answers its probes: UP, DOWN or CHECKING, by rise and fall.

| state    | answer | in a row       | becomes |
|----------|--------|----------------|---------|
| CHECKING | pass   | first          | UP      |
| CHECKING | fail   | first          | DOWN    |
| UP       | fail   | `fall` of them | DOWN    |
| DOWN     | pass   | `rise` of them | UP      |

Every other answer leaves the state; one that confirms it ends the count towards the other. Without probes (kind
`none`) a backend is UP at once and for ever. Who does not probe itself takes the word of who does.
"""

from __future__ import annotations

import re
from enum import StrEnum
from random import Random
from typing import Literal, NamedTuple

from app.domain.statuses import statuses_of
from settings.resilience import HealthSettings


class State(StrEnum):
    """Health of a backend, as it is logged and shown."""

    UP = "up"
    DOWN = "down"
    CHECKING = "checking"


def probe_kind(settings: HealthSettings) -> Literal["http", "tcp", "grpc", "none"]:
    """What kind of probe *settings* ask for: `http` when a path is given, else `tcp`, when the kind is not said."""
    return settings.kind or ("tcp" if settings.path is None else "http")


class Word(NamedTuple):
    """What one process says to another of a backend's health: as in `Health`."""

    state: State
    streak: int
    reason: str
    since: float


class Health:
    """The state of one backend. Times are monotonic seconds.

    Attributes:
        state: only UP takes requests.

        streak: answers in a row that speak for the other state.

        since: when the state was entered; 0.0 while CHECKING.

        reason: why the last probe failed; "" when it passed.

        due: when the next probe starts, as far as is known.
    """

    __slots__ = ("due", "reason", "settings", "since", "state", "streak")

    def __init__(self, settings: HealthSettings) -> None:
        self.settings = settings
        self.state = State.CHECKING
        self.streak = 0
        self.since = 0.0
        self.reason = ""
        self.due = 0.0
        self.configure(settings)

    def configure(self, settings: HealthSettings) -> None:
        """Go by other settings from now on; the state is kept, unless there are no probes left to leave it by."""
        self.settings = settings
        if probe_kind(settings) == "none":
            self.state = State.UP
            self.streak = 0
            self.reason = ""

    def observe(self, failure: str, now: float) -> bool:
        """Take the answer of a probe, why it failed or "" for a pass; True when the state became another."""
        self.reason = failure
        if (self.state is State.DOWN) == bool(failure) and self.state is not State.CHECKING:
            self.streak = 0
            return False
        self.streak += 1
        needed = {State.UP: self.settings.fall, State.DOWN: self.settings.rise, State.CHECKING: 1}[self.state]
        if self.streak < needed:
            return False
        self.state = State.DOWN if failure else State.UP
        self.streak = 0
        self.since = now
        return True

    @property
    def word(self) -> Word:
        """What there is to say of it."""
        return Word(self.state, self.streak, self.reason, self.since)

    def adopt(self, state: State, streak: int, reason: str, since: float) -> bool:
        """Take the word of somebody who probes it, for all that we know; True when the state became another."""
        if probe_kind(self.settings) == "none":
            return False
        flipped = state is not self.state
        self.state, self.streak, self.reason = state, streak, reason
        if flipped:
            self.since = since
        return flipped

    @property
    def interval(self) -> float:
        """Seconds from the start of one probe to that of the next, without jitter."""
        if self.streak:
            return self.settings.transition_interval
        return self.settings.down_interval if self.state is State.DOWN else self.settings.interval

    def plan(self, started: float, rng: Random, *, first: bool = False) -> float:
        """Set when the next probe is due, and return it.

        Args:
            started: when the last probe started.

            rng: moves it by up to `jitter` of the interval either way, so that probes do not march in step.

            first: the last probe was the first, which all backends have at the same moment: the next comes at any
                point of the interval.
        """
        jitter = self.settings.jitter
        share = rng.random() if first else 1.0 + jitter * (2.0 * rng.random() - 1.0)
        self.due = started + self.interval * share
        return self.due

    def back_in(self, now: float) -> float:
        """Seconds until the backend is UP, if from now on every probe passes at once."""
        if self.state is State.UP:
            return 0.0
        missing = 1 if self.state is State.CHECKING else self.settings.rise - self.streak
        return max(self.due - now, 0.0) + (missing - 1) * self.settings.transition_interval


class Expectation:
    """What the answer to an HTTP probe must be."""

    __slots__ = ("_load", "body", "statuses", "wants_body")

    def __init__(self, settings: HealthSettings) -> None:
        self.statuses = statuses_of(settings.status)
        self.body = re.compile(settings.body) if settings.body else None
        self._load = re.compile(settings.load.encode()) if settings.load else None
        self.wants_body = self.body is not None or self._load is not None

    def load(self, body: bytes) -> bytes:
        """What a body says of the backend's load; b"" when it does not, or is not asked."""
        found = self._load.search(body) if self._load is not None else None
        return (found[1] or b"") if found is not None else b""

    def judge(self, status: int, body: bytes) -> str:
        """Why the answer is a failure; "" when it is as expected."""
        if status not in self.statuses:
            return f"status {status}"
        if self.body is not None and not self.body.search(body.decode(errors="replace")):
            return "the body does not match"
        return ""
