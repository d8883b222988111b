"""Without our edge the app goes on by ASGI alone, and says what is not in force then."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from tests.support.backend import Backend, Connection, answers, close, read_all, read_head, reply, send, stall
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


def test_it_has_policies(shared: Backend, backend: Backend) -> None:
    """A question to another server, a body behind it, a key in the query, a page, a compressed response."""
    with Backend(answers(reply(b"", "Remote-User: alice"))) as login:
        group = {
            "pool": "main",
            "api_key__keys": "alice=a-key-that-is-long",
            "api_key__query": "key",
            "forward_auth__pool": "login",
            "forward_auth__backend_fields": "Remote-User",
            "compression__min_size": "1B",
            "errors__texts": "4xx=<h1>{status}</h1>",
        }
        settings = {f"LB_GROUPS__ALL__{key}".upper(): value for key, value in group.items()}
        with Balancer({**settings, **pool("main", shared), **pool("login", login)}, "--http", "h11") as balancer:
            backend.answer(b"hello" * 100, "Content-Type: text/plain")
            response = balancer.get(
                "/a?key=a-key-that-is-long", "Accept-Encoding: gzip", "Remote-User: root", method="POST", body=b"body"
            )
            refused = balancer.get("/a")

        assert (response.status, gzip.decompress(response.body)) == (200, b"hello" * 100)
        assert (refused.status, refused.body) == (401, b"<h1>401</h1>")
        assert (backend.bodies, backend.requests[0].get("remote-user")) == ([b"body"], "alice")
        assert login.requests[0].get("x-forwarded-uri") == "/a?key=a-key-that-is-long"


def test_a_body_over_the_limit(balancer: Balancer, backend: Backend) -> None:
    """That limit is the app's."""
    assert balancer.get("/", "Content-Length: 9999999", method="POST").status == 413


def test_a_truncated_response_is_cut(balancer: Balancer, backend: Backend) -> None:
    """No invented end."""
    backend.play(read_head, send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), close)
    logged, printed = len(balancer.records()), len(balancer.errors)  # the driver before has been here
    with pytest.raises(Truncated):
        balancer.get("/cut")
    until(
        lambda: any(
            r["path"] == "/cut" and r["reason"] == "http_response_incomplete" for r in balancer.records()[logged:]
        )
    )
    # Only an exception makes such a server cut a connection, and it prints it, with the one that it came from
    until(
        lambda: any(line.startswith("ConnectionAbortedError") for line in balancer.errors[printed:]), "what it prints"
    )
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

    until(lambda: all(c.closed for c in backend.connections), "the attempt to be cancelled")
