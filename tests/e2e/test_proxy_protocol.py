"""Proxies in front of us that say who the client is before the connection begins."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.domain.test_proxy_header import tcp4, tcp6
from tests.support import tls
from tests.support.backend import Backend
from tests.support.raw import Client, request
from tests.support.server import Balancer, pool
from tests.support.tls import Certificate
from tests.support.until import until

SERVE = (sys.executable, "-m", "app", "serve")
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n"


@pytest.fixture(scope="module", params=["http", "https"])
def balancer(request: pytest.FixtureRequest, shared: Backend, certificate: Certificate) -> Iterator[Balancer]:
    """Trusts whoever comes from 127.0.0.1, and nobody else."""
    settings = {"LB_ROUTES": "/=main", **pool("main", shared), "LB_TLS__HANDSHAKE_TIMEOUT": "300ms"}
    flags = ["--bind", f"{request.param}://127.0.0.1:0?proxy=127.0.0.1/32"]
    if request.param == "https":
        flags += ["--cert", str(certificate.cert), "--key", str(certificate.key)]
    with Balancer(settings, *flags, command=SERVE, ready=False) as running:
        running.tls = tls.client() if request.param == "https" else None
        yield running


def opened(balancer: Balancer, *pieces: bytes, source: str = "127.0.0.1") -> Client:
    """A connection that begins with *pieces*, each in a packet of its own."""
    return balancer.client(before=pieces, source=source)


def told(backend: Backend) -> str | None:
    return backend.requests[-1].get("x-forwarded-for")


@pytest.mark.parametrize("header", [LINE, tcp4(), tcp4(more=b"\x04\x00\x03abc")])
def test_the_client_is_whom_the_proxy_names(balancer: Balancer, backend: Backend, header: bytes) -> None:
    """For the backend, the log and the limits; on every request of the connection."""
    with opened(balancer, header) as client:
        for _ in range(2):
            assert client.ask(request("/")).body == b"hello"
            assert told(backend) == "192.0.2.1"
    assert balancer.record(lambda record: record["client"] == "192.0.2.1")


def test_a_client_of_the_newer_internet(balancer: Balancer, backend: Backend) -> None:
    with opened(balancer, tcp6()) as client:
        assert client.ask(request("/")).status == 200
    assert told(backend) == "2001:db8::1"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", tcp4()[:12] + b"\x20\x00\x00\x00"])
def test_the_proxy_may_speak_for_itself(balancer: Balancer, backend: Backend, header: bytes) -> None:
    """A health check of its own, say."""
    with opened(balancer, header) as client:
        assert client.ask(request("/")).status == 200
    assert told(backend) == "127.0.0.1"


@pytest.mark.parametrize("header", [LINE, tcp4()])
def test_it_may_come_byte_by_byte(balancer: Balancer, backend: Backend, header: bytes) -> None:
    with opened(balancer, *(header[i : i + 1] for i in range(len(header)))) as client:
        assert client.ask(request("/")).status == 200
    assert told(backend) == "192.0.2.1"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: lb.test\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP9 x\r\n",
        tcp4()[:-1],
        b"PROXY",
        b"",
    ],
)
def test_without_a_header_the_connection_is_closed(balancer: Balancer, backend: Backend, data: bytes) -> None:
    """At once, or when its time is over; nothing is answered, and nothing reaches a backend."""
    before = len(backend.requests)
    with socket.create_connection(balancer.address, 10) as sock, suppress(ConnectionResetError):
        sock.sendall(data)

        assert sock.recv(1000) == b""  # or a reset, where there was more than was read

    assert len(backend.requests) == before


def test_nobody_else_is_believed(balancer: Balancer, backend: Backend) -> None:
    """From another address a header is no HTTP, and TLS or HTTP begin at once."""
    with opened(balancer, source="127.0.0.2") as client:
        assert client.ask(request("/")).status == 200
    assert told(backend) == "127.0.0.2"
    if balancer.tls is None:
        with opened(balancer, LINE, source="127.0.0.2") as client:
            assert client.ask(request("/")).status == 400


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed")
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
def test_what_haproxy_sends(balancer: Balancer, backend: Backend, send: str, tmp_path: Path) -> None:
    """In TCP mode, so that the TLS of the client is ours to end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        f"listen l\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{balancer.port} {send}\n"
    )
    process = subprocess.Popen([shutil.which("haproxy") or "", "-f", str(config), "-db"], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), "HAProxy")
        with Client(("127.0.0.1", port), tls=balancer.tls, source="127.0.0.9") as client:
            assert client.ask(request("/")).status == 200
        assert told(backend) == "127.0.0.9"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
