"""Starts the demonstration: five demo backends and the balancer in front of them, until Ctrl-C.

Use: make run [PORT=8443] [DEMO_PORT=9101]      (PORT: the balancer's; DEMO_PORT: the first of the backends' five)

The balancer is started as anybody would start it: uvicorn app.main:app --ssl-keyfile ... --ssl-certfile ..., with its
settings in the environment. What is already there of these is left as it is: LB_RATE_LIMIT__RATE=1000/m make run.
Whatever ends first, nothing is left running: Ctrl-C, SIGTERM, the terminal closing, a process dying, this one killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import http.client
import json
import os
import select
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
POOLS = {"a": 2, "b": 3}  # name -> how many backends
START = 20.0  # seconds until everything must be there
STOP = 12.0  # seconds that the balancer has to finish what is under way
PR_SET_PDEATHSIG = 1  # prctl(2)


class Refused(Exception):
    """We cannot start, or cannot go on; the text says why and what to do."""


class Stopped(Exception):
    """Somebody wants us to stop."""


def tell(text: str, stream: TextIO = sys.stdout) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone, which is a reason to stop, not to crash
        print(text, file=stream, flush=True)


def port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise Refused(f"{variable}={text} is not a port: give a number from 1 to 65535")
    return int(text)


def check_free(number: int, variable: str, whose: str, other: int) -> None:
    """Raises Refused when somebody listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had ({error.strerror})"
            raise Refused(f"port {number} {why}, {whose} needs it. Try: make run {variable}={other}") from None


def environment(demo_port: int) -> dict[str, str]:
    """The settings of the demonstration, for the balancer."""
    settings = {
        "LB_ROUTES": "; ".join(f"/api{name.upper()}={name}" for name in POOLS),
        "LB_RATE_LIMIT__KIND": "token_bucket",
        "LB_RATE_LIMIT__RATE": "100/m",
        "LB_ADMIN__TOKEN": "demo",  # the balancer listens on the loopback address only
        "LB_DRAIN__DELAY": "0",  # nobody stands in front of this one and has to be told
        "LB_DRAIN__GRACE": "5s",
    }
    ports = iter(range(demo_port, demo_port + sum(POOLS.values())))
    for name, count in POOLS.items():
        pool = f"LB_POOLS__{name.upper()}"
        settings[f"{pool}__BACKENDS"] = ",".join(f"http://127.0.0.1:{next(ports)}" for _ in range(count))
        settings[f"{pool}__HEALTH__PATH"] = "/health"
    return settings | os.environ


def tie_to_us() -> None:
    """In the child: end when we end, even by SIGKILL (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Processes:
    """The processes that we started, in the order of their start."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], env: dict[str, str], quiet: bool = False) -> None:
        output = subprocess.DEVNULL if quiet else None
        self.running[name] = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            start_new_session=True,  # the terminal's Ctrl-C is ours to pass on
            preexec_fn=tie_to_us,  # noqa: PLW1509 - we have no threads
        )

    def check(self) -> None:
        """Raises Refused when one has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise Refused(f"{name} has ended with status {process.returncode}")

    def stop(self) -> None:
        """The last started first: the balancer finishes its requests while the backends are still there."""
        while self.running:
            _, process = self.running.popitem()
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def ask(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and body; 0 while nobody answers."""
    try:
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
    except OSError:
        return 0, b""


def wait_until(processes: Processes, what: str, is_so: Iterator[bool]) -> None:
    """Raises Refused when it is not so in time, or when a process ends meanwhile."""
    deadline = time.monotonic() + START
    while not next(is_so):
        processes.check()
        if time.monotonic() > deadline:
            raise Refused(f"{what} is not ready after {START:.0f} s")
        time.sleep(0.05)


def backends_ready(ports: list[int]) -> Iterator[bool]:
    while True:
        yield all(
            ask(http.client.HTTPConnection("127.0.0.1", number, timeout=1), "/health", {})[0] == 200 for number in ports
        )


