"""What workers and machines share: rate-limit buckets, behind one protocol. STATES is the table of its kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.domain.bucket import Decision, Rule
from app.engine.state.memory import MemoryState


class State(Protocol):
    """Where what is shared is kept."""

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token of *key* at the limiter *name*.

        *now* is monotonic seconds of this process; a kind with a clock of its own may go by that.
        """


STATES: dict[str, Callable[[], State]] = {
    "memory": MemoryState,
}

__all__ = ["STATES", "State"]
