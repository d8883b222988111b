"""Several workers are one balancer: one answers a scrape for all, one probes for all, and all hear of an ejection."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.backend import Backend, Request, answers, reply
from tests.support.control import OPEN, ask
from tests.support.exposition import parse
from tests.support.raw import request
from tests.support.redis_server import RedisServer
from tests.support.server import Balancer, pool
from tests.support.supervised import serving, several
from tests.support.until import settled, until

STARTED = "Application startup complete"
LEASE = 2.0
"""Seconds: how long a worker that died is still believed to probe."""


@contextmanager
def crew(count: int, *backends: Backend, flags: tuple[str, ...] = (), **settings: object) -> Iterator[Balancer]:
    """So many workers, which know of each other."""
    told = {"LB_ROUTES": "/=main", **pool("main", *backends, **settings), **OPEN}
    with Balancer(told, *several(count), *flags) as balancer:
        until(lambda: here(balancer) == count, f"{count} workers", within=30)
        yield balancer


def scrape(balancer: Balancer, name: str, **labels: str) -> float:
    """The sum of a metric over all its label sets, or those that have these labels."""
    samples = parse(ask(balancer, "metrics").body.decode())[name].samples
    return sum(number for (_, found), number in samples.items() if labels.items() <= dict(found).items())


def here(balancer: Balancer) -> int:
    """How many workers there are, as they know it."""
    return int(scrape(balancer, "l7lb_workers"))


def kill(balancer: Balancer, victim: int) -> None:
    """SIGKILL a worker, and wait until another has taken its place and takes requests."""
    count, started = len(serving(balancer)), balancer.stderr.count(STARTED)
    os.kill(victim, signal.SIGKILL)
    until(lambda: balancer.stderr.count(STARTED) > started, "a new worker", within=40)
    assert victim not in serving(balancer)
    assert len(serving(balancer)) == count


def requests(balancer: Balancer) -> float:
    return scrape(balancer, "l7lb_requests_total")


def test_what_the_dead_have_counted_stays_counted() -> None:
    """
    The sum over all workers is what was answered, whoever is asked, before and after two of them were killed.

    A worker tells the others what it has counted once a second, so what one counted in its last second is lost with it;
    here it is killed when all is told.
    """
    with Backend(answers(reply(b"hello"))) as backend, crew(2, backend) as balancer:
        asked = 0
        for _ in range(3):
            for _ in range(40):
                assert balancer.get("/").status == 200
            asked += 40
            until(lambda: requests(balancer) == asked, f"{asked} to be told", within=5)  # noqa: B023
            kill(balancer, serving(balancer)[0])
            shown = [requests(balancer) for _ in range(20)]
            assert set(shown) == {asked}
        until(lambda: here(balancer) == 2, "the dead to be missed", within=20)
        assert requests(balancer) == scrape(balancer, "l7lb_backend_requests_total") == asked
        assert scrape(balancer, "l7lb_build_info") == 1
        assert scrape(balancer, "l7lb_pool_in_flight") == 0


def test_nothing_counts_twice_over_a_rolling_restart() -> None:
    """Each worker tells all that it has counted before it ends, and none that starts has a backend for DOWN."""
    with Probed() as backend, crew(2, backend, **QUICK) as balancer:
        for _ in range(100):
            assert balancer.get("/").status == 200
        until(lambda: requests(balancer) == 100, "100 to be told", within=5)
        before = set(serving(balancer))
        balancer.process.send_signal(signal.SIGHUP)
        up, counted = [], []

        def over() -> bool:
            up.append(scrape(balancer, "l7lb_backend_up"))
            counted.append(requests(balancer))
            return len(now := set(serving(balancer))) == 2 and not now & before and here(balancer) == 2

        until(over, "new workers that know each other", within=40)

        assert set(up) == {1}
        assert set(counted) == {100}


def unasked(balancer: Balancer, backend: Backend, times: int) -> bool:
    """Whether so many requests were answered, by whatever worker, and none of them by *backend*."""

    def served() -> int:
        return sum(asked.target == b"/" for asked in backend.requests)

    had = served()
    assert {balancer.get("/").status for _ in range(times)} == {200}
    return served() == had


class Probed(Backend):
    """Keeps when it was probed, and fails its probes when it is told to."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.probes: list[float] = []
        super().__init__(answers(self._answer))

    def _answer(self, asked: Request) -> bytes:
        if asked.target != b"/health":
            return reply(b"hello")
        self.probes.append(time.monotonic())
        return reply(b"", status=self.status)


QUICK = {
    "health__path": "/health", "health__interval": "200ms", "health__jitter": "0", "health__timeout": "200ms",
}  # fmt: skip


