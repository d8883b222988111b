"""Who is let in when there is no room, who has to go, and what is counted."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from typing import Any

import pytest

from app.domain.client import TrustedProxies
from app.edge.crowd import AT_ONCE, Crowd
from app.edge.protocol import EdgeProtocol
from tests.edge.harness import GET, Edge, Transport, early, waits

HEAD = GET[:10]
WAITED = "%d connections are all there is room for: %d that waited were closed"
AT_WORK = "%d connections are all there is room for, and all are at work: no other is taken"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged."""
    caplog.set_level(logging.WARNING, "l7lb.edge")
    return caplog


class Clients:
    """Many connections to one server, in their order."""

    def __init__(self, answer: Any = early, **settings: Any) -> None:
        self.edge = Edge(answer, **settings)
        self.all = [(self.edge.transport, self.edge.protocol)]

    @property
    def crowd(self) -> Crowd:
        return self.edge.link.crowd

    def come(self, number: int = 1, address: str = "192.0.2.1") -> None:
        for _ in range(number):
            self.edge.loop.time.now += 1e-9  # none is as old as another
            self.edge.connect({"sockname": ("127.0.0.1", 8000), "peername": (address, 4711)})
            self.all.append((self.edge.transport, self.edge.protocol))

    async def say(self, data: bytes, *numbers: int) -> None:
        for number in numbers:
            self.all[number][1].data_received(data)
        await self.edge.settle()

    def gone(self) -> list[int]:
        """Those that were cut."""
        return [number for number, (transport, _) in enumerate(self.all) if transport.aborted]

    async def lose(self, *numbers: int) -> None:
        for number in numbers:
            self.all[number][0].closed = True
            self.all[number][0].lose(None)
        await self.edge.settle()


async def test_as_many_as_there_is_room_for() -> None:
    clients = Clients(waits, max_connections=4)
    clients.come(3)
    await clients.say(GET, *range(4))
    assert (clients.crowd.count, clients.gone()) == (4, [])
    clients.come(2)
    assert (clients.crowd.count, clients.gone()) == (4, [4, 5])
    assert clients.crowd.refused == {"full": 2, "client": 0}
    assert clients.crowd.displaced == 0


async def test_who_is_refused_is_not_counted_out() -> None:
    clients = Clients(waits, max_connections=1)
    await clients.say(GET, 0)
    clients.come()
    await clients.edge.settle()
    assert clients.crowd.count == 1
    await clients.lose(0)
    assert clients.crowd.count == 0


@pytest.mark.parametrize(("flag", "room", "most"), [(0, 3, 3), (2, 3, 2), (5, 3, 5), (0, 0, 51)])
async def test_the_settings_go_before_the_descriptors(flag: int, room: int, most: int) -> None:
    """0 is no limit, for either."""
    edge = Edge(waits, max_connections=flag)
    edge.link.crowd.most = room
    for _ in range(50):
        await edge.feed(GET)
        edge.connect()
    assert edge.link.crowd.count == most
    assert edge.link.crowd.refused["full"] == 51 - most


async def test_those_that_wait_give_way(said: pytest.LogCaptureFixture) -> None:
    """The one whose time would be over first goes: here that which is slow with its first head."""
    clients = Clients(max_connections=3, header_timeout=10.0, keep_alive=60.0)
    clients.come(2)
    await clients.say(GET, 0)
    await clients.say(HEAD, 1)
    clients.edge.loop.advance(1.0)
    await clients.say(GET, 2)
    clients.come()
    await clients.edge.settle()
    assert clients.gone() == [1]
    assert (clients.crowd.count, clients.crowd.displaced) == (3, 1)
    assert clients.crowd.refused == {"full": 0, "client": 0}
    assert said.messages == [WAITED % (2, 1)]
    clients.come()
    assert clients.gone() == [1, 3]  # its time is 10 s
    await clients.edge.settle()
    clients.come()
    await clients.edge.settle()
    assert clients.gone() == [1, 3, 4]
    assert clients.crowd.displaced == 3
    assert len(said.messages) == 1  # seldom


async def test_who_is_at_work_stays() -> None:
    clients = Clients(waits, max_connections=2)
    clients.come()
    await clients.say(GET, 0)
    clients.come()
    assert clients.gone() == [1]
    await clients.say(GET[:-2] + b"Content-Length: 5\r\n\r\n", 2)  # half a request counts as work from its body on
    clients.come()
    assert clients.gone() == [1, 3]


