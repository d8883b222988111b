"""On a unix socket the peer has no address: it is the socket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import Backend
from tests.support.server import Balancer, pool


@pytest.fixture(scope="module")
def balancer(shared: Backend) -> Iterator[Balancer]:
    """A short path: the kernel takes about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="lb") as directory:
        settings = {"LB_ROUTES": "/=main", **pool("main", shared)}
        with Balancer(settings, "--uds", str(Path(directory) / "s")) as running:
            yield running


def test_it_serves(balancer: Balancer, backend: Backend) -> None:
    assert [balancer.get("/").body for _ in range(10)] == [b"hello"] * 10


def test_the_peer_is_the_socket(balancer: Balancer, backend: Backend) -> None:
    balancer.get("/peer")

    assert balancer.record(lambda record: record["path"] == "/peer")["client"] == "unix"


def test_it_refuses_as_everywhere(balancer: Balancer, backend: Backend) -> None:
    assert balancer.ask(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status == 400
    assert backend.requests == []
