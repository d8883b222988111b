"""Every metric there is, and how the records of exchanges move them."""

from __future__ import annotations

import platform
from collections import Counter as Number
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Final

from app import __version__, compiled
from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.exchange import Exchange
from app.domain.metrics import Counter, Histogram, Labels, Metric, Reading, Samples, exposition
from app.domain.tally import Tally, Told, tally_of
from app.engine.dispatch import Dispatcher
from app.engine.telemetry.certificates import of_acme, of_files
from app.engine.telemetry.readings import Caches, of_backends, of_caches, of_pools, of_state
from app.engine.telemetry.strain import Crowd, Held, Lag, of_bytes, of_crowd, of_loop
from app.renewal import Renewal

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"})
"""The methods of RFC 9110 and 5789; any other is `other`, for a client may invent as many as it likes."""

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds."""

GRACE: Final = 300.0
"""Seconds for which what was counted of a backend that has left is told: nobody misses the last of it."""
_LONG: Final = 12 * GRACE
"""Seconds for which we know that it has left."""
_BACKEND: Final = ("pool", "backend")


class Instruments:
    """All metrics in one list.

    Exchanges come in batches by `observe` and `refused`. What is known elsewhere is asked for at a scrape:

    Args:
        dispatchers: one for each pool.

        limited: by limiter and dry run (`true` or `false`), how many requests found no token.

        mirrored: by group, pool and outcome, how many copies there were.

        dropped: lines of the log that were never written.

        crowd: the connections of clients.

        caches: their stores by name, and what they count.

        state: what is shared.

        lag: of the event loop; None where nobody looks.

        renewals: certificates and authorities that are read again when they have changed.

        orders: by domain and outcome, how many certificates were ordered.

        held: the bytes that wait; None where nobody looks.

        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        dispatchers: Callable[[], Iterable[Dispatcher]],
        limited: Callable[[], Samples],
        mirrored: Callable[[], Samples],
        dropped: Callable[[], int],
        crowd: Crowd | None = None,
        caches: Caches | None = None,
        state: object = None,
        lag: Lag | None = None,
        renewals: Callable[[], Iterable[Renewal[Any]]] = tuple,
        orders: Callable[[], Samples] = list,
        held: Held | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._dispatchers = dispatchers
        self._clock = clock
        self._missed: dict[Labels, float] = {}
        self.requests = Counter(
            "l7lb_requests_total", "Requests, by the status that the client got.", ("group", "method", "code")
        )
        self.durations = Histogram(
            "l7lb_request_duration_seconds", "From the request's head to the response's last byte.", ("group",), BOUNDS
        )
        self.bytes_in = Counter("l7lb_bytes_in_total", "Bytes of request bodies.", ("group",))
        self.bytes_out = Counter("l7lb_bytes_out_total", "Bytes of response bodies.", ("group",))
        self.errors = Counter(
            "l7lb_errors_total", "Exchanges that failed, by RFC 9209 error type and side.", ("type", "side")
        )
        self.refusals = Counter(
            "l7lb_refused_total", "Requests answered by the edge itself; in the others too.", ("type", "code")
        )
        self.attempts = Counter(
            "l7lb_backend_requests_total",
            "Attempts, by the backend's status or by the error type of there being none; neither: not waited for.",
            ("pool", "backend", "code", "error"),
        )
        self.ttfb = Histogram(
            "l7lb_backend_ttfb_seconds",
            "From the choice of the backend to the end of its response head.",
            ("pool", "backend"),
            BOUNDS,
        )
        self.all: tuple[Metric, ...] = (
            self.requests,
            self.durations,
            self.bytes_in,
            self.bytes_out,
            self.errors,
            self.refusals,
            self.attempts,
            self.ttfb,
            Reading(
                "l7lb_rate_limited_total",
                "Requests without a token; let through on a dry run.",
                ("limiter", "dry_run"),
                limited,
                "counter",
            ),
            *of_crowd(crowd),
            *of_pools(dispatchers),
            *of_backends(dispatchers),
            Reading(
                "l7lb_mirrored_total",
                "Copies of requests: answered, failed; and full, too_long, incomplete, which were not made.",
                ("group", "pool", "outcome"),
                mirrored,
                "counter",
            ),
            *of_caches(caches),
            *of_state(state),
            *of_loop(lag),
            *of_files(renewals),
            *of_acme(orders),
            *of_bytes(held),
            Reading(
                "l7lb_log_dropped_total", "Lines of the log never written.", (), lambda: [((), dropped())], "counter"
            ),
            Reading(
                "l7lb_build_info",
                "Always 1.",
                ("version", "python", "compiled"),
                lambda: [((__version__, platform.python_version(), str(compiled()).lower()), 1)],
                across="max",
            ),
            Reading("l7lb_workers", "Those whose metrics these are.", (), lambda: [((), 1)]),
        )

    def tally(self) -> Tally:
        """What this process has to tell. What was counted of a backend that left is over when nobody tells of it."""
        if gone := self._gone((self.attempts.values, self.ttfb.values), 2 * GRACE):
            for metric in (self.attempts, self.ttfb):
                metric.keep(lambda labels: labels[:2] not in gone)
        return tally_of(self.all)

    def forget(self, told: Told) -> bool:
        """Take out of *told* what is no longer told of backends that left; True where there was any."""
        of_backends = [
            told[metric.name] for metric in self.all if metric.labels[:2] == _BACKEND and metric.name in told
        ]
        gone = self._gone(of_backends, GRACE)
        for series in of_backends if gone else ():
            for labels in [labels for labels in series if labels[:2] in gone]:
                del series[labels]
        return bool(gone)

    def text(self, tally: Tally | None = None) -> str:
        """What a scrape gets: *tally*, or that of this process."""
        tally = tally or self.tally()
        self.forget(tally.counted)
        return exposition(self.all, {**tally.counted, **tally.gauges})

    def _gone(self, told: Iterable[Iterable[Labels]], seconds: float) -> set[Labels]:
        """Of the backends that are *told* of, those that have been missed for so long."""
        now = self._clock()
        pools = [of.pool for of in self._dispatchers()]
        present = {(pool.name, backend.id) for pool in pools for backend in (*pool.backends, *pool.leaving)}
        present.add(("other", "other"))  # what overflowed belongs to nobody
        for missed, since in tuple(self._missed.items()):
            if missed in present or now - since > _LONG:
                del self._missed[missed]
        absent = {labels[:2] for series in told for labels in series} - present
        return {one for one in absent if now - self._missed.setdefault(one, now) >= seconds}

    def observe(self, batch: Sequence[Exchange], wall: float) -> None:
        """Count finished exchanges."""
        # Most of a batch is alike, so the labels are made once for all that are.
        for (group, method, status), number in Number([(e.group, e.method, e.status) for e in batch]).items():
            self.requests.add((group, method if method in METHODS else "other", _code(status)), number)
        took: dict[str, list[float]] = {}
        received: dict[str, int] = {}
        sent: dict[str, int] = {}
        for exchange in batch:
            ended = exchange.ended if exchange.status != 101 else exchange.first_byte  # what follows is no response
            group = exchange.group
            took.setdefault(group, []).append(ended - exchange.started)
            if exchange.bytes_in:
                received[group] = received.get(group, 0) + exchange.bytes_in
            if exchange.bytes_out:
                sent[group] = sent.get(group, 0) + exchange.bytes_out
            if exchange.error is not None:
                self.errors.add((exchange.error.error_type, exchange.error.side))
        for group, values in took.items():
            self.durations.observe((group,), values)
        for group, number in received.items():
            self.bytes_in.add((group,), number)
        for group, number in sent.items():
            self.bytes_out.add((group,), number)
        self._observe([attempt for exchange in batch for attempt in exchange.attempts])

    def _observe(self, attempts: list[Attempt]) -> None:
        for (backend, status, error), number in Number([(a.backend, a.status, _type(a)) for a in attempts]).items():
            self.attempts.add((backend.pool, backend.id, _code(status) if status else "", error), number)
        waited: dict[Backend, list[float]] = {}
        for attempt in attempts:
            if attempt.first_byte:
                waited.setdefault(attempt.backend, []).append(attempt.first_byte - attempt.started)
        for backend, values in waited.items():
            self.ttfb.observe((backend.pool, backend.id), values)

    def refused(self, batch: Sequence[Exchange], wall: float) -> None:
        """Count what the edge answered by itself."""
        for exchange in batch:
            self.refusals.add((exchange.error.error_type if exchange.error else "", _code(exchange.status)))


def _type(attempt: Attempt) -> str:
    return attempt.error.error_type if attempt.error is not None else ""


def _code(status: int) -> str:
    return str(status) if 100 <= status <= 599 else "other"
