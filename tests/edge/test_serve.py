"""`l7lb serve`: several listeners, each for its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import tls
from tests.support.backend import Backend
from tests.support.raw import Client, request
from tests.support.server import ROOT, Balancer, pool
from tests.support.until import until

SERVE = (sys.executable, "-m", "app", "serve")


class Served(Balancer):
    """`l7lb serve` with a listener of each kind."""

    def __init__(self, backend: Backend, directory: Path, driver: str) -> None:
        self.certificate = tls.Certificate(directory)
        self.unix = str(directory / "lb.sock")
        binds = [
            "https://127.0.0.1:0", "http://127.0.0.1:0?redirect=https", f"unix:{self.unix}", "http://127.0.0.1:0?admin"
        ]  # fmt: skip
        flags = [flag for bind in binds for flag in ("--bind", bind)]
        files = ("--cert", str(self.certificate.cert), "--key", str(self.certificate.key))
        settings = {"LB_ROUTES": "/=main", "LB_TLS__HANDSHAKE_TIMEOUT": "300ms", "LB_EDGE__DRIVER": driver}
        settings |= pool("main", backend)
        super().__init__(settings, *flags, *files, command=SERVE, ready=False)
        until(lambda: "(admin)" in self.stderr, "the last listener")

    def at(self, role: str, **options: Any) -> Client:
        line = next(line for line in self.errors if f"({role})" in line)
        port = int(line.rsplit(":", 1)[1].split()[0])
        return Client(("127.0.0.1", port), **options)


@pytest.fixture(scope="module", params=["asgi", "direct"])
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Served]:
    """On both drivers: once the direct one went round what a listener had around the app."""
    with Backend() as backend, Served(backend, tmp_path_factory.mktemp("serve"), request.param) as balancer:
        yield balancer
    assert not Path(balancer.unix).exists()


@pytest.mark.e2e
class TestServe:
    def test_https(self, served: Served) -> None:
        with served.at("app", tls=tls.client()) as client:
            assert client.ask(request("/x")).status == 200
            assert client.ask(request("/-/live")).status == 404  # a listener of its own is for that

    def test_redirect(self, served: Served) -> None:
        with served.at("redirect") as client, served.at("app") as secure:
            response = client.ask(request("/x?y", host="lb.test:80"))
            port = secure.socket.getpeername()[1]
        assert (response.status, response.get("location")) == (308, f"https://lb.test:{port}/x?y")
        assert served.record(lambda record: record["status"] == 308)["path"] == "/x"

    def test_unix(self, served: Served) -> None:
        with Client(served.unix) as client:
            assert client.ask(request("/unix")).status == 200
        assert served.record(lambda record: record["path"] == "/unix")["client"] == "unix"

    def test_admin(self, served: Served) -> None:
        with served.at("admin") as client:
            assert client.ask(request("/-/live")).status == 200
            assert client.ask(request("/x")).status == 404

    def test_the_edge_is_on_all_of_them(self, served: Served) -> None:
        for role in ("redirect", "admin"):
            with served.at(role) as client:
                assert client.ask(b"GET / HTTP/1.1\r\n\r\n").status == 400

    def test_a_handshake_that_does_not_come_is_ended(self, served: Served) -> None:
        with served.at("app") as client:
            assert client.rest() == b""


@pytest.mark.e2e
class TestRefusesToServe:
    def run(self, *flags: str) -> tuple[int, str]:
        done = subprocess.run([*SERVE, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    def test_a_taken_port_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"http://127.0.0.1:{taken.getsockname()[1]}"
            status, said = self.run("--bind", address)
        assert status == 1
        assert address in said

    @pytest.mark.parametrize(
        ("flags", "word"),
        [
            ((), "--bind"),
            (("--bind", "nonsense"), "https://HOST:PORT"),
            (("--bind", "https://127.0.0.1:0"), "--cert"),
            (("--bind", "https://127.0.0.1:0", "--cert", "/nowhere.pem"), "/nowhere.pem"),
            (("--bind", "http://127.0.0.1:0?redirect=https"), "https://"),
        ],
    )
    def test_wrong_arguments(self, flags: tuple[str, ...], word: str) -> None:
        status, said = self.run(*flags)
        assert status == 2
        assert word in said
