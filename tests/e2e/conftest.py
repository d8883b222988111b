"""What the end-to-end tests share: every one is marked, and backends are stopped whatever happens."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import server
from tests.support.backend import Backend, Step
from tests.support.server import Balancer, pool
from tests.support.tls import Certificate

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this directory."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="module", params=["asgi", "direct"], autouse=True)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both drivers have to pass everything."""
    before, server.driver = server.driver, request.param
    yield server.driver
    server.driver = before


@pytest.fixture
def start() -> Iterator[Callable[..., Backend]]:
    """Start a backend that lives as long as the test."""
    started: list[Backend] = []

    def start_one(*steps: Step, **options: object) -> Backend:
        started.append(Backend(*steps, **options))
        return started[-1]

    yield start_one
    for backend in started:
        backend.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost."""
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """What a module's balancer is told; a module says it by a fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def shared() -> Iterator[Backend]:
    """The module's backend."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def balancer(driver: str, shared: Backend, settings: dict[str, str]) -> Iterator[Balancer]:
    """The module's balancer: everything goes to the module's backend, unless its settings say otherwise."""
    with Balancer({"LB_ROUTES": "/=main", **pool("main", shared), **settings}) as running:
        yield running


@pytest.fixture
def backend(shared: Backend) -> Backend:
    """The module's backend, with nothing seen yet and well-behaved until it is told something else."""
    return shared.answer(b"hello")


@pytest.fixture(scope="module")
def deaf() -> Iterator[int]:
    """A port that never completes a handshake: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()
