"""The addresses of a backend, and only those that it may have."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_network
from typing import Any

import pytest

from app.domain.backend import Backend
from app.domain.errors import AddressProhibited, NameNotResolved
from app.engine import resolve
from app.engine.probe import Probe
from app.engine.resolve import addresses
from app.engine.transport import dial
from app.engine.transport.connections import Connections
from settings.pools import BackendSettings, BackendTlsSettings, PoolSettings
from settings.resilience import HealthSettings
from tests.support.api import eventually
from tests.support.backend import Backend as Server

LOOPBACK = (ip_network("127.0.0.0/8"),)
TEN = (ip_network("10.0.0.0/8"),)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the system says of any name, one time after the other; the last one for ever."""
    said: list[list[str]] = []

    def look(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        found = said.pop(0) if len(said) > 1 else said[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return said


async def test_a_name_is_its_addresses(answers: list[list[str]]) -> None:
    answers.append(["10.0.0.1", "192.0.2.1"])

    assert await addresses("name", 80) == [(socket.AF_INET, "10.0.0.1", 80), (socket.AF_INET, "192.0.2.1", 80)]
    assert await addresses("name", 80, TEN) == [(socket.AF_INET, "10.0.0.1", 80)]


async def test_an_address_is_itself() -> None:
    assert await addresses("10.0.0.1", 80, TEN) == [(socket.AF_INET, "10.0.0.1", 80)]
    assert await addresses("fd00::1", 80) == [(socket.AF_INET6, "fd00::1", 80)]
    with pytest.raises(AddressProhibited, match=r"192\.0\.2\.1 is in no network"):
        await addresses("192.0.2.1", 80, TEN)


async def test_a_name_without_one_it_may_have(answers: list[list[str]]) -> None:
    answers += [["192.0.2.1", "169.254.169.254"], []]

    with pytest.raises(AddressProhibited):
        await addresses("name", 80, TEN)
    with pytest.raises(NameNotResolved, match="not known"):
        await addresses("name", 80, TEN)


async def test_a_name_that_is_bound_anew_leads_nowhere_else(
    answers: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was right when the backend was registered; it is looked at with every answer of the system."""
    monkeypatch.setattr(dial, "ADDRESS_AGE", 0.0)
    with Server() as server:
        spec = BackendSettings(url=server.url.replace("127.0.0.1", "name"), networks=LOOPBACK)
        backend = Backend("a", spec, HealthSettings(kind="tcp"))
        pool = Connections(backend, PoolSettings(), set())
        probe = Probe(backend, HealthSettings(kind="tcp"), BackendTlsSettings())
        answers.append(["127.0.0.1"])
        (await pool.connect()).close()
        assert await probe.ask() == ""
        answers[:] = [["169.254.169.254"]]

        with pytest.raises(AddressProhibited):
            await pool.connect()
        assert "in no network" in await probe.ask()
        await eventually(lambda: len(server.connections) == 2)
        await eventually(lambda: all(connection.closed for connection in server.connections))


async def test_what_is_connected_to_is_what_was_looked_at(
    answers: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is asked for once: between the look and the connection it cannot become another address."""
    asked: list[Any] = []
    loop = asyncio.get_running_loop()
    real = loop.create_connection

    async def connect(factory: Any, host: str, port: int, **options: Any) -> Any:
        asked.append(host)
        return await real(factory, host, port, **options)

    monkeypatch.setattr(loop, "create_connection", connect)
    with Server() as server:
        spec = BackendSettings(url=server.url.replace("127.0.0.1", "name"), networks=LOOPBACK)
        backend = Backend("a", spec, HealthSettings(kind="tcp"))
        answers += [["127.0.0.1"], ["127.0.0.1"], ["169.254.169.254"]]
        (await Connections(backend, PoolSettings(), set()).connect()).close()
        assert await Probe(backend, HealthSettings(kind="tcp"), BackendTlsSettings()).ask() == ""
        await eventually(lambda: len(server.connections) == 2 and all(one.closed for one in server.connections))

    assert asked == ["127.0.0.1", "127.0.0.1"]
    assert resolve.literal("127.0.0.1", 1)


async def test_every_address_is_tried(answers: list[list[str]]) -> None:
    """By requests and by probes: a name may have one that is not listened at, whether networks are named or not."""
    with Server() as server:
        for networks in ((), LOOPBACK):
            spec = BackendSettings(url=server.url.replace("127.0.0.1", "name"), networks=networks)
            backend = Backend("a", spec, HealthSettings(kind="tcp"))
            answers[:] = [["127.0.0.2", "127.0.0.1"]]
            (await Connections(backend, PoolSettings(), set()).connect()).close()
            assert await Probe(backend, HealthSettings(kind="tcp"), BackendTlsSettings()).ask() == ""
        await eventually(lambda: len(server.connections) == 4 and all(one.closed for one in server.connections))
