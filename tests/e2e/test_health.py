"""Probes: who is asked how, who is left out, and when the balancer is ready."""

from __future__ import annotations

import time

import pytest

from tests.support.backend import Backend, Connection, Gate, Request, answers, reply, stall
from tests.support.server import Balancer, pool
from tests.support.until import until

QUICK = {
    "health__path": "/health", "health__interval": "50ms", "health__timeout": "50ms", "health__down_interval": "50ms",
    "health__transition_interval": "50ms", "health__jitter": "0",
}  # fmt: skip


class Patient(Backend):
    """A backend whose health a test decides; it counts its probes."""

    def __init__(self, name: bytes) -> None:
        self.health = "200 OK"
        self.probes: list[Request] = []
        super().__init__(answers(lambda asked: self._answer(asked, name)))

    def _answer(self, asked: Request, name: bytes) -> bytes:
        if asked.target != b"/health":
            return reply(name)
        self.probes.append(asked)
        return reply(b"", status=self.health)


def probing(*backends: Backend, grace: str = "10s", **settings: object) -> Balancer:
    """A balancer that probes them often."""
    told = pool("main", *backends, **{**QUICK, **settings})
    return Balancer({"LB_ROUTES": "/=main", "LB_INITIAL_GRACE": grace, **told})


def bodies(balancer: Balancer, times: int = 8) -> set[bytes]:
    return {balancer.get("/").body for _ in range(times)}


def test_a_backend_that_fails_its_probes_is_left_out_and_comes_back() -> None:
    with Patient(b"1") as one, Patient(b"2") as two, probing(one, two) as balancer:
        until(lambda: bodies(balancer) == {b"1", b"2"}, "both to be used")
        one.health = "503 Service Unavailable"
        until(lambda: bodies(balancer) == {b"2"}, "the failing one to be left out")
        one.health = "200 OK"
        until(lambda: bodies(balancer) == {b"1", b"2"}, "it to come back")


def test_no_available_backend_gets_503_at_once() -> None:
    """No waiting for what will not come: the request is answered long before any timeout of a backend."""
    with Patient(b"1") as one:
        one.health = "500 No"
        settings = {"LB_ROUTES": "/=main", **pool("main", one, **QUICK), "LB_INITIAL_GRACE": "100ms"}
        with Balancer(settings) as balancer:
            until(lambda: one.probes, "a probe")
            began = time.monotonic()
            response = until(lambda: (got := balancer.get("/")).status == 503 and got, "503")
            assert int(response.get("retry-after") or 0) >= 1
            assert time.monotonic() - began < 5


def test_one_failure_is_no_fall_and_one_pass_no_rise() -> None:
    """fall 3: with two bad answers among good ones nobody is left out."""
    script = iter("+" * 3 + "--+" * 20)
    down: list[bytes] = []

    def answer(asked: Request) -> bytes:
        if asked.target != b"/health":
            return reply(b"here")
        mark = next(script, "+")
        down.append(mark.encode())
        return reply(b"", status="200 OK" if mark == "+" else "500 No")

    with Backend(answers(answer)) as backend:
        patient = {**QUICK, "health__interval": "500ms", "health__timeout": "500ms"}  # a stall is no third bad answer
        settings = {"LB_ROUTES": "/=main", **pool("main", backend, **patient, health__fall=3)}
        with Balancer(settings) as balancer:
            while len(down) < 21:
                assert balancer.get("/").status == 200


def test_ready_when_every_pool_has_a_backend() -> None:
    """Start-up does not wait; readiness does."""
    with Patient(b"1") as one, Patient(b"2") as two:
        two.health = "500 No"
        settings = {
            "LB_ROUTES": "/a=a; /b=b", **pool("a", one, **QUICK), **pool("b", two, **QUICK), "LB_INITIAL_GRACE": "1h",
        }  # fmt: skip
        with Balancer(settings, ready=False) as balancer:
            until(lambda: len(two.probes) > 5, "some probes")
            assert [balancer.get(path).status for path in ("/-/live", "/-/ready")] == [200, 503]
            assert balancer.get("/a").body == b"1"
            two.health = "200 OK"
            until(lambda: balancer.get("/-/ready").status == 200, "readiness")


