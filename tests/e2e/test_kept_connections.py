"""Kept connections to backends: the race between our next request and the backend's closing is never the client's."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.backend import (
    Backend,
    Connection,
    Gate,
    Step,
    answers,
    close,
    forever,
    pause,
    read_all,
    reply,
    reset,
    script,
    send,
)
from tests.support.load import load
from tests.support.raw import request
from tests.support.server import Balancer, pool
from tests.support.until import until


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    """One attempt at each request: what is sent again here is no retry, and needs none. `/again` has retries."""
    return {
        "LB_ROUTES": "/=main; /again=again",
        **pool("main", shared, retry__attempts="1"),
        **pool("again", shared),
    }


async def impatient(c: Connection) -> None:
    """A backend that closes a connection that has served after 50 ms without a request."""
    await c.head()
    while True:
        await c.body()
        await c.send(reply(b"hello"))
        try:
            await asyncio.wait_for(c.head(), 0.05)
        except TimeoutError:
            return


@pytest.mark.slow
def test_ten_thousand_gets_against_an_impatient_backend(balancer: Balancer, backend: Backend) -> None:
    """Clients that pause for about as long as the backend waits: no 502, and nothing but 200."""
    backend.play(impatient)
    rng = random.Random(7)

    async def hesitate() -> None:
        await asyncio.sleep(rng.uniform(0.04, 0.06))

    counts = asyncio.run(load(balancer.port, clients=100, requests=10_000, pause=hesitate))

    assert dict(counts) == {200: 10_000}
    assert len(backend.connections) > 100, "the backend did close"


def kept(balancer: Balancer, backend: Backend, *then: Step, path: str = "/") -> None:
    """One kept connection, on which the backend does *then* as soon as the next request is there."""
    backend.play(read_all, send(reply(b"first")), read_all, *then)
    assert balancer.get(path).body == b"first"
    backend.script = answers(reply(b"second"))


@pytest.mark.parametrize("step", [close, reset])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_an_idempotent_request_is_sent_again(balancer: Balancer, backend: Backend, method: str, step: Step) -> None:
    """Not one byte came back on a connection that had served before: it was stale (RFC 9112 section 9.3.1)."""
    kept(balancer, backend, step)

    response = balancer.get("/", method=method)

    assert (200, b"" if method == "HEAD" else b"second") == (response.status, response.body)
    assert len(backend.connections) == 2


@pytest.mark.parametrize("path", ["/", "/again"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_other_requests_are_not(balancer: Balancer, backend: Backend, method: str, path: str) -> None:
    """The backend has read it and may have acted on it."""
    kept(balancer, backend, reset, path=path)

    assert balancer.get(path, method=method, body=b"pay").status == 502
    assert len(backend.requests) == 2, "the first one, and this one once"


@pytest.mark.parametrize(("path", "attempts"), [("/", 1), ("/again", 2)])
def test_a_fresh_connection_is_not_tried_again(balancer: Balancer, backend: Backend, path: str, attempts: int) -> None:
    """On a first request there is no race to lose: a backend that closes means it. Each attempt has its own."""
    backend.play(read_all, close)

    assert balancer.get(path).status == 502
    assert len(backend.connections) == attempts


@pytest.mark.parametrize(("path", "attempts"), [("/", 1), ("/again", 2)])
def test_nor_is_that_which_took_the_place_of_a_stale_one(
    balancer: Balancer, backend: Backend, path: str, attempts: int
) -> None:
    """It is a fresh one, whatever its attempt began with."""
    kept(balancer, backend, close, path=path)
    backend.script = script(read_all, close)

    assert balancer.get(path).status == 502
    assert [len(c.requests) for c in backend.connections] == [2, *[1] * attempts]


@pytest.mark.parametrize("path", ["/", "/again"])
@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"])
def test_a_response_that_has_begun_is_not_asked_for_again(
    balancer: Balancer, backend: Backend, begun: bytes, path: str
) -> None:
    """Not over another connection, and not by another attempt."""
    kept(balancer, backend, send(begun), close, path=path)

    response = balancer.get(path)

    assert response.status == 502
    assert "error=connection_terminated" in (response.get("proxy-status") or "")
    assert [len(c.requests) for c in backend.connections] == [2]


def test_a_connection_that_was_closed_while_idle_is_not_used(balancer: Balancer, backend: Backend) -> None:
    """Even for POST: it is seen before, and a fresh one is made."""
    gate = Gate()
    backend.play(read_all, send(reply(b"first")), pause(gate), close)
    balancer.get("/")
    gate.open()
    until(lambda: backend.connections[0].closed, "both sides to close")
    backend.script = answers(reply(b"second"))

    assert balancer.get("/", method="POST", body=b"pay").body == b"second"


def test_the_most_recent_connection_is_used_first(balancer: Balancer, backend: Backend) -> None:
    """LIFO: the others may grow old and be closed, instead of all being kept just warm enough to be stale."""
    gate = Gate()
    backend.play(forever(read_all, pause(gate), send(reply(b"ok"))))
    clients = [balancer.client() for _ in range(5)]
    for client in clients:
        client.send(request("/"))
    until(lambda: len(backend.requests) == 5, "five connections")
    gate.open()
    for client in clients:
        client.response()
        client.socket.close()

    for _ in range(10):
        balancer.get("/")

    assert sorted(len(c.requests) for c in backend.connections) == [1, 1, 1, 1, 11]


def test_a_body_that_was_streamed_is_not_sent_again(balancer: Balancer, backend: Backend) -> None:
    """PUT is idempotent, but its body is gone: 5 MiB were never kept. Refused, or sent whole; never a part."""
    kept(balancer, backend, reset)

    response = balancer.get("/", method="PUT", body=b"x" * 5_000_000)

    assert response.status in (200, 502)
    assert all(len(body) in (0, 5_000_000) for body in backend.bodies)
