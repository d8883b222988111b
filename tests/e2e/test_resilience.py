"""Backends that die, restart, hang, are taken out or fail all at once, under load: what the clients notice of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support import control
from tests.support.backend import Backend, Connection, answers, reply, stall
from tests.support.server import Balancer, pool
from tests.support.steady import Steady
from tests.support.until import until
from tests.support.workers import Worker, workers

RATE = 200
"""Requests a second."""


@pytest.fixture(scope="module")
def three() -> Iterator[list[Worker]]:
    """Three real processes."""
    with workers(3) as started:
        yield started


def before(*urls: str, **settings: object) -> Balancer:
    """A balancer in front of backends a, b and so on; what is not said is as it is by itself."""
    named = ",".join(f"{url}|id={name}" for url, name in zip(urls, "abcdef", strict=False))
    return Balancer({"LB_ROUTES": "/=main", **control.OPEN, **pool("main", backends=named, **settings)})


def test_one_of_three_is_killed(three: list[Worker]) -> None:
    """By kill -9: neither the requests that it had are lost, nor those that it gets until it is known to be gone."""
    with before(*(worker.url for worker in three), health__kind="tcp") as balancer:
        with Steady(balancer.port, rate=RATE) as clients:
            clients.pass_by(RATE // 4)
            three[1].kill()
            until(lambda: "backend b is ejected" in balancer.stderr, "it to be ejected")
            clients.pass_by(RATE)
        records = balancer.records()
    three[1].begin()
    until(three[1].listens, "the worker of the next test", within=20)

    assert set(clients.counts) == {200}, clients.counts
    assert clients.counts[200] >= RATE
    again = [record for record in records if record["attempts"] > 1]
    assert len(again) >= 5, "that many failures eject it, and each was made good"
    assert {record["backend"] for record in again} <= {"a", "c"}


def test_all_of_three_are_restarted(three: list[Worker]) -> None:
    """
    One after the other, each a tenth of a second after the one before it listens again: no request fails.

    The first is still ejected then, and a pool of three cannot spare another: half of what comes meets a port that
    refuses, far more than the budget of retries has.
    """
    with (
        before(*(worker.url for worker in three), health__kind="tcp") as balancer,
        Steady(balancer.port, rate=RATE) as clients,
    ):
        clients.pass_by(RATE // 4)
        for worker in three:
            worker.restart()
            clients.pass_by(RATE // 10)

    assert set(clients.counts) == {200}, clients.counts
    assert clients.counts[200] >= RATE


def test_backends_are_drained_and_taken_out(three: list[Worker]) -> None:
    """Two of three, one after the other, and the first is back in between: no request fails."""
    with before(*(worker.url for worker in three)) as balancer:
        with Steady(balancer.port, rate=RATE) as clients:
            clients.pass_by(RATE // 4)
            control.change(balancer, "a", draining=True)
            until(lambda: control.seen(balancer)["backends"]["a"]["in_flight"] == 0, "it to be idle")
            control.change(balancer, "a", draining=False)
            clients.pass_by(RATE // 4)
            for name in ("b", "c"):
                control.change(balancer, name, draining=True)
                control.remove(balancer, name)
                clients.pass_by(RATE // 4)
            assert list(control.seen(balancer)["backends"]) == ["a"]
        until(lambda: control.idle(balancer), "nothing to be in flight")

    assert set(clients.counts) == {200}, clients.counts
    assert clients.counts[200] >= RATE


def test_a_backend_that_accepts_and_never_answers(start: Callable[..., Backend]) -> None:
    """From some moment on it is ejected after 5 attempts that timed out; who comes later does not notice it."""
    well = True

    async def hang(c: Connection) -> None:
        while True:
            await c.head()
            if not well:
                await stall(c)
            await c.send(reply(b"well"))

    hanging = start(hang)
    urls = (hanging.url, start().url, start().url)
    with before(*urls, timeouts__attempt="200ms") as balancer:
        with Steady(balancer.port, rate=RATE) as clients:
            clients.pass_by(RATE)
            well = False
            until(lambda: "backend a is ejected" in balancer.stderr, "it to be ejected")
            until(lambda: control.seen(balancer)["backends"]["a"]["in_flight"] == 0, "its last attempts to be over")
            reached = len(hanging.requests)
        with Steady(balancer.port, rate=RATE, target="/later") as later:
            later.pass_by(RATE // 2)
    records = balancer.records()

    assert set(clients.counts) == set(later.counts) == {200}, (clients.counts, later.counts)
    assert reached == len(hanging.requests), "it gets none of the later ones"
    assert {record["attempts"] for record in records if record["path"] == "/later"} == {1}
    assert len([record for record in records if record["attempts"] == 2]) >= 5, "those that it had were made good"
    assert "5 failures in a row" in balancer.stderr


def test_a_pool_that_is_dead_is_asked_little_more_than_once(start: Callable[..., Backend]) -> None:
    """After the first second 1.2 attempts a request on average, whether its backends say that they fail or are gone."""
    well = True
    pools = {
        name: [start(answers(lambda _: reply(b"", status="200 OK" if well else "503 No"))) for _ in range(3)]
        for name in ("failing", "refusing")
    }
    routes = {"LB_ROUTES": "/failing=failing; /refusing=refusing"}
    settings = routes | pool("failing", *pools["failing"]) | pool("refusing", *pools["refusing"])
    with (
        Balancer(settings) as balancer,
        Steady(balancer.port, rate=RATE, target="/failing") as clients,
        Steady(balancer.port, rate=RATE, target="/refusing"),
    ):
        clients.pass_by(RATE // 2)
        well = False
        for backend in pools["refusing"]:
            backend.stop()
        clients.pass_by(RATE)
        known = len(balancer.records())
        clients.pass_by(RATE)
    records = balancer.records()[known:]

    for path, status in (("/failing", 503), ("/refusing", 502)):
        found = [record for record in records if record["path"] == path]
        assert len(found) >= RATE // 2
        assert {record["status"] for record in found} == {status}
        attempts = sum(record["attempts"] for record in found)
        few = 3  # that began before these, or will be paid by what comes after
        assert len(found) < attempts <= 1.2 * len(found) + few, (path, attempts, len(found))
