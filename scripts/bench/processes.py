"""Processes of the bench: started on one core, measured as a tree, ended for certain."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)


def cores() -> tuple[int, int]:
    """The core for the proxy, and the one for load and backend; the same one when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def free_ports(count: int) -> list[int]:
    """Different ones that nobody listens on; all are held until the last is known."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port() -> int:
    return free_ports(1)[0]


def raise_file_limit(wanted: int = 65536) -> None:
    """For this process and those that it starts: thousands of connections at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def start(command: list[str], core: int, output: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process on *core* that ends when we end; what it prints goes to the file *output*."""

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with output.open("wb") as printed, output.with_suffix(".err").open("wb") as complained:
        return subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=complained,
            start_new_session=True,
            preexec_fn=prepare,  # noqa: PLW1509 - we have no threads
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end; after 10 s ends it and all that it has started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the leader of its session, so its group is all its own
        process.wait()


def wait_for_port(process: subprocess.Popen[bytes], port: int, seconds: float = 20.0) -> None:
    """Raises RuntimeError when nobody listens there in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("has ended" if process.poll() is not None else f"does not listen on port {port}")


def tree(pid: int) -> list[int]:
    """The process and all that it has started."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def cpu_ns(pid: int) -> int:
    """Nanoseconds that the tree has been running on a CPU, user and system, threads that have ended not counted."""
    total = 0
    for member in tree(pid):
        for schedstat in Path(f"/proc/{member}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(schedstat.read_text().split()[0])
    return total


def rss_kib(pid: int) -> int:
    """Resident memory of the tree."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return total
