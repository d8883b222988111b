"""Runs a module under a wall clock that can be set: `python -m tests.support.jumping FILE MODULE [ARGUMENT...]`.

FILE has the seconds by which it is ahead, and may be written at any time. Monotonic time goes on as it does.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

_AHEAD = struct.Struct("d")


class WallClock:
    """The clock of a process that was started with `command`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0.0)

    def set(self, ahead: float) -> None:
        """Have it *ahead* seconds before the real one."""
        if self._path.exists():
            with self._path.open("r+b") as file:
                file.write(_AHEAD.pack(ahead))
        else:
            self._path.write_bytes(_AHEAD.pack(ahead))

    def command(self, *module: str) -> tuple[str, ...]:
        """What starts *module* under it."""
        return (sys.executable, "-m", "tests.support.jumping", str(self._path), *module)


if __name__ == "__main__":
    place, *sys.argv = sys.argv[1:]
    with Path(place).open("r+b") as opened:
        shown = mmap.mmap(opened.fileno(), _AHEAD.size)
    real = time.time
    time.time = lambda: real() + _AHEAD.unpack(shown)[0]
    sys.path.insert(0, "")
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
