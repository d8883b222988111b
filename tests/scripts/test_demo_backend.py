"""The demo backend, as a process of its own: says who it is, and is slow or broken when asked."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/demo_backend.py"


class Backend:
    """A running demo backend."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    env = os.environ | {"BACKEND_RESPONSE": "Hello from backend 7"}
    command = [sys.executable, str(SCRIPT), "--port", "0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Backend(process, int(process.stdout.readline().rsplit(":", 1)[1]))
        process.kill()


def test_says_who_it_is_word_for_word(backend: Backend) -> None:
    assert backend.ask("/") == backend.ask("/apiA") == (200, b"Hello from backend 7")


def test_health_fails_and_recovers_when_told(backend: Backend) -> None:
    assert backend.ask("/health")[0] == 200
    assert backend.ask("/fail")[0] == 405  # a crawler must not bring it down
    assert backend.ask("/fail", "POST")[0] == 200
    assert backend.ask("/health")[0] == 503
    assert backend.ask("/recover", "POST")[0] == 200
    assert backend.ask("/health")[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/status/418", 418, b"418 as asked for\n"),
        ("/apiA/status/503", 503, b"503 as asked for\n"),
        ("/slow?seconds=0.01", 200, b"Hello from backend 7"),
        ("/slow?seconds=soon", 400, b"seconds is not a number\n"),
        ("/bytes/100000", 200, b"x" * 100000),
        ("/stream?count=3&seconds=0", 200, b"tick 1\ntick 2\ntick 3\n"),
    ],
)
def test_answers_as_asked(backend: Backend, path: str, status: int, body: bytes) -> None:
    assert backend.ask(path) == (status, body)


def test_echo_shows_the_request(backend: Backend) -> None:
    status, body = backend.ask("/apiB/echo?x=1", "PUT", b"abc")
    seen = json.loads(body)
    assert (status, seen["method"], seen["target"], seen["body"]) == (200, "PUT", "/apiB/echo?x=1", "abc")
    assert ["Content-Length", "3"] in seen["headers"]


def test_reset_is_a_reset(backend: Backend) -> None:
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        backend.ask("/reset")


def test_a_connection_serves_more_than_one_request(backend: Backend) -> None:
    with socket.create_connection(("127.0.0.1", backend.port), 10) as client, client.makefile("rb") as answers:
        for close in (b"", b"Connection: close\r\n"):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + close + b"\r\n")
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(20) == b"Hello from backend 7"
        assert answers.read() == b""


def test_sigterm_lets_what_is_under_way_finish(backend: Backend) -> None:
    with socket.create_connection(("127.0.0.1", backend.port), 10) as client, client.makefile("rb") as answer:
        client.sendall(b"GET /stream?count=2&seconds=0.2 HTTP/1.1\r\nHost: x\r\n\r\n")
        while answer.readline() != b"tick 1\n":
            pass
        backend.process.send_signal(signal.SIGTERM)
        assert b"tick 2\n" in answer.read()
    assert backend.process.wait(10) == 0


def test_says_which_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = subprocess.run(
            [sys.executable, str(SCRIPT), "--port", port], capture_output=True, text=True, check=False
        )
    assert said.returncode == 1
    assert port in said.stderr
    assert "Traceback" not in said.stderr
