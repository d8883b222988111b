"""Whether an attempt that failed is followed by another, and after how long.

Asked in this order; the first that says no is the reason:

| reason        | no, when                                                                                   |
|---------------|--------------------------------------------------------------------------------------------|
| `failure`     | it was not the backend's, or its status is not one of `status`                             |
| `begun`       | some of a response had come: that was its answer, however broken it is                     |
| `attempts`    | there were `attempts` of them                                                              |
| `method`      | the backend may have seen it, it is none of `methods`, and there is no `Idempotency-Key`   |
| `body`        | the request cannot be sent again whole                                                     |
| `retry_after` | the backend wants to be left alone for longer than `max_retry_after`                       |
| `deadline`    | the time of the exchange would be over before the next attempt began                       |
| `budget`      | the pool has spent its retries: asked last, so that only what is retried is paid for       |

An attempt that never got as far as its backend, such as a refused connection, has cost no backend anything. Where one
that is well is there to make it good, nothing is paid: else of three backends that are restarted one after the other
requests are lost, for the first is still ejected when the second refuses, and half of all is more than any budget.

The wait is drawn from 0 to `backoff * 2 ** (n - 1)` after the nth attempt, at most `max_backoff`, so that those who
failed together do not return together; a `Retry-After` is waited for besides. It is only asked while the client has
seen nothing of a response: after that there is nothing to decide.

Sources: RFC 9110 section 9.2.2 (which methods may be sent twice); draft-ietf-httpapi-idempotency-key-header; Brooker,
"Exponential Backoff And Jitter" (full jitter); Envoy, its router's retries (25 ms, 250 ms).
"""

from __future__ import annotations

from random import Random
from typing import Literal, NamedTuple

from app.domain.attempt import Attempt
from app.domain.budget import Budget
from app.domain.statuses import statuses_of
from settings.resilience import RetrySettings

Why = Literal["failure", "begun", "attempts", "method", "body", "retry_after", "deadline", "budget"]


class Again(NamedTuple):
    """Make another attempt, *after* so many seconds."""

    after: float


class Stop(NamedTuple):
    """What came is what the client gets; *why* there is no other attempt."""

    why: Why


FAILURE = Stop("failure")
BEGUN = Stop("begun")
ATTEMPTS = Stop("attempts")
METHOD = Stop("method")
BODY = Stop("body")
RETRY_AFTER = Stop("retry_after")
DEADLINE = Stop("deadline")
BUDGET = Stop("budget")


class RetryPolicy:
    """When attempts of one pool are followed by others.

    Attributes:
        attempts: at one request, the first included; 1 is no retries.

        max_body: bytes of a request body that are to be kept to send them again.

        statuses: of a backend after which another is tried.
    """

    __slots__ = ("_backoff", "_max_backoff", "_max_retry_after", "_methods", "attempts", "max_body", "statuses")

    def __init__(self, settings: RetrySettings) -> None:
        self.attempts = settings.attempts
        self.max_body = settings.max_body
        self.statuses = statuses_of(settings.status)
        self._methods = frozenset(settings.methods)
        self._backoff = settings.backoff
        self._max_backoff = settings.max_backoff
        self._max_retry_after = settings.max_retry_after

    def decide(
        self,
        attempt: Attempt,
        *,
        number: int,
        method: str,
        keyed: bool,
        replayable: bool,
        left: float,
        retry_after: float | None,
        budget: Budget | None,
        requests: int,
        now: float,
        rng: Random,
    ) -> Again | Stop:
        """What follows an attempt.

        Args:
            attempt: has failed, or has a status; the client has seen nothing of its response.

            number: attempts at this request so far, from 1.

            method: of the request, in upper case.

            keyed: the request has an `Idempotency-Key`: its backend knows it when it comes twice.

            replayable: all of the request can be sent again; so it can where none of its body was taken.

            left: seconds until the exchange has to be over; inf where that is not said.

            retry_after: seconds, of the `Retry-After` of the response; None without one.

            budget: of the pool; has a token less after Again. None: this one is free.

            requests: of the pool so far, as *budget* counts them.

            now: monotonic seconds.

            rng: what the wait is drawn with.
        """
        error = attempt.error
        if (error.side != "backend") if error is not None else (attempt.status not in self.statuses):
            return FAILURE
        if error is not None and error.begun:
            return BEGUN
        if number >= self.attempts:
            return ATTEMPTS
        seen = error is None or error.sent
        if seen and not keyed and method not in self._methods:
            return METHOD
        if not replayable:
            return BODY
        after = rng.random() * min(self._max_backoff, self._backoff * 2.0 ** (number - 1))
        if retry_after is not None:
            if retry_after > self._max_retry_after:
                return RETRY_AFTER
            after += retry_after
        if after >= left:
            return DEADLINE
        return Again(after) if budget is None or budget.withdraw(requests, now) else BUDGET
