"""What scripts/compose-test runs: the cluster of docker-compose.yml, under load, through what may happen to it.

Each step prints how many requests there were meanwhile and how many failed, although their client tried the other
balancer once. Ends with `N passed, N failed`; exit status 1 when a step failed, or a request did.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "compose-test-" * 2
PORTS = (18444, 18445)
CLIENTS, RATE = 20, 100  # requests a second, of all clients together
PATIENCE = 90.0
BOUND = 400.0
"""Seconds for all steps together."""
ENVIRON = {
    **os.environ,
    "BASE_IMAGE": "localhost/l7lb-base",
    "REDIS_IMAGE": "localhost/l7lb-base",
    "BUILDAH_FORMAT": "docker",
    "PORT1": str(PORTS[0]),
    "PORT2": str(PORTS[1]),
    "LB_ADMIN__TOKEN": TOKEN,
    "COMPOSE_PROJECT_NAME": "l7lb-test",
}
SERVICES = ("redis", "balancer1", "balancer2", "backend")

unverified = ssl.create_default_context()
unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE


def compose(*words: str, check: bool = True) -> str:
    command = ["podman-compose", "--profile", "cluster", *words]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRON, capture_output=True, text=True, check=False, timeout=600)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def podman(*words: str) -> str:
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=True, timeout=900).stdout


async def exchange(port: int, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes, bytes]:
    """Status, head and body of one answer on a connection of its own. Raises OSError, EOFError, TimeoutError."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified)
        try:
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: lb.test\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
            )
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        if not answer.startswith(b"HTTP/1.1 "):
            raise EOFError("no answer")
        fields, _, said = answer.partition(b"\r\n\r\n")
        return int(answer[9:12]), fields, said


