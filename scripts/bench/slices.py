"""One slice: a fixed number of requests through one proxy, what they cost it and how long they took."""

from __future__ import annotations

import http.client
import re
import ssl
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from scripts.bench.peers import BODY, TARGET, Peer, program
from scripts.bench.processes import cpu_ns, start, stop

SETTLE = 0.15  # seconds that a proxy has to write its log and tidy up, which counts as part of its slice
LIMIT = 180.0  # seconds after which a slice is given up


class Slice(NamedTuple):
    """What came of it."""

    cpu_us: float
    """CPU microseconds a request."""
    rps: float
    p50_ms: float
    p99_ms: float
    wrong: int
    """Requests without the right answer."""


def check_answer(peer: Peer, tls: bool) -> None:
    """Raises RuntimeError when the proxy does not forward what the backend says."""
    connection: http.client.HTTPConnection
    if tls:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE  # it is the answer that is checked
        connection = http.client.HTTPSConnection("127.0.0.1", peer.port, timeout=10, context=unverified)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
    connection.request("GET", TARGET)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if (answer.status, body) != (200, BODY.encode()):
        raise RuntimeError(f"answers {answer.status} {body[:200]!r} instead of the backend's 200 and {len(BODY)} bytes")


def run_slice(peer: Peer, pid: int, requests: int, connections: int, core: int, tls: bool, directory: Path) -> Slice:
    """Load is on *core*, *pid* is the root of the proxy's processes. Raises RuntimeError when it takes too long."""
    times = directory / "times.tsv"
    times.unlink(missing_ok=True)
    url = f"{'https' if tls else 'http'}://127.0.0.1:{peer.port}{TARGET}"
    load = [program("h2load", "nghttp2-client"), "--h1", "-t", "1", "-c", str(connections), "-n", str(requests)]
    before = cpu_ns(pid)
    said = directory / "h2load"
    process = start([*load, f"--log-file={times}", url], core, said)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{requests} requests took more than {LIMIT:.0f} s") from None
    finally:
        stop(process)
    time.sleep(SETTLE)
    spent = cpu_ns(pid) - before
    return reading(said.read_text(), times.read_text(), spent, requests)


def reading(said: str, times: str, spent_ns: int, requests: int) -> Slice:
    """Figures from what h2load printed and logged (start in us, status, duration in us; tab separated)."""
    rows = [line.split("\t") for line in times.splitlines()]
    took = sorted(int(row[2]) / 1000 for row in rows)
    succeeded = int(found(r"(\d+) 2xx", said))
    data = int(found(r"\((\d+)\) data", said))
    wrong = max(requests - succeeded, 0 if data == requests * len(BODY) else 1)
    if not took:
        raise RuntimeError("no request was answered")
    rps = float(found(r", ([\d.]+) req/s", said))
    return Slice(spent_ns / requests / 1000, rps, took[len(took) // 2], took[int(len(took) * 0.99)], wrong)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if not match:
        raise RuntimeError(f"h2load said nothing of {pattern!r}: {text[-500:]}")
    return match[1]
