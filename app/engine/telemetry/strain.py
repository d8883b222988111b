"""What strains the process itself, and a scrape asks for: connections, bytes that wait, how late the event loop is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.domain.metrics import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.domain.metrics import Samples


class Lag(Protocol):
    """How late the event loop is, in *seconds*, and how many requests were *refused* for that."""

    seconds: float
    refused: int


class Held(Protocol):
    """How many *bytes* wait to be read, and how many requests were *refused* for that."""

    bytes: int
    refused: int


class Crowd(Protocol):
    """How many connections clients have, and what became of those for which there was no room."""

    count: int
    refused: dict[str, int]
    displaced: int


def of_crowd(crowd: Crowd | None) -> tuple[Reading, ...]:
    """The readings of the clients' connections; none where another server has them."""

    def its(value: Callable[[Crowd], float]) -> Callable[[], Samples]:
        return lambda: [] if crowd is None else [((), value(crowd))]

    return (
        Reading("l7lb_connections", "Connections of clients.", (), its(lambda crowd: crowd.count)),
        Reading(
            "l7lb_connections_refused_total",
            "Connections closed as they came: full, there was no room; client, theirs had as many as it may.",
            ("reason",),
            lambda: [] if crowd is None else [((reason,), number) for reason, number in crowd.refused.items()],
            "counter",
        ),
        Reading(
            "l7lb_connections_displaced_total",
            "Connections that waited for nothing and had to go for others.",
            (),
            its(lambda crowd: crowd.displaced),
            "counter",
        ),
    )


def of_loop(lag: Lag | None) -> tuple[Reading, ...]:
    """The readings of the event loop; nothing of it is known where nobody looks."""

    def its(value: Callable[[Lag], float]) -> Callable[[], Samples]:
        return lambda: [] if lag is None else [((), value(lag))]

    return (
        Reading(
            "l7lb_loop_lag_seconds",
            "How late the event loop was at the last look; known where edge.max_loop_lag is set.",
            (),
            its(lambda lag: lag.seconds),
            across="max",
        ),
        Reading(
            "l7lb_shed_total", "Requests refused because it was late.", (), its(lambda lag: lag.refused), "counter"
        ),
    )


def of_bytes(held: Held | None) -> tuple[Reading, ...]:
    """The readings of what waits in memory; nothing of it is known where nobody looks."""

    def its(value: Callable[[Held], float]) -> Callable[[], Samples]:
        return lambda: [] if held is None else [((), value(held))]

    return (
        Reading(
            "l7lb_buffered_bytes",
            "Bytes that wait for clients and backends to read them; known where edge.max_buffered is set.",
            (),
            its(lambda held: held.bytes),
        ),
        Reading(
            "l7lb_buffered_refused_total",
            "Requests refused because there were too many.",
            (),
            its(lambda held: held.refused),
            "counter",
        ),
    )