def balancer_ready(number: int, env: dict[str, str]) -> Iterator[bool]:
    """Every backend must be UP, not one of each pool only: the first answers shall come in turn."""
    trust = ssl.create_default_context(cafile=ROOT / ".run/cert.pem")
    headers = {"authorization": f"Bearer {env['LB_ADMIN__TOKEN']}"}
    prefix = env.get("LB_ADMIN__PREFIX", "/-")
    while True:
        connection = http.client.HTTPSConnection("127.0.0.1", number, timeout=1, context=trust)
        ready = ask(connection, f"{prefix}/ready", {})[0] == 200
        status, body = ask(connection, f"{prefix}/pools", headers) if ready else (0, b"")
        yield ready and (status != 200 or not waiting_for_probes(json.loads(body)))


def waiting_for_probes(pools: object) -> bool:
    """Whether a backend anywhere in what /-/pools says is still being looked at for the first time."""
    if isinstance(pools, dict):
        return any(waiting_for_probes(value) for value in pools.values())
    if isinstance(pools, list):
        return any(waiting_for_probes(value) for value in pools)
    return isinstance(pools, str) and pools.lower() == "checking"


def invitation(number: int, demo_port: int) -> str:
    here = f"https://localhost:{number}"
    last = demo_port + sum(POOLS.values()) - 1
    return f"""
l7lb is ready on {here}: /apiA over 2 backends, /apiB over 3, 100 requests a minute for each client.

  curl -k {here}/apiA                      "Hello from backend 1", then 2, then 1
  curl -k {here}/apiB                      3, 4 and 5 in turn
  for i in {{1..110}}; do curl -sk -o /dev/null -w '%{{http_code}}\\n' {here}/apiA; done | sort | uniq -c
                                                    about 100 x 200, the rest 429
  curl -X POST http://127.0.0.1:{demo_port}/fail            backend 1 fails its health check; /recover ends it
  curl -k "{here}/apiA/slow?seconds=2"     a slow answer; also /status/503 /reset /echo /bytes/N /stream
  curl -k -H 'Authorization: Bearer demo' {here}/-/pools     also /-/routes /-/config /-/metrics

Backends 1 to 5 are on the ports {demo_port} to {last}. The lines below are the latency log. Ctrl-C stops everything.
"""


def demonstrate(processes: Processes) -> None:
    """Runs until Stopped, or Refused when it cannot."""
    terminal = select.poll()
    if os.isatty(0):  # asked now: one that was closed meanwhile is none any more
        terminal.register(0, 0)  # when it is closed only its first process gets SIGHUP, which may be make
    number, demo_port = port("PORT", 8443), port("DEMO_PORT", 9101)
    ports = [demo_port + at for at in range(sum(POOLS.values()))]
    check_free(number, "PORT", "the balancer", number + 1000 if number < 60000 else 8443)
    for at, demo in enumerate(ports, 1):
        check_free(demo, "DEMO_PORT", f"demo backend {at}", demo_port + 100 if demo_port < 65000 else 9101)
    subprocess.run([ROOT / "scripts/dev-cert"], check=True)

    for at, demo in enumerate(ports, 1):
        command = [sys.executable, "scripts/demo_backend.py", "--port", str(demo)]
        hello = f"Hello from backend {at}\n"
        processes.start(f"demo backend {at}", command, os.environ | {"BACKEND_RESPONSE": hello}, quiet=True)
    wait_until(processes, "a demo backend", backends_ready(ports))

    env = environment(demo_port)
    command = [str(Path(sys.executable).with_name("uvicorn")), "app.main:app", "--port", str(number)]
    command += ["--ssl-keyfile", ".run/key.pem", "--ssl-certfile", ".run/cert.pem"]
    tell("$ " + shlex.join([Path(command[0]).name, *command[1:]]))
    processes.start("the balancer", command, env)
    wait_until(processes, "the balancer", balancer_ready(number, env))

    tell(invitation(number, demo_port))
    while not terminal.poll(250):
        processes.check()
    raise Stopped


def stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def main() -> int:
    """Exit status: 0 after Ctrl-C or SIGTERM, 1 when something was in the way or has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    processes, status = Processes(), 0
    try:
        demonstrate(processes)
    except Stopped:
        tell("\nstopping")
    except (Refused, subprocess.CalledProcessError) as why:
        tell(f"make run: {why}", sys.stderr)
        status = 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it running
        processes.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
