"""What a small file says, read again when it has changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")

EVERY = 1.0
"""Seconds for which a file is not looked at again."""
LARGEST = 1 << 20
"""Bytes of a file."""

_log = logging.getLogger("l7lb")


class KeptFile(Generic[T]):
    """A file whose content is asked for by requests: looked at once a second at most, and only then.

    A file that goes away, or is broken, is as it was; the log says so once.

    Args:
        parse: makes of its text what is wanted; raises ValueError.

    Attributes:
        version: grows when the content has changed.

    Raises:
        OSError, ValueError: it cannot be used to begin with.
    """

    def __init__(self, path: Path, parse: Callable[[str], T], clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._stamp: tuple[int, int, int] | None = self._look()
        self._value = self._read()
        self._next = clock() + EVERY
        self.version = 0

    def get(self) -> T:
        """What it says."""
        now = self._clock()
        if now >= self._next:
            self._next = now + EVERY
            self._look_again()
        return self._value

    def _look_again(self) -> None:
        before = self._stamp
        try:
            self._stamp = None
            self._stamp = self._look()
            if self._stamp != before:
                self._value = self._read()
                self.version += 1
        except (OSError, ValueError) as error:
            if self._stamp != before:
                _log.warning("%s cannot be read, and is as it was before: %s", self._path, error)

    def _look(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> T:
        with self._path.open("rb") as file:
            text = file.read(LARGEST + 1)
        if len(text) > LARGEST:
            raise ValueError(f"over {LARGEST} bytes")
        return self._parse(text.decode())
