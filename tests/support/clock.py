"""A clock that stands still until it is told to go on."""

from __future__ import annotations


class Clock:
    """Called, it tells the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Go on by *seconds*; the new time."""
        self.now += seconds
        return self.now
