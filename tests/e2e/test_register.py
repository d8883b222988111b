"""Backends that register themselves, as a person would start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from tests.support.backend import Backend
from tests.support.control import OPEN, TOKEN, seen
from tests.support.redis_server import free_port
from tests.support.server import ROOT, Balancer, pool
from tests.support.steady import Steady
from tests.support.until import until

UVICORN = (sys.executable, "-m", "uvicorn", "tests.support.registering:app", "--log-level", "warning", "--port")


@pytest.fixture(autouse=True, scope="module")
def once(driver: str) -> None:
    """How requests are carried makes no difference here."""
    if driver == "direct":
        pytest.skip("the same on the asgi driver")


@pytest.fixture
def balancer(start: Callable[..., Backend]) -> Iterator[Balancer]:
    """With one backend that is always there, and probes."""
    always = pool("main", start().answer(b"always"), health__interval="100ms", health__jitter="0")
    with Balancer({"LB_ROUTES": "/=main", **always, **OPEN, "LB_ADMIN__ALLOW_BACKENDS": "127.0.0.0/8"}) as running:
        yield running


@contextmanager
def started(command: tuple[str, ...], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def by_lifespan(balancer: Balancer, port: int) -> tuple[tuple[str, ...], dict[str, str]]:
    place = {"REGISTER_AT": f"http://127.0.0.1:{balancer.port}/-", "REGISTER_URL": f"http://127.0.0.1:{port}"}
    return (*UVICORN, str(port)), {**place, "LB_ADMIN__TOKEN": TOKEN}


def by_command(balancer: Balancer, port: int) -> tuple[tuple[str, ...], dict[str, str]]:
    to = ("--to", f"http://127.0.0.1:{balancer.port}/-", "--pool", "main", "--url", f"http://127.0.0.1:{port}")
    command = (sys.executable, "-m", "app", "register", *to, "--ttl", "3s", "--", *UVICORN, str(port))
    return command, {"LB_ADMIN__TOKEN": TOKEN}


@pytest.mark.parametrize("way", [by_lifespan, by_command])
def test_none_fails_when_one_comes_and_goes(
    balancer: Balancer, way: Callable[[Balancer, int], tuple[tuple[str, ...], dict[str, str]]]
) -> None:
    """It is registered when it listens, takes requests when its probe has passed, and is taken out before it stops."""
    port = free_port()
    name = f"127.0.0.1:{port}"
    command, environ = way(balancer, port)
    with Steady(balancer.port, rate=200) as steady:
        with started(command, environ) as process:
            until(lambda: seen(balancer)["backends"].get(name, {}).get("available"), "the new backend", within=30)
            steady.pass_by(300)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in (0, -signal.SIGTERM, 143)
        assert name not in seen(balancer)["backends"]
        steady.pass_by(50)
    assert set(steady.counts) == {200}, steady.counts
    bodies = {record["backend"] for record in balancer.records() if record.get("backend")}
    assert {name} < bodies


@pytest.mark.parametrize("way", [by_lifespan, by_command])
def test_one_that_is_killed_is_gone_when_its_time_is_over(
    balancer: Balancer, way: Callable[[Balancer, int], tuple[tuple[str, ...], dict[str, str]]]
) -> None:
    port = free_port()
    command, environ = way(balancer, port)
    with started(command, environ) as process:
        until(lambda: f"127.0.0.1:{port}" in seen(balancer)["backends"], "the new backend", within=30)
        os.killpg(process.pid, signal.SIGKILL)
    until(lambda: f"127.0.0.1:{port}" not in seen(balancer)["backends"], "its end", within=10)


def test_what_the_command_says_when_it_cannot(balancer: Balancer) -> None:
    command, _ = by_command(balancer, 1)

    def said(*change: tuple[str, str], token: str = TOKEN, last: str = "true") -> tuple[int, str]:
        arguments = [dict(change).get(part, part) for part in command[: command.index("--") + 1]]
        told = {**os.environ, "LB_ADMIN__TOKEN": token}
        done = subprocess.run([*arguments, last], cwd=ROOT, capture_output=True, text=True, env=told, check=False)
        return done.returncode, done.stderr

    assert said(token="")[0] == 2
    status, text = said(("http://127.0.0.1:1", "nonsense"))
    assert (status, "--url: nonsense" in text) == (2, True)
    status, text = said((f"http://127.0.0.1:{balancer.port}/-", "http://[bad"))
    assert (status, "--to: http://[bad" in text) == (2, True)
    status, text = said(("3s", "0s"))
    assert (status, "--ttl: 0 s is too short" in text) == (2, True)
    assert said(token="\u00fc")[0] == 2
    status, text = said(last="/nowhere/command")
    assert (status, "/nowhere/command: No such file" in text) == (127, True)
    assert said(last="true")[0] == 0
    assert said(last="false")[0] == 1
