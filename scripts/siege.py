#!/usr/bin/env python3
"""How long other clients wait while some are slow, many or large: their p99 beside what it is without those.

Use: .venv/bin/python scripts/siege.py [--seconds 10] [--rate 200] [NAME...]

The balancer, its backend and the besiegers are processes of their own; the client that is measured asks on a new
connection each time. Sieges come one after the other, each after some seconds of peace: the ratio is to the peace
around it, so that a machine that is busy counts on both sides.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LARGE = 1 << 20  # of many slow readers, more than the memory that the kernel has for TCP would be measured instead
PIECE = 65536
HEAD = b"GET / HTTP/1.1\r\nHost: lb.test\r\n"
Besieger = Callable[[int], Awaitable[None]]
"""Does it once, or for as long as it is let, on a port."""


async def connect(port: int, limit: int = 65536) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the balancer."""
    return await asyncio.open_connection("127.0.0.1", port, limit=limit)


async def slow_head(port: int) -> None:
    """A field each second, without an end."""
    _, writer = await connect(port)
    writer.write(HEAD)
    while not writer.is_closing():
        await asyncio.sleep(1)
        writer.write(b"X-A: 1\r\n")
        await writer.drain()


async def slow_body(port: int) -> None:
    """A byte each second."""
    _, writer = await connect(port)
    writer.write(HEAD.replace(b"GET", b"POST") + b"Content-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        await asyncio.sleep(1)
        writer.write(b"x")
        await writer.drain()


async def slow_reader(port: int) -> None:
    """Takes 4 KiB a second of what is large."""
    reader, writer = await connect(port, 4096)
    writer.write(HEAD.replace(b"/ ", b"/large ") + b"\r\n")
    while await reader.read(4096):  # noqa: ASYNC110
        await asyncio.sleep(1)


async def silent(port: int) -> None:
    """Says nothing."""
    reader, _ = await connect(port)
    await reader.read()


async def idle(port: int) -> None:
    """Asks once, and stays."""
    reader, writer = await connect(port)
    writer.write(HEAD + b"\r\n")
    await reader.read(1000)
    await reader.read()


async def churn(port: int) -> None:
    """Comes, asks and goes."""
    reader, writer = await connect(port)
    writer.write(HEAD + b"\r\n")
    await reader.read(1000)
    writer.close()
    await asyncio.sleep(0.1)


async def long_url(port: int) -> None:
    """A target of 1 MiB."""
    reader, writer = await connect(port)
    writer.write(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: lb.test\r\n\r\n")
    await reader.read()
    writer.close()
    await asyncio.sleep(0.1)


async def many_fields(port: int) -> None:
    """10 000 of them."""
    reader, writer = await connect(port)
    writer.write(HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(10_000)) + b"\r\n")
    await reader.read()
    writer.close()
    await asyncio.sleep(0.1)


class Siege(NamedTuple):
    """So many at a time, each doing that again and again."""

    clients: int
    act: Besieger


SIEGES = {
    "slow heads": Siege(500, slow_head),
    "slow bodies": Siege(500, slow_body),
    "slow readers": Siege(200, slow_reader),
    "silent": Siege(1000, silent),
    "idle": Siege(5000, idle),
    "churn": Siege(10, churn),
    "URLs of 1 MiB": Siege(2, long_url),
    "10 000 fields": Siege(2, many_fields),
}


def besiege(name: str, port: int, ready: object) -> None:
    """Until it is ended; a process."""
    os.nice(10)  # what is measured is the balancer, not how besiegers and client share a core
    siege = SIEGES[name]

    async def again() -> None:
        while True:
            try:
                await siege.act(port)
            except (OSError, EOFError):
                await asyncio.sleep(0.1)

    async def run() -> None:
        tasks = []
        for _ in range(siege.clients):
            tasks.append(asyncio.ensure_future(again()))
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        ready.set()  # type: ignore[attr-defined]
        await asyncio.gather(*tasks)

    asyncio.run(run())


def backend(port: int) -> None:
    """Answers at once; a process."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await reader.readexactly(1000)
                size = LARGE if head.startswith(b"GET /large") else 5
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                for left in range(size, 0, -PIECE):
                    writer.write(bytes(min(left, PIECE)))
                    await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(run())


async def measured(port: int, rate: int, seconds: float) -> tuple[list[float], int]:
    """Seconds that each request took, *rate* of them a second, each on a connection of its own; and how many failed."""
    took: list[float] = []
    failed = 0

    async def ask() -> None:
        nonlocal failed
        began = time.perf_counter()
        try:
            reader, writer = await connect(port)
            writer.write(HEAD + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
        except (OSError, EOFError):
            failed += 1
            return
        failed += not head.startswith(b"HTTP/1.1 200 ")
        took.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        start = time.perf_counter()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
            group.create_task(ask())
    return sorted(took), failed


def p99(took: list[float]) -> float:
    """Milliseconds."""
    return took[len(took) * 99 // 100] * 1000


def spent(pid: int) -> float:
    """Seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB of memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Print a row for each siege. 1 when a request of others failed, or took three times as long as in peace."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SIEGES))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=100)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = multiprocessing.get_context("spawn")
    behind, port = free_port(), free_port()
    context.Process(target=backend, args=[behind], daemon=True).start()
    settings = {
        "LB_ROUTES": "/=main", "LB_POOLS__MAIN__BACKENDS": f"http://127.0.0.1:{behind}", "LB_LOG__FORMAT": "off",
        "LB_POOLS__MAIN__BREAKER__ENABLED": "false",
    }  # fmt: skip
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port), "--log-level", "warning"]
    balancer = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings})
    try:
        time.sleep(3)
        asyncio.run(measured(port, options.rate, 3))
        bad = False
        print(f"{'siege':16} {'clients':>7} {'peace':>8} {'p99':>8} {'ratio':>6} {'failed':>6} {'CPU':>5} {'MiB':>6}")
        for name in options.names or SIEGES:
            before, _ = asyncio.run(measured(port, options.rate, options.seconds / 2))
            ready = context.Event()
            besieger = context.Process(target=besiege, args=[name, port, ready], daemon=True)
            besieger.start()
            ready.wait(60)
            began, cpu = time.perf_counter(), spent(balancer.pid)
            took, failed = asyncio.run(measured(port, options.rate, options.seconds))
            share = (spent(balancer.pid) - cpu) / (time.perf_counter() - began)
            memory = resident(balancer.pid)
            besieger.terminate()
            besieger.join()
            time.sleep(2)
            after, _ = asyncio.run(measured(port, options.rate, options.seconds / 2))
            peace = p99(sorted(before + after))
            ratio = p99(took) / peace
            bad = bad or failed > 0 or ratio >= 3
            print(
                f"{name:16} {SIEGES[name].clients:7} {peace:5.1f} ms {p99(took):5.1f} ms {ratio:6.2f} {failed:6} "
                f"{share:5.0%} {memory:6.1f}",
                flush=True,
            )
    finally:
        balancer.terminate()
        balancer.wait()
    return bad


if __name__ == "__main__":
    sys.exit(main())
