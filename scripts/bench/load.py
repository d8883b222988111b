"""One slice: a fixed number of requests through one proxy, what they cost it and how long they took."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.figures import Sample
from scripts.bench.processes import cpu_ns, rss_kib, start, stop
from scripts.bench.site import BODY, Peer, program

SETTLE = 0.15  # seconds that a proxy has to write its log and tidy up, which counts as part of its slice
LIMIT = 180.0  # seconds after which a slice is given up
TICK_RPS = 50  # h2load looks at its clock every 10 ms: a connection asked for more than 100 a second sends bursts


@dataclass(frozen=True)
class Load:
    """What the clients do."""

    requests: int
    connections: int
    """As many requests at a time: of a proxy with several streams on a connection, so many times fewer of them."""
    tls: bool = False
    body: int = 0
    """Bytes of each request, which is then a POST."""
    close: bool = False
    """A new connection for each request."""
    rps: float = 0.0
    """Open loop: requests a second whatever the answers take; 0: each connection asks when it has its answer."""


def load_generator() -> str:
    """Raises Missing."""
    return program("h2load", "apt-get install nghttp2-client")


def unverified() -> ssl.SSLContext:
    """It is the answers that are checked, not who gives them."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def check_answer(peer: Peer, tls: bool, body: int = 0) -> None:
    """Raises RuntimeError when the proxy does not forward what the backend says."""
    connection: http.client.HTTPConnection
    if tls:
        connection = http.client.HTTPSConnection("127.0.0.1", peer.port, timeout=10, context=unverified())
    else:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
    connection.request("POST" if body else "GET", peer.target, b"b" * body if body else None)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if (answer.status, said) != (200, BODY):
        raise RuntimeError(f"answers {answer.status} {said[:200]!r} instead of the backend's 200 and {len(BODY)} bytes")


def command(peer: Peer, load: Load, directory: Path) -> list[str]:
    """What h2load is told; it logs to times.tsv in *directory*."""
    way = ["-m", str(peer.streams)] if peer.streams else ["--h1"]
    connections = max(load.connections // (peer.streams or 1), 1)
    words = [load_generator(), *way, "-t", "1", "-c", str(connections), "-n", str(load.requests)]
    words.append(f"--log-file={directory}/times.tsv")
    if load.body:
        body = directory / "body"
        body.write_bytes(b"b" * load.body)
        words.append(f"--data={body}")
    if load.close:
        words += ["-H", "Connection: close"]
    if load.rps:  # one connection a millisecond, so that they do not all send at the same moment
        words += [f"--rps={load.rps / load.connections:.4f}", "--rate=1", "--rate-period=1ms"]
    return [*words, f"{'https' if load.tls else 'http'}://127.0.0.1:{peer.port}{peer.target}"]


def run_slice(peer: Peer, pid: int, load: Load, core: int, directory: Path) -> Sample:
    """Load is on *core*, *pid* is the root of the proxy's processes. Raises RuntimeError when it takes too long."""
    times, said = directory / "times.tsv", directory / "h2load"
    times.unlink(missing_ok=True)
    words = command(peer, load, directory)
    before = cpu_ns(pid)
    process = start(words, core, said)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{peer.name}: {load.requests} requests took more than {LIMIT:.0f} s") from None
    finally:
        stop(process)
    time.sleep(SETTLE)
    spent = cpu_ns(pid) - before
    return reading(said.read_text(), times.read_text(), spent, load.requests) | {"rss_mib": rss_kib(pid) / 1024}


def reading(said: str, times: str, spent_ns: int, requests: int) -> Sample:
    """Figures from what h2load printed and logged (start in us, status, duration in us; tab separated)."""
    rows = [line.split("\t") for line in times.splitlines()]
    took = sorted(int(row[2]) / 1000 for row in rows)
    succeeded = int(found(r"(\d+) 2xx", said))
    data = int(found(r"\((\d+)\) data", said))
    wrong = max(requests - succeeded, 0 if data == requests * len(BODY) else 1)
    if not took:
        raise RuntimeError("no request was answered")
    return {
        "cpu_us": spent_ns / requests / 1000,
        "rps": float(found(r", ([\d.]+) req/s", said)),
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[int(len(took) * 0.99)],
        "wrong": wrong,
    }


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if not match:
        raise RuntimeError(f"h2load said nothing of {pattern!r}: {text[-500:]}")
    return match[1]