def test_one_worker_probes_for_all_and_the_next_when_it_is_killed() -> None:
    """
    Four workers ask a backend as often as one, and whichever of them is killed, they go on within two leases.

    Of n probes 200 ms apart there are n - 1 intervals, none shorter than 200 ms but for the first two of one who takes
    over, and those of its predecessor.
    """
    with Probed() as backend, crew(4, backend, **QUICK) as balancer:
        until(lambda: balancer.stderr.count(STARTED) == 4, "all to have started", within=40)
        seen = len(backend.probes)
        until(lambda: len(backend.probes) >= seen + 15, "probes")
        first, last = backend.probes[seen], backend.probes[seen + 14]
        assert last - first >= 13 * 0.2 * 0.95, "more probes than one worker makes"

        for victim in serving(balancer):
            kill(balancer, victim)
            now = time.monotonic()
            until(lambda: backend.probes[-1] > now, "the next probe", within=2 * LEASE + 1)  # noqa: B023
        gaps = [after - before for before, after in zip(backend.probes, backend.probes[1:], strict=False)]
        assert max(gaps) < 2 * LEASE, "they were left alone for longer than it takes to notice"

        backend.status = "500 No"
        until(lambda: scrape(balancer, "l7lb_backend_up") == 0, "all to know")
        until(lambda: {balancer.get("/").status for _ in range(12)} == {503}, "none to use it")
        backend.status = "200 OK"
        until(lambda: {balancer.get("/").status for _ in range(12)} == {200}, "all to use it again")

        assert settled(lambda: balancer.stderr.count(" is DOWN: status 500")) == 1, "one says it for all"


def test_who_starts_knows_whose_backends_are_down() -> None:
    """It takes the word of the others, and asks nobody itself: none of its requests goes to one that is DOWN."""
    with Probed() as well, Probed() as sick, crew(2, well, sick, **QUICK) as balancer:
        sick.status = "500 No"
        until(lambda: scrape(balancer, "l7lb_backend_up", backend=f"127.0.0.1:{sick.port}") == 0, "it to be DOWN")
        until(lambda: unasked(balancer, sick, 20), "both to know")
        kill(balancer, serving(balancer)[0])
        assert unasked(balancer, sick, 40)


def test_an_ejection_by_one_is_a_hint_to_the_others(tmp_path: Path) -> None:
    """Five failures eject it at one worker; each of the others tries it once and has seen enough."""
    log = tmp_path / "log.json"
    log.write_text(json.dumps(LOG))
    settings = {
        "breaker__scope": "machine", "breaker__half_open": "1", "breaker__min_requests": "1000",
        "breaker__ejection": "1m", "retry__attempts": "1", "panic": "0",
    }  # fmt: skip
    with (
        Backend(answers(reply(b"", status="503 No"))) as bad,
        Backend(answers(reply(b"hello"))) as good,
        crew(4, bad, good, flags=("--log-config", str(log)), **settings) as balancer,
    ):
        with balancer.client() as client:  # one connection is with one worker
            until(lambda: client.ask(request("/")).status == 503 and len(bad.requests) == 5, "five failures")
        until(lambda: balancer.stderr.count("is suspect: half-open") == 3, "the others to hear")
        until(lambda: balancer.get("/").status and balancer.stderr.count("is ejected for") == 4, "all to know")
        assert len(bad.requests) == 5 + 3
        until(lambda: scrape(balancer, "l7lb_backend_ejections_total") == 4, "the count of it")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of its own."""
    with RedisServer(tmp_path) as server:
        yield server


def machine(server: RedisServer, *backends: Backend, **settings: object) -> Balancer:
    """A balancer of its own, which shares what it knows with those on other machines."""
    return Balancer({"LB_ROUTES": "/=main", "LB_STATE": server.url, **pool("main", *backends, **settings), **OPEN})


def pace(backend: Probed) -> float:
    """Seconds between two of its last probes, on average."""
    return (backend.probes[-1] - backend.probes[-11]) / 10 if len(backend.probes) > 10 else 0.2


def test_of_many_machines_one_probes_where_that_is_asked_for(redis_server: RedisServer) -> None:
    """The next goes on when it is killed. Without Redis each probes for itself, and with it again one for both."""
    quick = {**QUICK, "health__scope": "cluster"}
    with Probed() as backend, ExitStack() as killed:
        first = machine(redis_server, backend, **quick)
        killed.callback(first.kill)
        until(lambda: len(backend.probes) > 3, "probes")
        with machine(redis_server, backend, **quick) as second:
            first.kill()
            now = time.monotonic()
            until(lambda: backend.probes[-1] > now, "the next probe", within=2 * LEASE + 1)
            with machine(redis_server, backend, **quick) as third:
                seen = len(backend.probes)
                until(lambda: len(backend.probes) > seen + 12, "probes")
                assert pace(backend) > 0.2 * 0.95
                redis_server.kill()
                until(lambda: pace(backend) < 0.2 * 0.7, "both to probe")
                assert {each.get("/").status for each in (second, third) for _ in range(10)} == {200}
                redis_server.start()
                until(lambda: pace(backend) > 0.2 * 0.95, "one to probe", within=20)
                backend.status = "500 No"
                for each in (second, third):
                    until(lambda: each.get("/").status == 503, "it to know")  # noqa: B023


LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"told": {"class": "logging.StreamHandler"}},
    "loggers": {name: {"handlers": ["told"], "level": "INFO"} for name in ("uvicorn", "l7lb")},
}
"""Has every line of ours on standard error."""
