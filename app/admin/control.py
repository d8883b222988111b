"""What the control plane shows, in one object that `compose` fills."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.routing import RouteTable
from app.engine.topology import Topology
from settings.root import Settings


@dataclass(slots=True)
class Control:
    """The objects of the data plane that people ask about; what is replaced there is replaced here, too.

    Attributes:
        metrics_text: all metrics in the Prometheus text format, of all workers of this machine.

        ready: whether requests may come, and for each pool why or why not.
    """

    settings: Settings
    topology: Topology
    route_table: RouteTable
    metrics_text: Callable[[], Awaitable[str]]
    ready: Callable[[], tuple[bool, Mapping[str, Any]]]
