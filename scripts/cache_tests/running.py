"""Processes that listen on a port of the kernel's choice, and end when we do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1  # prctl(2)
START = 30.0
"""Seconds until a process listens."""


class Unplayable(Exception):
    """The suite cannot be run; the text says why."""


def tie_to_us() -> None:
    """In the child: end when we end, even by SIGKILL (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def listening(command: list[str], env: Mapping[str, str], where: Path, said: str, output: Path) -> Iterator[int]:
    """The port that *command* listens on, by the first group of what it has *said* in *output*; ended on leaving."""
    with output.open("wb") as printed:
        process = subprocess.Popen(
            command,
            cwd=where,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_us,  # noqa: PLW1509 - we have no threads
        )
    try:
        end = time.monotonic() + START
        while not (found := re.search(said, output.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > end:
                raise Unplayable(f"{command[0]} does not listen; it said:\n{output.read_text(errors='replace')}")
            time.sleep(0.02)
        yield int(found[1])
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the leader of its session, so its group is all its own
            process.wait()


@contextlib.contextmanager
def balancer(origin: int, directory: Path, settings: Mapping[str, str], flags: tuple[str, ...] = ()) -> Iterator[int]:
    """The port of an l7lb that forwards everything to *origin*; what the environment says of it counts too."""
    env = {
        "LB_GROUPS__SUITE__POOL": "origin",
        "LB_POOLS__ORIGIN__BACKENDS": f"http://127.0.0.1:{origin}",
        "LB_POOLS__ORIGIN__HEALTH__KIND": "none",
        "LB_POOLS__ORIGIN__RETRY__ATTEMPTS": "1",  # the suite takes no verdict on what was sent twice
        "LB_DRAIN__DELAY": "0s",
        **settings,
        **os.environ,
    }
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0", *flags]
    with listening(command, env, ROOT, r"running on http://[^:]+:(\d+)", directory / "l7lb.log") as port:
        end = time.monotonic() + START
        while not ready(port):
            if time.monotonic() > end:
                raise Unplayable(f"l7lb is not ready; it said:\n{(directory / 'l7lb.log').read_text()}")
            time.sleep(0.05)
        yield port


def ready(port: int) -> bool:
    with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
        return bool(answer.status == 200)
    return False
