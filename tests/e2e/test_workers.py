"""Several workers of one supervisor are one balancer: what one is told, all do; and none is missed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from tests.support.backend import Backend
from tests.support.control import OPEN, TOKEN
from tests.support.raw import Client, Response, request
from tests.support.server import Balancer, pool
from tests.support.steady import Steady
from tests.support.supervised import serving, several
from tests.support.until import until
from tests.support.workers import workers

ALLOWED = {**OPEN, "LB_ADMIN__ALLOW_BACKENDS": "127.0.0.0/8"}


@pytest.fixture(autouse=True, scope="module")
def once(driver: str) -> None:
    """How requests are carried makes no difference here, but for those that count them."""
    if driver == "direct":
        pytest.skip("the same on the asgi driver")


class Worker:
    """A kept connection to one worker."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.me = json.loads(self.ask("reload").body)["worker"]

    def ask(self, path: str, method: str = "GET", said: Any = None) -> Response:
        body = None if said is None else json.dumps(said).encode()
        return self.client.ask(request(f"/-/{path}", f"Authorization: Bearer {TOKEN}", method=method, body=body))

    def pool(self, name: str = "main") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("pools").body)[name]
        return {backend["id"]: backend for backend in found["backends"]}


@contextmanager
def each(balancer: Balancer, count: int = 2) -> Iterator[list[Worker]]:
    """A connection to each of so many workers."""
    with ExitStack() as stack:
        found: dict[str, Worker] = {}

        def all_found() -> bool:
            worker = Worker(stack.enter_context(balancer.client()))
            found.setdefault(worker.me["id"], worker)
            return len(found) == count

        until(all_found, f"{count} workers")
        yield list(found.values())


@contextmanager
def balancing(*backends: Backend, flags: tuple[str, ...] = several(2), **settings: str) -> Iterator[Balancer]:
    with Balancer({"LB_ROUTES": "/=main", **pool("main", *backends), **ALLOWED, **settings}, *flags) as balancer:
        yield balancer


def test_what_one_is_told_the_others_know_within_200_ms(start: Callable[..., Backend]) -> None:
    """A registration, a drain, a weight, and that it is gone."""
    first, new = start().answer(b"first"), start().answer(b"new")
    with balancing(first) as balancer, each(balancer) as (one, two):
        path, name = "pools/main/backends", new.url.removeprefix("http://")
        late = []

        def known(wanted: Callable[[], bool]) -> None:
            began = time.monotonic()
            until(wanted, "the other worker")
            late.append(time.monotonic() - began)

        assert one.ask(path, "POST", {"url": new.url}).status == 201
        known(lambda: name in two.pool())
        assert two.ask(f"{path}/{name}", "PATCH", {"draining": True, "weight": 7}).status == 200
        known(lambda: one.pool()[name]["draining"] and one.pool()[name]["weight"] == 7)
        assert two.ask(f"{path}/{name}", "DELETE").status == 204
        known(lambda: name not in one.pool())

        assert max(late) < 0.2, late


