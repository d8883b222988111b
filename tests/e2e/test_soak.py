"""Everything at once for a while, with faults: when it is over, all of it is over, and no error is unexplained.

A minute; `scripts/soak` runs it for as long as MINUTES says. What comes of it is printed.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.support import control, inside, tls
from tests.support.medley import Clients, Medley
from tests.support.server import Balancer
from tests.support.tls import Certificate
from tests.support.until import settled, until

MINUTES = float(os.environ.get("MINUTES", "1"))
WARM = min(60.0, MINUTES * 60 / 4)
"""Seconds before the level is taken, with load and faults."""
PAUSE = 2.0
"""Seconds between two faults."""
EXPLAINED = {
    "a certificate is half there": "l7lb.tls: the new certificate cannot be used, the old one stays: ",
    "settings are half there": "l7lb.reload: reload refused, nothing has changed: ",
}
"""How errors begin that a fault has logged."""


class Faults:
    """What may happen, one after the other, by chance; each is over before the next."""

    def __init__(
        self, balancer: Balancer, backends: list[Medley], config: Path, certificate: Certificate, seed: int
    ) -> None:
        self._balancer, self._backends, self._certificate, self._config = balancer, backends, certificate, config
        self._good = config.read_text()
        self._rng = Random(seed)
        self._stop = threading.Event()
        self.seen: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[Medley], None]] = {
            "a backend is killed": self._kill,
            "a backend fails": self._fail,
            "a backend closes what it should keep": self._hasten,
            "a backend is drained": self._drain,
            "a certificate is half there": self._half_certificate,
            "settings are half there": self._half_settings,
            "settings are others": self._other_settings,
        }

    @contextmanager
    def happening(self) -> Iterator[None]:
        """In a thread."""
        self._stop.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        yield
        self._stop.set()
        thread.join()

    def _run(self) -> None:
        while True:
            for kind in self._rng.sample(sorted(self._kinds), len(self._kinds)):
                if self._stop.wait(PAUSE):
                    return
                self._kinds[kind](self._rng.choice(self._backends))
                self.seen[kind] += 1

    def _kill(self, backend: Medley) -> None:
        backend.kill()
        self._stop.wait(0.5)
        backend.begin()

    def _fail(self, backend: Medley) -> None:
        backend.mood = "failing"
        self._stop.wait(0.5)
        backend.mood = "well"

    def _hasten(self, backend: Medley) -> None:
        backend.mood = "hasty"
        self._stop.wait(2.0)
        backend.mood = "well"

    def _drain(self, backend: Medley) -> None:
        name = f"127.0.0.1:{backend.port}"
        control.change(self._balancer, name, draining=True)
        self._stop.wait(0.5)
        control.change(self._balancer, name, draining=False)

    def _half_certificate(self, _: Medley) -> None:
        whole = self._certificate.cert.read_bytes()
        self._certificate.cert.write_bytes(whole[: len(whole) // 3])
        self._stop.wait(0.5)
        self._certificate.renew()

    def _half_settings(self, _: Medley) -> None:
        self._config.write_text(self._good[: self._rng.randrange(10, len(self._good) // 2)] + "\n[")
        self._stop.wait(0.8)
        self._config.write_text(self._good)

    def _other_settings(self, _: Medley) -> None:
        self._config.write_text(self._good.replace("p2c", "round_robin"))
        self._stop.wait(0.8)
        self._config.write_text(self._good)


def level(balancer: Balancer, place: Path) -> dict[str, int]:
    """What is there when nothing goes on any more."""
    until(lambda: control.idle(balancer), "all to end", within=30)
    fds = Path(f"/proc/{balancer.process.pid}/fd")
    open_ = settled(lambda: len(list(fds.iterdir())), calm=1.5, within=60)
    return {
        "KiB": balancer.rss() // 1024,
        "descriptors": open_,
        **settled(lambda: inside.ask(place), calm=1.0, within=60),
    }


def test_it_is_over_when_it_is_over(driver: str, tmp_path: Path, certificate: Certificate) -> None:
    if driver == "direct" and "MINUTES" not in os.environ:
        pytest.skip("a minute is enough; scripts/soak has both")
    backends = [Medley() for _ in range(3)]
    config, place = tmp_path / "l7lb.toml", tmp_path / "inside"
    urls = ",".join(backend.url for backend in backends)
    config.write_text(f"""
