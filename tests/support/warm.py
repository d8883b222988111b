"""
Programs of ours that start at once: each is forked from a process that has imported what they all import.

What is imported anew for each is `app.main`, which makes the app of its environment. It takes a third of the time, and
the end-to-end tests start more than a thousand. `Balancer(..., cold=True)` starts as a person does, for figures of
memory; with several workers, and by the commands of the README (tests/scripts), it is always so.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

MODULES = ("uvicorn", "app")
"""What can be started, as by `python -m`."""
IMPORTED = ("uvicorn.main", "uvloop", "httptools", "app.compose", "app.cli", "app.edge.listeners", "settings.load")
LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
_OWN = ("PYTHON", "LD_", "GLIBC_", "MALLOC_")
"""Variables that say something to Python itself, or to its libraries: too late for who is forked."""


class Started:
    """A process, with as much of `subprocess.Popen` as the tests use."""

    def __init__(self, pid: int, status: int, stdout: IO[str] | None, stderr: IO[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = stdout
        self.stderr = stderr
        self._status = status

    def poll(self) -> int | None:
        """The exit status, if it has ended; minus the signal that ended it."""
        if self.returncode is None:
            os.set_blocking(self._status, False)
            try:
                self._take()
            except BlockingIOError:
                return None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status. Raises subprocess.TimeoutExpired."""
        end = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("", timeout or 0.0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _take(self) -> None:
        said = os.read(self._status, 16)
        os.close(self._status)
        self.returncode = int(said) if said else -signal.SIGKILL  # somebody has killed who waits for it


def start(command: Sequence[str], env: Mapping[str, str], *, stdout: int = subprocess.PIPE) -> Started | None:
    """
    The same as `Popen(command, env=env, ...)` in a session of its own, with what it says as lines of text.

    None for what cannot be started so.
    """
    python, flag, module, *arguments = *command, "", "", ""
    if python != sys.executable or flag != "-m" or module not in MODULES or "--workers" in arguments:
        return None
    if any(env.get(name) != os.environ.get(name) for name in {*env, *os.environ} if name.startswith(_OWN)):
        return None
    said, says = os.pipe()
    wrong, errs = os.pipe()
    status, tells = os.pipe()
    if stdout != subprocess.PIPE:
        os.close(said)
        os.close(says)
        says = os.open(os.devnull, os.O_WRONLY) if stdout == subprocess.DEVNULL else os.dup(stdout)
    with os.fdopen(os.memfd_create("order"), "wb") as order:
        limits = [[kind, *resource.getrlimit(kind)] for kind in LIMITS]
        order.write(json.dumps([module, command[3:], dict(env), limits]).encode())
        order.flush()
        socket.send_fds(_nest(), [b"1"], [order.fileno(), says, errs, tells])
    for descriptor in (says, errs, tells):
        os.close(descriptor)
    pid = int(os.read(status, 16))
    lines = os.fdopen(said, errors="backslashreplace") if stdout == subprocess.PIPE else None
    return Started(pid, status, lines, os.fdopen(wrong, errors="backslashreplace"))


@functools.cache
def _nest() -> socket.socket:
    """The process from which they are forked; it ends with this one."""
    ours, its = socket.socketpair()
    with its:
        command = [sys.executable, "-m", "tests.support.warm", str(its.fileno())]
        nest = subprocess.Popen(command, pass_fds=[its.fileno()], cwd=Path(__file__).resolve().parents[2])
    atexit.register(nest.wait, 10)
    atexit.register(ours.close)  # before that: it is how it knows
    return ours


def main(orders: socket.socket) -> None:
    """Fork and run what is ordered, until nobody is there to order anything."""
    for module in IMPORTED:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        said, descriptors, _, _ = socket.recv_fds(orders, 1, 4)
        if not said:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            break
        for descriptor in descriptors:
            os.close(descriptor)
    orders.close()
    order, says, errs, tells = descriptors
    if child := os.fork():
        os.write(tells, b"%-16d" % child)
        for descriptor in (order, says, errs):
            os.close(descriptor)
        os.write(tells, b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
    os.setsid()
    for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (says, 1), (errs, 2)):
        os.dup2(descriptor, number)
    with os.fdopen(order, "rb") as file:
        file.seek(0)
        module, arguments, env, limits = json.load(file)
    os.closerange(3, 64)
    for kind, *limit in limits:
        resource.setrlimit(kind, tuple(limit))
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [module, *arguments]
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