def test_a_registration_outlives_everybody(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """Under lmdb:DIR, whatever kills them."""
    first, new = start().answer(b"first"), start().answer(b"new")
    settings = {"LB_STATE": f"lmdb:{tmp_path}/state"}
    name = new.url.removeprefix("http://")
    running = Balancer({"LB_ROUTES": "/=main", **pool("main", first), **ALLOWED, **settings}, *several(2))
    with each(running) as (one, _):
        assert one.ask("pools/main/backends", "POST", {"url": new.url}).status == 201
        drained = f"pools/main/backends/{first.url.removeprefix('http://')}"
        assert one.ask(drained, "PATCH", {"draining": True}).status == 200
    running.kill()

    with balancing(first, flags=(), **settings) as balancer:
        assert {balancer.get("/").body for _ in range(10)} == {b"new"}
        with each(balancer, 1) as (one,):
            assert one.pool()[name]["available"]


def test_a_reload_is_everybodys(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """And so is going back."""
    first, second = start().answer(b"first"), start().answer(b"second")
    path = tmp_path / "l7lb.toml"

    def write(backend: Backend) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_text(
            f'[groups.all]\npool = "main"\n[pools.main]\nbackends = "{backend.url}"\nhealth.kind = "none"\n'
        )
        fresh.rename(path)

    write(first)
    with (
        Balancer({"LB_CONFIG": str(path), "LB_RELOAD__WATCH": "false", **OPEN}, *several(2)) as balancer,
        each(balancer) as both,
    ):
        before = json.loads(both[0].ask("reload").body)["revision"]
        write(second)
        said = json.loads(both[0].ask("reload", "POST").body)
        assert said["everywhere"] is True
        assert {worker["pid"] for worker in said["workers"]} == {worker.me["pid"] for worker in both}
        assert {worker.client.ask(request("/")).body for worker in both} == {b"second"}

        assert json.loads(both[1].ask("rollback", "POST").body)["everywhere"] is True
        assert {worker.client.ask(request("/")).body for worker in both} == {b"first"}
        os.kill(both[0].me["pid"], signal.SIGKILL)  # who is started in its place goes back, too
        until(lambda: _alone(both[0].me["pid"]), "its end")
        with each(balancer) as again:
            assert {json.loads(worker.ask("reload").body)["revision"] for worker in again} == {before}


def _alone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_worker_that_is_killed_takes_nothing_along(start: Callable[..., Backend]) -> None:
    """Its clients try once more and get their answer; what was counted of their limits stays counted."""
    backend = start().answer(b"hello")
    limit = {"LB_RATE_LIMIT__RATE": "100/h"}
    with balancing(backend, **limit) as balancer, each(balancer) as (one, two):
        for number in range(60):
            assert (one, two)[number % 2].client.ask(request("/")).status == 200
        os.kill(one.me["pid"], signal.SIGKILL)
        until(lambda: _alone(one.me["pid"]), "its end")

        statuses = [two.client.ask(request("/")).status for _ in range(20)]
        with each(balancer) as again:
            statuses += [again[number % 2].client.ask(request("/")).status for number in range(40)]
        # what each of `each` asked to find both workers was for the control plane, and took nothing
        assert statuses.count(200) == 40
        assert statuses.count(429) == 20


def test_clients_of_killed_workers_retry_once() -> None:
    """SIGKILL to three workers, one after the other, under load: whatever broke is answered the second time."""
    with workers(2) as (a, b):
        settings = {"LB_ROUTES": "/=main", "LB_POOLS__MAIN__BACKENDS": f"{a.url},{b.url}", **OPEN}
        with Balancer(settings, *several(2)) as balancer, Steady(balancer.port, rate=200, again=True) as steady:
            with each(balancer):  # a supervisor waits for those that do not serve yet, 5 s at a time
                steady.pass_by(100)
            for _ in range(3):
                victim = serving(balancer)[0]
                os.kill(victim, signal.SIGKILL)

                def replaced(victim: int = victim) -> bool:
                    return victim not in serving(balancer) and len(serving(balancer)) == 2

                until(replaced, "a worker in its place", within=60)
                with each(balancer):  # both serve
                    steady.pass_by(100)
        assert set(steady.counts) == {200, "again"}, steady.counts


def test_readers_of_the_killed_are_reaped(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """What they were reading would else keep its pages for ever; who is started in a worker's place sees to that."""
    backend, state = start().answer(b"hello"), tmp_path / "state"
    with balancing(backend, LB_STATE=f"lmdb:{state}") as balancer, each(balancer) as (one, _):
        environments = [path.parent for path in state.glob("*/data.mdb")]
        assert len(environments) == 3, environments
        readers = [_killed_while_it_reads(path) for path in environments]
        assert [_readers(path) for path in environments] == [{pid} for pid in readers]
        os.kill(one.me["pid"], signal.SIGKILL)
        until(lambda: not any(map(_readers, environments)), "the readers to be gone", within=20)


def _killed_while_it_reads(path: Path) -> int:
    """Its pid. A worker reads for microseconds at a time, too short to be hit."""
    reads = (
        "import lmdb, sys, time; t = lmdb.open(sys.argv[1], readonly=True).begin(); print(flush=True); time.sleep(60)"
    )
    reader = subprocess.Popen([sys.executable, "-c", reads, str(path)], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    with reader.stdout as printed:
        assert printed.readline() == b"\n"
        reader.kill()
        reader.wait()
    return reader.pid


def _readers(path: Path) -> set[int]:
    """Who has a place among the readers of an environment."""
    with lmdb.open(str(path), readonly=True) as env:
        return {int(line.split()[0]) for line in env.readers().splitlines() if line.split()[0].isdigit()}


def test_a_rolling_restart_fails_nothing() -> None:
    """SIGHUP to the supervisor, three times, under load."""
    with workers(2) as (a, b):
        settings = {
            "LB_ROUTES": "/=main",
            "LB_POOLS__MAIN__BACKENDS": f"{a.url},{b.url}",
            "LB_DRAIN__DELAY": "1s",
            **OPEN,
        }
        with Balancer(settings, *several(2)) as balancer, Steady(balancer.port, rate=200) as steady:
            for _ in range(3):
                with each(balancer) as before:
                    pids = {worker.me["pid"] for worker in before}
                balancer.process.send_signal(signal.SIGHUP)
                until(lambda pids=pids: all(map(_alone, pids)), "new workers", within=60)
                steady.pass_by(100)
        assert set(steady.counts) == {200}, steady.counts
