"""What pools, their backends, caches and state know of themselves, and a scrape asks them for.

All labels are names of the settings and words of ours, so there are as many series as that makes. All are there from
the first scrape on: of one that began with its first event nobody would see that it rose. A backend that leaves takes
its own along.

Each gauge says what it is of several workers: their sum, unless `across` names another. A limit is a sum, too: each
worker lets so many through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, get_args

from app.domain.breaker import CLOSED, HALF_OPEN, OPEN, REASONS
from app.domain.health import State
from app.domain.metrics import Reading
from app.domain.retry import Why

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.domain.metrics import Samples
    from app.engine.caches import Usage
    from app.engine.dispatch import Dispatcher

RETRIES = ("retried", *(why for why in get_args(Why) if why != "failure"), "hedged")
"""What followed an attempt that failed: another, or why there was none. `failure` is left out, which was not the
backend's, so that there was nothing to try again. A hedge, or the lack of `budget` for one, is counted as well."""

BREAKER = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}

_POOL = ("pool",)
_BACKEND = ("pool", "backend")
_STORE = ("store",)


class Caches(Protocol):
    """What the caches of groups know."""

    def requests(self) -> Samples:
        """By group and result, how many requests."""

    def refreshes(self) -> Samples:
        """By group and result, how many validations beside requests."""

    def usages(self) -> Iterable[tuple[str, Usage]]:
        """What is in each store, by its name."""


def of_pools(dispatchers: Callable[[], Iterable[Dispatcher]]) -> tuple[Reading, ...]:
    """The readings of each pool."""

    def each(value: Callable[[Dispatcher], float]) -> Callable[[], Samples]:
        return lambda: [((of.pool.name,), value(of)) for of in dispatchers()]

    return (
        Reading(
            "l7lb_pool_in_flight", "Requests being served by its backends.", _POOL, each(lambda of: of.pool.in_flight)
        ),
        Reading("l7lb_pool_limit", "Most of these; 0 is without limit.", _POOL, each(lambda of: of.pool.limit)),
        Reading("l7lb_pool_waiting", "Requests in its queue.", _POOL, each(lambda of: of.waiting)),
        Reading(
            "l7lb_pool_refused_total",
            "Requests that found its queue full, or waited there in vain.",
            _POOL,
            each(lambda of: of.refused),
            "counter",
        ),
        Reading(
            "l7lb_pool_panic",
            "Whether so few backends are available that the others are used, too.",
            _POOL,
            each(lambda of: of.pool.panic),
            across="max",
        ),
        Reading("l7lb_pool_panics_total", "How often that began.", _POOL, each(lambda of: of.pool.panics), "counter"),
        Reading(
            "l7lb_retries_total",
            "Failed attempts by what followed: retried, or why not; and hedged, a second beside a slow one.",
            (*_POOL, "outcome"),
            lambda: [((of.pool.name, word), of.retries[word]) for of in dispatchers() for word in RETRIES],
            "counter",
        ),
    )


def of_backends(dispatchers: Callable[[], Iterable[Dispatcher]]) -> tuple[Reading, ...]:
    """The readings of each backend of each pool."""

    def backends() -> Iterable[Backend]:
        return (backend for of in dispatchers() for backend in of.pool.backends)

    def each(value: Callable[[Backend], float]) -> Callable[[], Samples]:
        return lambda: [((of.pool, of.id), value(of)) for of in backends()]

    return (
        Reading(
            "l7lb_backend_up",
            "Whether its health is UP.",
            _BACKEND,
            each(lambda of: of.health.state is State.UP),
            across="min",
        ),
        Reading(
            "l7lb_backend_draining",
            "Whether it takes nothing new.",
            _BACKEND,
            each(lambda of: of.draining),
            across="max",
        ),
        Reading(
            "l7lb_backend_weight",
            "Share of the traffic beside the others.",
            _BACKEND,
            each(lambda of: of.weight),
            across="max",
        ),
        Reading("l7lb_backend_in_flight", "Requests being served.", _BACKEND, each(lambda of: of.in_flight)),
        Reading(
            "l7lb_backend_breaker",
            "Its breaker: 0 is closed, 1 half-open, 2 open, which is ejected.",
            _BACKEND,
            each(lambda of: BREAKER[of.breaker.state]),
            across="max",
        ),
        Reading(
            "l7lb_backend_ejections_total",
            "How often it was ejected, by reason.",
            (*_BACKEND, "reason"),
            lambda: [((of.pool, of.id, why), of.breaker.ejections.get(why, 0)) for of in backends() for why in REASONS],
            "counter",
        ),
    )


def of_caches(caches: Caches | None) -> tuple[Reading, ...]:
    """The readings of caches and their stores; none where no group has one."""

    def each(value: Callable[[Usage], float]) -> Callable[[], Samples]:
        return lambda: [] if caches is None else [((name,), value(usage)) for name, usage in caches.usages()]

    return (
        Reading(
            "l7lb_cache_requests_total",
            "Requests at the cache of a group: hit, stale, validated, miss, collapsed, bypass.",
            ("group", "result"),
            lambda: [] if caches is None else caches.requests(),
            "counter",
        ),
        Reading(
            "l7lb_cache_refreshes_total",
            "Stale responses validated while they were served: validated, replaced, failed.",
            ("group", "result"),
            lambda: [] if caches is None else caches.refreshes(),
            "counter",
        ),
        Reading("l7lb_cache_bytes", "Bytes in a store.", _STORE, each(lambda usage: usage.size)),
        Reading("l7lb_cache_responses", "Responses in a store.", _STORE, each(lambda usage: usage.responses)),
        Reading(
            "l7lb_cache_evicted_total",
            "Responses that had to go for others.",
            _STORE,
            each(lambda usage: usage.evicted),
            "counter",
        ),
        Reading(
            "l7lb_cache_purged_total",
            "Responses that purges have forgotten, or made stale.",
            _STORE,
            each(lambda usage: usage.purged),
            "counter",
        ),
    )


def of_state(state: object) -> tuple[Reading, ...]:
    """The readings of what is shared; each only of a kind that has it: memory is never away."""

    def its(name: str) -> Callable[[], Samples]:
        return lambda: [((), getattr(state, name))] if hasattr(state, name) else []

    return (
        Reading("l7lb_state_away", "Whether it cannot be reached.", (), its("away"), across="max"),
        Reading("l7lb_state_outages_total", "How often it went away.", (), its("outages"), "counter"),
        Reading("l7lb_state_alone_total", "Rate limits that were decided without it.", (), its("alone"), "counter"),
    )