async def ask(port: int, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    """Its status and body."""
    status, _, said = await exchange(port, path, method, body)
    return status, said


class Load:
    """Clients that ask at a steady rate, the one balancer or the other, and the other when that fails."""

    def __init__(self) -> None:
        self.requests = self.failed = self.retried = 0
        self.unlimited = 0
        """Answers of no rate limit."""
        self.errors: list[str] = []
        self._stopped = False

    async def client(self, number: int) -> None:
        due = time.monotonic() + number / RATE
        while not self._stopped:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += CLIENTS / RATE
            await self._one(number)

    async def _one(self, number: int) -> None:
        self.requests += 1
        why = ""
        for attempt in range(2):
            try:
                status, fields, _ = await exchange(PORTS[(number + attempt) % 2], "/")
            except (OSError, EOFError, TimeoutError) as error:
                why = repr(error)
            else:
                if status == 200:
                    self.retried += attempt
                    self.unlimited += b"\r\nratelimit:" not in fields.lower()
                    return
                why = str(status)
        self.failed += 1
        self.errors.append(why)

    def stop(self) -> None:
        self._stopped = True


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> float:
    """Seconds until it is so. Raises TimeoutError."""
    began = time.monotonic()
    while True:
        try:
            if await condition():
                return time.monotonic() - began
        except (OSError, EOFError, TimeoutError, ValueError, KeyError):
            pass
        if time.monotonic() - began > PATIENCE:
            raise TimeoutError(f"waited {PATIENCE:.0f} s in vain for {what}")
        await asyncio.sleep(0.1)


def ready(port: int) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return (await ask(port, "/-/ready"))[0] == 200

    return condition


async def backends(port: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((await ask(port, "/-/pools"))[1])["web"]["backends"]
    return found


def all_have(count: int) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        for port in PORTS:
            available = [backend for backend in await backends(port) if backend["available"]]
            if len(available) != count:
                return False
        return True

    return condition


def containers(service: str) -> list[str]:
    wanted = f"label=com.docker.compose.service={service}"
    return podman("ps", "--filter", wanted, "--filter", "label=com.docker.compose.project=l7lb-test", "-q").split()


async def scaled(load: Load) -> str:
    """Five backends in place of two are found by DNS."""
    await asyncio.to_thread(compose, "up", "-d", "--no-recreate", "--scale", "backend=5", *SERVICES)
    return f"in use after {await until(all_have(5), 'five backends'):.1f} s"


async def backend_killed(load: Load) -> str:
    """SIGKILL for one of five."""
    await asyncio.to_thread(podman, "kill", containers("backend")[0])
    return f"out of use after {await until(all_have(4), 'four backends'):.1f} s"


async def balancer_killed(load: Load) -> str:
    """SIGKILL for one of two, and its start; clients try the other one."""
    one = containers("balancer1")[0]
    await asyncio.to_thread(podman, "kill", one)
    await asyncio.sleep(3)
    await asyncio.to_thread(podman, "start", one)
    return f"back after {await until(ready(PORTS[0]), 'the first balancer'):.1f} s"


async def drained_everywhere(load: Load) -> str:
    """A backend that one balancer is told to drain takes nothing new from the other either."""
    name = (await backends(PORTS[0]))[0]["id"]
    status, _ = await ask(PORTS[0], f"/-/pools/web/backends/{name}", "PATCH", b'{"draining": true}')
    if status != 200:
        raise RuntimeError(f"PATCH was answered {status}")

    async def seen() -> bool:
        return any(backend["id"] == name and backend["draining"] for backend in await backends(PORTS[1]))

    return f"known after {await until(seen, 'the drain') * 1000:.0f} ms"


async def redis_restarted(load: Load) -> str:
    """SIGKILL for Redis, and its start: limits go on, what was said at run time is there and can be changed."""
    before = [backend["id"] for backend in await backends(PORTS[1]) if backend["draining"]]
    await asyncio.to_thread(podman, "restart", "-t", "0", containers("redis")[0])

    async def changes() -> bool:
        return (await ask(PORTS[1], f"/-/pools/web/backends/{before[0]}", "PATCH", b'{"draining": true}'))[0] == 200

    async def shared() -> bool:
        scrapes = [(await ask(port, "/-/metrics"))[1] for port in PORTS]
        return all(b"\nl7lb_state_away 0" in scrape for scrape in scrapes)

    took = await until(changes, "Redis")
    took += await until(shared, "limits to be shared again")
    after = [backend["id"] for backend in await backends(PORTS[0]) if backend["draining"]]
    if before != after:
        raise RuntimeError(f"{before} drained before, {after} after")
    if load.unlimited:
        raise RuntimeError(f"{load.unlimited} answers of no rate limit")
    return f"in use again after {took:.1f} s"


async def confined(load: Load) -> str:
    """Balancers and backends are nobody, may nothing, and cannot write to their root."""
    looked = 0
    for service in ("balancer1", "balancer2", "backend"):
        for container in containers(service):
            said = await asyncio.to_thread(podman, "exec", container, "sh", "-c", CONFINED)
            found = said.split()
            if found != ["10001", "0000000000000000", "0000000000000000", "1", "read-only"]:
                raise RuntimeError(f"{service}: user, capabilities, no-new-privileges, root: {found}")
            looked += 1
    return f"{looked} containers"


CONFINED = """id -u
awk '$1 == "CapEff:" || $1 == "CapBnd:" || $1 == "NoNewPrivs:" { print $2 }' /proc/1/status
for place in / /srv/l7lb /venv /usr/local /var/lib /etc; do touch "$place/x" 2>/dev/null && echo "$place" && exit; done
echo read-only"""
"""Prints user, effective and bounding capabilities, whether there are new privileges, and where files can be made.

Not in /var/tmp: there podman mounts a tmpfs of its own over a read-only root.
"""

STEPS = (confined, scaled, backend_killed, balancer_killed, drained_everywhere, redis_restarted)


async def played() -> tuple[int, int]:
    passed = failed = 0
    for port in PORTS:
        await until(ready(port), f"the balancer on {port}")
    await until(all_have(2), "two backends")
    load = Load()
    clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
    for step in STEPS:
        load.requests = load.failed = load.retried = load.unlimited = 0
        load.errors.clear()
        what = (step.__doc__ or "").strip()
        try:
            said = await step(load)
            await asyncio.sleep(3)
            right = load.failed == 0
        except (OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
            said, right = f"FAILED: {error}", False
        passed, failed = passed + right, failed + (not right)
        counts = f"{load.failed} of {load.requests} requests failed, {load.retried} at the second balancer"
        print(f"{what} {said}; {counts}{'' if right else ' ' + str(load.errors[:3])}", flush=True)
    load.stop()
    await asyncio.gather(*clients, return_exceptions=True)
    return passed, failed


def main() -> int:
    build = ["--network=host", "-v", "/etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro"]
    podman("build", "--quiet", "--format", "docker", *build, "--build-arg", "BASE_IMAGE=localhost/l7lb-base",
           "--build-arg", f"COMPILE={os.environ.get('COMPILE', '0')}", "-t", "l7lb", str(ROOT))  # fmt: skip
    try:
        compose("up", "-d", "--no-build", "--scale", "backend=2", *SERVICES)
        try:
            passed, failed = asyncio.run(asyncio.wait_for(played(), BOUND))
        except TimeoutError as error:
            print(f"FAILED: {error or f'not done after {BOUND:.0f} s'}")
            passed, failed = 0, len(STEPS)
        if failed:
            for service in ("balancer1", "balancer2"):
                for container in containers(service):
                    print(podman("logs", "--tail", "20", container))
    finally:
        compose("down", "-v", check=False)
        left = subprocess.run(
            ["podman", "ps", "-aq", "--filter", "label=com.docker.compose.project=l7lb-test"],
            capture_output=True, text=True, check=False,
        ).stdout.split()  # fmt: skip
        if left:
            subprocess.run(["podman", "rm", "-f", *left], capture_output=True, check=False)
    print(f"compose-test: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
