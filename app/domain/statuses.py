"""Statuses as settings list them, made ready to look one up in."""

from __future__ import annotations

from collections.abc import Iterable


def statuses_of(listed: Iterable[str]) -> frozenset[int]:
    """All statuses that *listed* names: `503`, or a range with both its ends, `502-504`, as settings check it."""
    bounds = [text.partition("-") for text in listed]
    return frozenset(status for low, _, high in bounds for status in range(int(low), int(high or low) + 1))
