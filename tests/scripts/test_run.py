"""make run, as a person uses it: two commands' worth of promises."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = 5


def free_ports(count: int) -> int:
    """The first of so many free ports in a row, below those that the kernel gives to whoever connects."""
    for _ in range(100):
        first = random.randrange(10_000, 32_000)
        with contextlib.ExitStack() as taken, contextlib.suppress(OSError):
            for number in range(first, first + count):
                taken.enter_context(socket.create_server(("127.0.0.1", number)))
            return first
    raise AssertionError("no row of free ports")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def demonstration(port: int, demo_port: int) -> Iterator[subprocess.Popen[str]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("LB_")}
    env |= {"PORT": str(port), "DEMO_PORT": str(demo_port)}
    command = [sys.executable, "scripts/run.py"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=30)


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Backends 1 to 5"):
            return
    raise AssertionError("".join(said))


def get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    trust = ssl.create_default_context(cafile=ROOT / ".run/cert.pem")
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=trust)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.e2e
def test_the_first_requests_are_answered_in_turn_and_ctrl_c_leaves_nothing() -> None:
    """Twice, on the same ports: the first leaves nothing in the second's way."""
    port, demo_port = free_ports(1), free_ports(BACKENDS)
    for number in (signal.SIGINT, signal.SIGTERM):
        with demonstration(port, demo_port) as process:
            wait_until_ready(process)
            told = [get(port, "/apiA") for _ in range(3)] + [get(port, "/apiB") for _ in range(3)]
            assert told == [(200, f"Hello from backend {at}\n".encode()) for at in (1, 2, 1, 3, 4, 5)]
            assert get(port, "/elsewhere")[0] == 404
            process.send_signal(number)
            process.communicate(timeout=30)
            assert process.returncode == 0
            assert not [taken for taken in (port, *range(demo_port, demo_port + BACKENDS)) if listens(taken)]


@pytest.mark.e2e
def test_everybody_is_limited_to_a_hundred_a_minute() -> None:
    port, demo_port = free_ports(1), free_ports(BACKENDS)
    with demonstration(port, demo_port) as process:
        wait_until_ready(process)
        statuses = [get(port, "/apiA")[0] for _ in range(150)]
        assert statuses[:100] == [200] * 100
        assert set(statuses[100:]) >= {429}
        assert set(statuses) == {200, 429}


@pytest.mark.e2e
def test_when_a_process_dies_everything_stops_and_says_so() -> None:
    port, demo_port = free_ports(1), free_ports(BACKENDS)
    with demonstration(port, demo_port) as process:
        wait_until_ready(process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        said, _ = process.communicate(timeout=30)
        assert "the balancer has ended" in said
        assert process.returncode == 1
        assert not [taken for taken in (port, *range(demo_port, demo_port + BACKENDS)) if listens(taken)]


@pytest.mark.e2e
def test_closing_the_terminal_stops_everything() -> None:
    """Only the first process of a terminal gets SIGHUP: under `ssh -t host make run` that is make, which waits."""
    port, demo_port = free_ports(1), free_ports(BACKENDS)
    ours, theirs = os.openpty()
    env = os.environ | {"PORT": str(port), "DEMO_PORT": str(demo_port)}
    command = [sys.executable, "scripts/run.py"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        try:
            os.close(theirs)
            said = b""
            while b"Ctrl-C stops everything" not in said:
                said += os.read(ours, 4096)
            os.close(ours)
            assert process.wait(30) == 0
        finally:
            process.terminate()
    assert not [taken for taken in (port, *range(demo_port, demo_port + BACKENDS)) if listens(taken)]


@pytest.mark.parametrize("variable", ["PORT", "DEMO_PORT"])
def test_a_taken_port_is_named_with_the_variable_to_set(variable: str) -> None:
    first = free_ports(BACKENDS + 1)
    ports = {"PORT": first, "DEMO_PORT": first + 1}
    taken = socket.create_server(("127.0.0.1", ports[variable]))
    with taken, demonstration(ports["PORT"], ports["DEMO_PORT"]) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"port {ports[variable]} is taken" in said
    assert f"make run {variable}=" in said
    assert "Traceback" not in said


def test_a_port_that_is_none_is_refused() -> None:
    with demonstration(70000, 9101) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "PORT=70000 is not a port" in said


def test_the_dev_certificate_is_kept_while_it_is_valid(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        subprocess.run([ROOT / "scripts/dev-cert", tmp_path], check=True)
        made.append((tmp_path / "cert.pem").read_bytes())
    assert made[0] == made[1]
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    (certificate,) = context.get_ca_certs()
    assert certificate["subjectAltName"] == (
        ("DNS", "localhost"),
        ("IP Address", "127.0.0.1"),
        ("IP Address", "0:0:0:0:0:0:0:1"),
    )
    assert (tmp_path / "key.pem").stat().st_mode & 0o077 == 0
