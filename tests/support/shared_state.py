"""A state of any kind and the time it goes by, so that one test can be put to all of them."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from app.domain.bucket import Decision, Rule


class Shared:
    """A state, and its clock: one that stands still where the state goes by what it is told, else the real one.

    Attributes:
        unit: seconds of that clock; rules of a test are made of these.
    """

    def __init__(self, state: Any, *, real: bool) -> None:
        self.state = state
        self.unit = 0.1 if real else 10.0
        self._real = real
        self._now = 1000.0

    async def take(self, rule: Rule, key: str = "a", name: str = "default") -> Decision:
        """Spend one token."""
        now = monotonic() if self._real else self._now
        found = self.state.take(name, key, rule, now)
        return found or await self.state.ask(name, key, rule, now)

    async def later(self, units: float) -> None:
        """Let time pass."""
        self._now += units * self.unit
        if self._real:
            await asyncio.sleep(units * self.unit)
