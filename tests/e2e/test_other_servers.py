"""Without our edge the app goes on by ASGI alone, and says what is not in force then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.backend import Backend, Connection, close, read_all, read_head, reply, send, stall
from tests.support.raw import Truncated, request
from tests.support.server import Balancer, pool
from tests.support.until import until


@pytest.fixture(scope="module")
def balancer(shared: Backend) -> Iterator[Balancer]:
    """uvicorn with a protocol class that is not ours."""
    settings = {"LB_ROUTES": "/=main", "LB_EDGE__MAX_BODY": "1MiB", **pool("main", shared)}
    with Balancer(settings, "--http", "h11") as running:
        yield running


def test_it_says_so_once(balancer: Balancer) -> None:
    """What is missing then is listed."""
    assert sum("are not in force" in line for line in balancer.errors) == 1


def test_it_forwards(balancer: Balancer, backend: Backend) -> None:
    """Target and fields as they came."""
    backend.answer(b"hello", "X-A: 1", "X-A: 2")

    response = balancer.get("/a%20b?c", "X-B: 1")

    assert (response.status, response.body) == (200, b"hello")
    assert response.all("x-a") == [b"1", b"2"]
    assert backend.requests[0].target == b"/a%20b?c"
    assert backend.requests[0].get("x-b") == "1"


@pytest.mark.parametrize("size", [3, 300_000])
def test_it_forwards_bodies(balancer: Balancer, backend: Backend, size: int) -> None:
    """Small and streamed."""
    body = b"x" * size

    assert balancer.get("/", f"Content-Length: {size}", method="POST", body=body).status == 200
    assert backend.bodies == [body]


def test_a_body_over_the_limit(balancer: Balancer, backend: Backend) -> None:
    """That limit is the app's."""
    assert balancer.get("/", "Content-Length: 9999999", method="POST").status == 413


def test_a_truncated_response_is_cut(balancer: Balancer, backend: Backend) -> None:
    """No invented end."""
    backend.play(read_head, send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), close)
    with pytest.raises(Truncated):
        balancer.get("/cut")
    until(lambda: any(r["path"] == "/cut" and r["reason"] == "http_response_incomplete" for r in balancer.records()))
    # Only an exception makes such a server cut a connection, and it prints it, with the one that it came from
    until(lambda: any(line.startswith("ConnectionAbortedError") for line in balancer.errors), "what it prints")
    balancer.errors[:] = [line for line in balancer.errors if "Traceback" not in line]


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_a_client_that_leaves_takes_its_attempt_with_it(balancer: Balancer, backend: Backend, answered: bool) -> None:
    """Before the response has begun, and in its middle."""

    async def begin(c: Connection) -> None:
        if answered:
            await c.send(reply(b"x" * 100)[:-50])

    backend.play(read_all, begin, stall)
    client = balancer.client()
    client.send(request("/"))
    until(lambda: backend.requests, "the request to arrive")
    if answered:
        client.head()
    client.socket.close()

    until(lambda: backend.connections[0].closed, "the attempt to be cancelled")
