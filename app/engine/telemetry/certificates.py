"""What is known of certificates and authorities, and a scrape asks for: when they end, what became of newer ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from app.domain.metrics import Reading

if TYPE_CHECKING:
    from app.domain.metrics import Samples
    from app.renewal import Renewal


def of_files(renewals: Callable[[], Iterable[Renewal[Any]]]) -> tuple[Reading, ...]:
    """The readings of certificates and authorities, by the file that has their name."""

    def ends() -> Samples:
        soonest: dict[str, float] = {}
        for each in renewals():
            soonest[each.name] = min(each.ends, soonest.get(each.name, inf))
        return [((name,), at) for name, at in soonest.items() if at < inf]

    def loads() -> Samples:
        counts: dict[tuple[str, ...], int] = {}
        for each in renewals():
            for outcome, count in (("loaded", each.loaded), ("refused", each.refused)):
                counts[each.name, outcome] = counts.get((each.name, outcome), 0) + count
        return list(counts.items())

    return (
        Reading(
            "l7lb_tls_expiry_timestamp_seconds",
            "When what is in force of a file of certificates, or of authorities, expires.",
            ("file",),
            ends,
            across="min",
        ),
        Reading(
            "l7lb_tls_reloads_total",
            "Changes of such a file: loaded, or refused, and what was in force stayed.",
            ("file", "outcome"),
            loads,
            "counter",
        ),
    )


def of_acme(orders: Callable[[], Samples]) -> tuple[Reading, ...]:
    """The readings of certificates that are ordered."""
    return (
        Reading(
            "l7lb_acme_orders_total",
            "Orders of certificates: issued, or failed.",
            ("domain", "outcome"),
            orders,
            "counter",
        ),
    )
