"""What a source is: it says which backends a pool has, anew each time that changes."""

from __future__ import annotations

from asyncio import IncompleteReadError
from collections.abc import AsyncIterator
from typing import ClassVar, Protocol

from app.domain.registry import NoOptions
from app.engine.fault import fault
from settings.models import Frozen
from settings.pools import BackendSettings

Members = frozenset[BackendSettings]


class SourceFailed(Exception):
    """There is no answer, or none that can be used; the message says why, in a few words."""


class Source(Protocol):
    """An async iterator of all the backends of one pool: each set replaces the one before.

    It is built with its options and, by keyword, `pool`, the name of the pool. What it raises, and its end, is a
    failure: what it said last stays, and it is iterated over again after a while, longer with each failure in a row. So
    it gives an answer only when it could go on after that. The same answer again does no harm.
    """

    Options: ClassVar[type[Frozen]] = NoOptions

    longest: float = 30.0
    """Seconds, at most, until it is tried again."""

    def __aiter__(self) -> AsyncIterator[Members]:
        """Begin, and go on for ever."""
        ...


def reason(error: Exception) -> str:
    """One line on what went wrong."""
    if known := fault(error):
        return known
    match error:
        case SourceFailed():
            return str(error)
        case TimeoutError():
            return "no answer in time"
        case ConnectionError() | IncompleteReadError():
            return "the connection broke"
        case OSError():
            return (error.strerror or type(error).__name__).lower()
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
