"""What a proxy of the bench is given, and what it is once it is set up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".run" / "bench"
"""What is expensive to make and kept from one run to the next: throw-away venvs, the Go program."""
GROUPS = 100
TARGET = f"/g{GROUPS // 2:03}/item/1"  # in the middle of the groups
BODY = b"x" * 1024


class Missing(Exception):
    """Something is not on this machine; the text says how to get it."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that has what l7lb needs."""

    path: str
    version: str
    pgo: bool
    """Built with profile guided optimization."""

    @property
    def label(self) -> str:
        """Such as `3.11.2-pgo`."""
        return self.version + ("-pgo" if self.pgo else "")

    def __str__(self) -> str:
        return f"Python {self.version} {'with' if self.pgo else 'without'} PGO"


@dataclass(frozen=True)
class Site:
    """What every proxy is given."""

    directory: Path
    backends: tuple[int, ...]
    """Ports; only some of our own rows take more than the first."""
    tls: bool
    python: Interpreter
    """For those in Python."""

    @property
    def backend(self) -> int:
        return self.backends[0]

    @property
    def cert(self) -> Path:
        return self.directory / "cert.pem"

    @property
    def key(self) -> Path:
        return self.directory / "key.pem"


@dataclass(frozen=True)
class Peer:
    """A proxy, ready to be started."""

    name: str
    command: list[str]
    port: int
    version: str
    env: dict[str, str] = field(default_factory=dict)
    """The whole environment; when empty, that of the bench."""
    share: float = 1.0
    """Of the requests of a slice: the very slow ones get fewer."""
    target: str = TARGET
    streams: int = 0
    """Requests at a time on each connection, by HTTP/2; 0 is HTTP/1.1, with one."""


Build = Callable[[Site], Peer]
"""Sets a proxy up; raises Missing."""


def program(name: str, how: str) -> str:
    """The path of a program; *how* says where to get it. Raises Missing."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if not found:
        raise Missing(how)
    return found


def first_line(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((answer.stdout + answer.stderr).strip().splitlines() or ["?"])[0].strip()
