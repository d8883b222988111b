"""Tells when there is another version of a file, once it is written to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

Mark = tuple[int, int, int]
"""Of one version of a file: which file it is, when it was written, how long it is."""


async def versions(
    path: Path, interval: float, known: Mark | None = None, *, at_once: bool = False
) -> AsyncGenerator[Mark]:
    """Each version of the file after the *known* one, when two looks in a row have found the same.

    So what is still being written is left alone.

    Args:
        path: looked at in a thread.

        interval: seconds from one look to the next.

        known: gives nothing until there is another.

        at_once: one look is enough for the first.

    Raises:
        OSError: it cannot be looked at.
    """
    settled = at_once
    found = await asyncio.to_thread(mark_of, path)
    while True:
        if settled and found != known:
            known = found
            yield found
        await asyncio.sleep(interval)
        before, found = found, await asyncio.to_thread(mark_of, path)
        settled = before == found


def mark_of(path: Path) -> Mark:
    """Of the version that is there now. Raises OSError."""
    return mark(path.stat())


def mark(found: os.stat_result) -> Mark:
    """Of the version that was *found*."""
    return found.st_ino, found.st_mtime_ns, found.st_size