def test_ready_after_the_grace_time_whatever_the_probes_say() -> None:
    with Patient(b"1") as one:
        one.health = "500 No"
        with Balancer({"LB_ROUTES": "/=main", **pool("main", one, **QUICK), "LB_INITIAL_GRACE": "300ms"}) as balancer:
            assert balancer.get("/-/ready").status == 200


def test_a_probe_is_asked_as_told() -> None:
    with Backend(answers(reply(b"all good"))) as backend:
        settings = pool(
            "main", backend, **QUICK, health__method="POST", health__host="probe.test",
            health__headers='{"X-Probe": "1"}',
            health__status="200-299", health__body="al+ good",
        )  # fmt: skip
        with Balancer({"LB_ROUTES": "/=main", **settings, "LB_INITIAL_GRACE": "1h"}) as balancer:
            assert balancer.get("/").status == 200
        probe = backend.requests[0]

    assert (probe.method, probe.target, probe.get("host"), probe.get("x-probe")) == (
        "POST",
        b"/health",
        "probe.test",
        "1",
    )


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        ({"health__status": "204"}, reply(b"")),
        ({"health__body": "^fine$"}, reply(b"bad")),
        ({}, b"garbage\r\n\r\n"),
        ({}, b"HTTP/1.1 200 OK\r\nX-Big: " + b"x" * 200_000 + b"\r\n\r\n"),
    ],
    ids=["status", "body", "garbage", "huge head"],
)
def test_an_answer_that_is_not_wanted_is_a_failure(told: dict[str, str], answer: bytes) -> None:
    with Backend(answers(answer)) as backend:
        settings = {"LB_ROUTES": "/=main", **pool("main", backend, **QUICK, **told), "LB_INITIAL_GRACE": "50ms"}
        with Balancer(settings) as balancer:
            until(lambda: balancer.get("/").status == 503, "it to be left out")


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "endless"])
def test_a_probe_ends(silent: bool) -> None:
    """By its timeout, and with bounded reads: neither silence nor an endless body holds it."""

    async def talk(c: Connection) -> None:
        await c.head()
        if silent:
            await stall(c)
        await c.send(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            await c.send(b"x" * 65536)

    with Backend(talk) as backend:
        settings = {"LB_ROUTES": "/=main", **pool("main", backend, **QUICK), "LB_INITIAL_GRACE": "50ms"}
        with Balancer(settings) as balancer:
            until(lambda: balancer.get("/").status == 503, "it to be left out")
            until(lambda: sum(c.closed for c in backend.connections) > 3, "probes to end")


def test_tcp_probes() -> None:
    """Without a path a connection is enough."""
    with Backend() as backend, Backend() as other:
        settings = {
            "LB_ROUTES": "/=main",
            **pool("main", backend, other, **{k: v for k, v in QUICK.items() if "path" not in k}),
        }
        with Balancer(settings) as balancer:
            until(lambda: len(bodies(balancer)) == 2, "both to be used")
            other.stop()
            until(lambda: bodies(balancer, 8) == {backend.name.encode()}, "the other to be left out")


def test_a_port_of_its_own() -> None:
    with Backend() as backend, Patient(b"") as probed:
        settings = {
            "LB_ROUTES": "/=main",
            **pool("main", backend, **QUICK, health__port=probed.port),
            "LB_INITIAL_GRACE": "1h",
        }
        with Balancer(settings) as balancer:
            assert balancer.get("/").status == 200
        assert probed.probes
        assert all(seen.target != b"/health" for seen in backend.requests)


def test_requests_do_not_wait_for_slow_probes() -> None:
    """A probe that hangs holds nobody but itself."""
    gate = Gate()

    async def talk(c: Connection) -> None:
        while True:
            asked = await c.head()
            if asked.target == b"/health" and backend.connections[0] is not c:
                await gate.passed()
            await c.send(reply(b"here"))

    with Backend(talk) as backend:
        slow = {**QUICK, "health__timeout": "30s", "health__interval": "30s", "health__down_interval": "30s"}
        with Balancer({"LB_ROUTES": "/=main", **pool("main", backend, **slow)}) as balancer:
            assert [balancer.get("/").status for _ in range(20)] == [200] * 20
        gate.open()