@pytest.mark.parametrize(("most", "leave"), [(7, 1), (8, 1), (15, 1), (16, 2), (24, 3), (256, AT_ONCE), (400, AT_ONCE)])
async def test_an_eighth_goes_at_once_up_to_a_bound(most: int, leave: int) -> None:
    """The oldest of them."""
    clients = Clients(max_connections=most)
    clients.come(most)
    assert clients.gone() == list(range(leave))
    assert clients.crowd.displaced == leave
    assert clients.crowd.count == most - leave + 1


async def test_who_has_been_sent_away_is_not_sent_away_again() -> None:
    """Until its end is known it is still among the connections, but not in the crowd."""
    clients = Clients(max_connections=2)
    clients.come(4)
    assert clients.gone() == [0, 1, 2]
    assert (clients.crowd.count, clients.crowd.displaced) == (2, 3)
    await clients.edge.settle()
    assert clients.crowd.count == 2
    assert len(clients.edge.state.connections) == 2


async def test_after_a_look_in_vain_there_is_none_for_a_while(said: pytest.LogCaptureFixture) -> None:
    """So that who is refused costs little; as long as the crowd is large."""
    clients = Clients(waits, max_connections=4)
    clients.come(3)
    await clients.say(GET, *range(4))
    clients.come()
    await clients.edge.settle()
    assert said.messages == [AT_WORK % 4]
    await clients.lose(0)
    clients.come()  # there is room
    clients.come()  # there is one that waits, but nobody looks
    assert clients.gone() == [4, 6]
    clients.edge.loop.time.now += 3.9e-5
    clients.come()
    assert clients.gone() == [4, 6, 7]
    clients.edge.loop.time.now += 0.2e-5
    clients.come()
    assert clients.gone() == [4, 5, 6, 7]
    assert clients.crowd.refused == {"full": 3, "client": 0}
    assert len(said.messages) == 1


class TestOfOneClient:
    async def test_its_share(self, said: pytest.LogCaptureFixture) -> None:
        clients = Clients(max_connections_per_client=2)
        clients.come()
        clients.come(2, "192.0.2.2")
        assert clients.gone() == []
        clients.come()
        assert clients.gone() == [4]
        assert clients.crowd.refused == {"full": 0, "client": 1}
        assert clients.crowd.count == 4
        assert said.messages == ["no other connection of 192.0.2.1 is taken"]
        await clients.lose(0)
        clients.come(2)
        assert clients.gone() == [4, 6]
        await clients.lose(1, 2, 3, 5)
        assert clients.crowd.count == 0
        clients.come(3)
        assert clients.gone() == [4, 6, 9]

    async def test_a_network_is_one_client(self) -> None:
        clients = Clients(max_connections_per_client=2)
        for number in range(3):
            clients.come(1, f"2001:db8::{number}:1")
        clients.come(1, "2001:db8:0:1::1")
        assert clients.gone() == [3]

    async def test_without_a_limit(self) -> None:
        clients = Clients()
        clients.come(20)
        assert (clients.gone(), clients.crowd.count) == ([], 21)
        await clients.lose(*range(21))
        assert clients.crowd.count == 0

    async def test_a_trusted_proxy_has_no_share(self) -> None:
        clients = Clients(max_connections_per_client=1)
        clients.crowd.trusted = TrustedProxies([ip_network("192.0.2.7")])
        clients.come(3, "192.0.2.7")
        assert clients.gone() == []
        clients.come(1)
        assert clients.gone() == [4]
        await clients.lose(1, 2, 3)
        assert clients.crowd.count == 1

    async def test_nor_has_a_unix_socket(self) -> None:
        clients = Clients(max_connections_per_client=1)
        for _ in range(3):
            clients.edge.connect({"sockname": "/run/x.sock", "peername": ""})
        assert clients.crowd.count == 4
        assert clients.crowd.refused == {"full": 0, "client": 0}


async def test_a_unix_socket_that_is_full(said: pytest.LogCaptureFixture) -> None:
    edge = Edge(waits, extra={"sockname": "/run/x.sock", "peername": ""}, max_connections=1)
    await edge.feed(GET)
    edge.connect({"sockname": "/run/x.sock", "peername": ""})
    assert edge.transport.aborted
    assert said.messages == [AT_WORK % 1]


def test_a_new_one_is_empty() -> None:
    crowd = Crowd()
    assert (crowd.count, crowd.most, crowd.displaced, crowd.refused) == (0, 0, 0, {"full": 0, "client": 0})


async def test_it_is_counted_once() -> None:
    """However often its end is told."""
    edge = Edge()
    transport, protocol = edge.transport, edge.protocol
    assert isinstance(transport, Transport)
    assert isinstance(protocol, EdgeProtocol)
    edge.connect()
    protocol.connection_lost(None)
    edge.link.crowd.leave(protocol)
    assert edge.link.crowd.count == 1
