"""`l7lb serve`: several listeners, each for what it is there for."""

from __future__ import annotations

import re
import ssl
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.backend import Backend
from tests.support.raw import Address, Client, Response, request
from tests.support.server import ROOT, Balancer, pool
from tests.support.tls import Certificate
from tests.support.until import until

SERVE = (sys.executable, "-m", "app", "serve")


@pytest.fixture(scope="module")
def balancer(shared: Backend, certificate: Certificate) -> Iterator[Balancer]:
    """Clients by TLS, their redirect, a local socket, and the control plane on a port of its own."""
    with tempfile.TemporaryDirectory(prefix="lb") as directory:
        binds = [
            "http://127.0.0.1:0?admin",
            "https://127.0.0.1:0",
            "http://127.0.0.1:0?redirect=https",
            f"unix:{directory}/s",
        ]
        flags = [flag for bind in binds for flag in ("--bind", bind)]
        settings = {
            "LB_ROUTES": "/=main", **pool("main", shared), "LB_TLS__HANDSHAKE_TIMEOUT": "300ms",
            "LB_TLS__RELOAD_INTERVAL": "50ms",
        }  # fmt: skip
        keys = ("--cert", str(certificate.cert), "--key", str(certificate.key))
        with Balancer(settings, *flags, *keys, command=SERVE) as running:
            yield running


def address(balancer: Balancer, scheme: str, role: str) -> Address:
    """Where it listens for that, as it said."""
    found = until(lambda: re.search(rf"running on {scheme}:(\S+) \({role}\)", balancer.stderr), f"{scheme} {role}")
    return found[1] if scheme == "unix" else ("127.0.0.1", int(found[1].rpartition(":")[2]))


def ask(balancer: Balancer, scheme: str, role: str, data: bytes, **changes: object) -> Response:
    secure = tls.client(**changes) if scheme == "https" else None
    with Client(address(balancer, scheme, role), tls=secure) as client:
        return client.ask(data)


@pytest.mark.parametrize("scheme", ["https", "unix"])
def test_clients_are_served(balancer: Balancer, backend: Backend, scheme: str) -> None:
    response = ask(balancer, scheme, "app", request("/x"))

    assert (response.status, response.body) == (200, b"hello")
    assert backend.requests[0].get("x-forwarded-proto") == ("https" if scheme == "https" else "http")


def test_plain_http_is_sent_to_tls(balancer: Balancer, backend: Backend) -> None:
    """The same host and target, on the port of the https listener; nothing is forwarded."""
    response = ask(balancer, "http", "redirect", request("/a%20b?c=d", host="lb.test:8080"))

    port = address(balancer, "https", "app")[1]
    assert (response.status, response.get("location")) == (308, f"https://lb.test:{port}/a%20b?c=d")
    assert backend.requests == []


@pytest.mark.parametrize("scheme", ["https", "unix"])
def test_the_control_plane_has_a_door_of_its_own(balancer: Balancer, backend: Backend, scheme: str) -> None:
    """Clients see neither more nor less of it than of any other path that is not there."""
    assert ask(balancer, "http", "admin", request("/-/live")).status == 200
    assert ask(balancer, scheme, "app", request("/-/live")).status == 404
    assert ask(balancer, "http", "admin", request("/x")).status == 404
    assert backend.requests == []


@pytest.mark.parametrize("role", ["admin", "redirect"])
def test_every_listener_refuses_what_the_edge_refuses(balancer: Balancer, role: str) -> None:
    assert ask(balancer, "http", role, b"GET /-/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status == 400


def test_only_good_suites(balancer: Balancer) -> None:
    """The same policy as under uvicorn's own flags."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(balancer, "https", "app", b"", ciphers="ECDHE+AES:!AESGCM:!AESCCM", maximum_version=ssl.TLSVersion.TLSv1_2)


def test_a_handshake_that_does_not_come_ends(balancer: Balancer) -> None:
    with Client(address(balancer, "https", "app")) as client:
        assert client.rest() == b""


def test_a_new_certificate_is_served(balancer: Balancer, certificate: Certificate) -> None:
    def serial() -> bytes:
        with Client(address(balancer, "https", "app"), tls=tls.client()) as client:
            return client.socket.getpeercert(binary_form=True)

    old = serial()
    certificate.renew()
    until(lambda: serial() != old, "the new certificate")


def test_it_is_all_logged(balancer: Balancer, backend: Backend) -> None:
    ask(balancer, "http", "redirect", request("/logged"))

    assert balancer.record(lambda record: record["path"] == "/logged")["status"] == 308


@pytest.mark.parametrize(
    ("flags", "status", "word"),
    [
        (["--bind", "ftp://127.0.0.1:0"], 2, "https://HOST:PORT"),
        (["--bind", "https://127.0.0.1:0"], 2, "--cert"),
        (["--bind", "http://127.0.0.1:0?redirect=https"], 2, "https://"),
        (["--bind", "http://127.0.0.1"], 2, "port"),
        (["--bind", "https://127.0.0.1:0", "--cert", str(ROOT / "pyproject.toml")], 2, "certificate"),
        (["--bind", "http://192.0.2.1:80"], 1, "192.0.2.1"),
    ],
)
def test_what_cannot_be_served_is_said(flags: list[str], status: int, word: str) -> None:
    """What to write instead, never a traceback."""
    with (
        pytest.raises(AssertionError) as failed,
        Balancer({"LB_POOLS__A__BACKENDS": "http://h:1"}, *flags, command=SERVE),
    ):
        pass

    said = str(failed.value)
    assert f"ended with {status}" in said
    assert word in said
    assert "Traceback" not in said


def test_a_taken_port_is_named(start) -> None:
    taken = start().port
    with pytest.raises(AssertionError) as failed:
        Balancer({}, "--bind", f"http://127.0.0.1:{taken}", command=SERVE)

    assert str(taken) in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_the_socket_is_gone_afterwards(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lb") as directory:
        path = Path(directory) / "s"
        with (
            Backend() as backend,
            Balancer(
                {"LB_ROUTES": "/=main", **pool("main", backend)}, "--bind", f"unix:{path}", command=SERVE, ready=False
            ),
        ):
            assert path.is_socket()
        assert not path.exists()
