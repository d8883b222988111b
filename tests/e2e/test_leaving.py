"""A client that goes away takes its attempt with it."""

from __future__ import annotations

import pytest

from tests.support.backend import Backend, Connection, read_all, read_head, reply, send, stall
from tests.support.raw import Client, request
from tests.support.server import Balancer, balancing
from tests.support.until import until


def leave(client: Client, how: str) -> None:
    client.reset() if how == "reset" else client.socket.close()


@pytest.mark.parametrize("how", ["reset", "close"])
def test_while_the_backend_thinks(balancer: Balancer, backend: Backend, how: str) -> None:
    """The backend sees its connection closed and may stop working; the log says 499."""
    backend.play(read_all, stall)
    client = balancer.client()
    client.send(request(f"/thinks/{how}"))
    until(lambda: backend.requests, "the request to arrive")

    leave(client, how)

    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")
    assert balancer.record(lambda record: record["path"] == f"/thinks/{how}")["status"] == 499


@pytest.mark.parametrize("how", ["reset", "close"])
def test_in_the_middle_of_a_download(balancer: Balancer, backend: Backend, how: str) -> None:
    async def endless(c: Connection) -> None:
        await c.head()
        await c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await c.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    backend.play(endless)
    client = balancer.client()
    client.send(request("/"))
    client.head()

    leave(client, how)

    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")


def test_between_two_pieces_of_a_download(balancer: Balancer, backend: Backend) -> None:
    """Nothing is being written: only watching the client can tell."""
    backend.play(read_all, send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), stall)
    client = balancer.client()
    client.send(request("/"))
    client.head()

    client.socket.close()

    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_in_the_middle_of_an_upload(balancer: Balancer, backend: Backend, how: str, framing: str) -> None:
    """The backend never sees an end of the body."""
    backend.play(read_head, stall)
    client = balancer.client()
    client.send(request("/", framing, method="POST") + b"3\r\nabc\r\n")
    until(lambda: backend.requests, "the head to arrive")

    leave(client, how)

    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")
    assert not backend.connections[0].received.endswith(b"0\r\n\r\n")


def test_with_a_second_request_on_its_way(balancer: Balancer, backend: Backend) -> None:
    """Pipelined bytes behind the request do not hide that the client has gone."""
    backend.play(read_all, stall)
    client = balancer.client()
    client.send(request("/first") + request("/second"))
    until(lambda: backend.requests, "the request to arrive")

    client.reset()

    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")
    assert [seen.target for seen in backend.requests] == [b"/first"]


def test_right_after_asking(balancer: Balancer, backend: Backend) -> None:
    """However early the reset comes, the next client is served."""
    for _ in range(50):
        client = balancer.client()
        client.send(request("/"))
        client.reset()

    assert balancer.get("/").status == 200


def test_a_half_closed_client_is_served_where_that_is_wanted() -> None:
    """`printf ... | nc` closes its sending side after the request; `edge.half_close` lets it have its answer."""
    with Backend() as backend, balancing(backend, edge__half_close="true") as balancer, balancer.client() as client:
        backend.answer(b"hello")
        client.send(request("/", "Connection: close"))
        client.finish()
        assert client.response().body == b"hello"


def test_a_half_closed_client_still_gets_a_quick_refusal(balancer: Balancer) -> None:
    """What needs no backend is answered before the end of the client's side is looked at, or not at all: no 500."""
    with balancer.client() as client:
        client.send(b"GARBAGE\r\n\r\n")
        client.finish()
        assert client.rest()[:13] in (b"", b"HTTP/1.1 400 ")


def test_the_others_do_not_notice(balancer: Balancer, backend: Backend) -> None:
    """Twenty leave while one stays."""
    backend.play(read_all, stall)
    leaving = [balancer.client() for _ in range(20)]
    for client in leaving:
        client.send(request("/"))
    until(lambda: len(backend.requests) == 20, "all requests to arrive")
    backend.script = _answer
    with balancer.client() as staying:
        for client in leaving:
            client.reset()
        assert staying.ask(request("/")).body == b"hello"
    until(lambda: sum(c.closed for c in backend.connections) >= 20, "twenty attempts to be cancelled")


async def _answer(c: Connection) -> None:
    await read_all(c)
    await c.send(reply(b"hello"))
