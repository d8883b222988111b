"""Waits for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str = "", *, within: float = 10.0) -> T:
    """What *condition* returns as soon as it is true; AssertionError when that has not come *within* seconds."""
    end = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {within:g} s in vain{f' for {what}' if what else ''}")
        time.sleep(0.005)
    return found


def settled(measure: Callable[[], T], *, calm: float = 0.5, within: float = 20.0) -> T:
    """What *measure* returns once it has not changed for *calm* seconds: how "nothing moves any more" is seen."""
    value, since, end = measure(), time.monotonic(), time.monotonic() + within
    while time.monotonic() - since < calm:
        if time.monotonic() > end:
            raise AssertionError(f"still moving after {within:g} s")
        time.sleep(0.01)
        if (now := measure()) != value:
            value, since = now, time.monotonic()
    return value