[groups.cached]
path = "/cached"
pool = "main"
cache = {{ store = "kept" }}

[groups.all]
pool = "main"

[caches.kept]
kind = "memory"

[pools.main]
backends = "{urls}"
strategy = "p2c"
timeouts = {{ keep_alive = "1s" }}
health = {{ kind = "tcp", interval = "1s" }}
breaker = {{ max_ejection = "2s", ejection = "500ms" }}
""")
    settings = {
        "LB_CONFIG": str(config), "LB_RELOAD__INTERVAL": "100ms", "LB_EDGE__HEADER_TIMEOUT": "1s",
        "LB_TLS__RELOAD_INTERVAL": "100ms", **control.OPEN,
    }  # fmt: skip
    binds = ("--bind", "http://127.0.0.1:0", "--bind", "https://127.0.0.1:0")
    keys = ("--cert", str(certificate.cert), "--key", str(certificate.key))
    command = (sys.executable, "-m", "tests.support.inside", str(place), "app", "serve")
    with Balancer(settings, *binds, *keys, command=command, stdout=subprocess.DEVNULL) as balancer:
        secure = int(re.search(r"running on https:\S+:(\d+)", balancer.stderr)[1])  # type: ignore[index]
        clients = Clients(balancer.port, secure, tls.client())
        faults = Faults(balancer, backends, config, certificate, seed=7)
        asyncio.run(clients.run(1.0))
        inside.ask(place)  # it takes some memory to count all there is
        with faults.happening():
            asyncio.run(clients.run(WARM))
        before = level(balancer, place)
        resident: list[int] = []
        watching = threading.Event()

        def watch() -> None:
            while not watching.wait(5):
                resident.append(balancer.rss() // 1024)

        thread = threading.Thread(target=watch)
        thread.start()
        with faults.happening():
            asyncio.run(clients.run(MINUTES * 60 - WARM))
        watching.set()
        thread.join()
        after = level(balancer, place)

    errors = [line for line in balancer.errors if re.match(r"(ERROR|CRITICAL):", line)]
    known = tuple(f"ERROR:     {words}" for kind, words in EXPLAINED.items() if faults.seen[kind])
    unexplained = [line for line in errors if not line.startswith(known)]
    report(clients, faults, before, after, resident, len(errors), len(unexplained))
    assert unexplained == []
    assert {kind: set(clients.counts[kind]) for kind in Clients.SAFE} == {kind: {"ok"} for kind in Clients.SAFE}
    for kind, wanted in OUTCOMES.items():
        assert clients.counts[kind]["ok" if wanted is None else wanted] > 0, kind
    assert not any(counts["hung"] for counts in clients.counts.values())
    for what in ("descriptors", "tasks", "timers"):
        assert after[what] <= before[what], what
    assert after["KiB"] <= before["KiB"] * 1.1  # the allocator takes 200 000 connections to find its level


OUTCOMES = dict.fromkeys(Clients.KINDS, "ok") | {"cutting": "cut", "slow": "408"}


def report(
    clients: Clients,
    faults: Faults,
    before: dict[str, int],
    after: dict[str, int],
    resident: list[int],
    errors: int,
    unexplained: int,
) -> None:
    """Print what came of it."""
    print(f"\n  {MINUTES:g} minutes: {sum(counts.total() for counts in clients.counts.values())} visits")
    for kind, counts in clients.counts.items():
        print(f"    {kind:8} {', '.join(f'{number} {outcome}' for outcome, number in counts.most_common())}")
    print("  faults:", ", ".join(f"{number} x {kind}" for kind, number in faults.seen.items()))
    print("  after the warm-up:", before)
    print("  at the end:       ", after)
    step = max(1, len(resident) // 12)
    print("  resident, MiB:", " ".join(f"{kib / 1024:.1f}" for kib in resident[::step]))
    print(f"  errors in the log: {errors}, unexplained: {unexplained}")
