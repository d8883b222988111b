"""What is sent again when an attempt fails, where to, and what is never sent twice."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support import control
from tests.support.backend import (
    Backend,
    Connection,
    Gate,
    Step,
    answers,
    close,
    pause,
    read_all,
    reply,
    reset,
    send,
    stall,
)  # fmt: skip
from tests.support.raw import Truncated, chunked, request
from tests.support.server import Balancer, pool
from tests.support.until import until

KEPT = 65536
"""Bytes of a body that are kept when nothing is said."""
PATIENT = {"strategy": "first", "breaker__enabled": "false", "retry__min_per_second": "1000", "retry__backoff": "1ms"}
"""The first backend of a pool is always asked first, and what failed before does not count."""


@pytest.fixture(scope="module")
def second() -> Iterator[Backend]:
    """The other backend."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def gone() -> Backend:
    """A backend whose port refuses."""
    backend = Backend()
    backend.stop()
    return backend


@pytest.fixture(scope="module")
def settings(shared: Backend, second: Backend, gone: Backend, deaf: int) -> dict[str, str]:
    """A pool for each case; each has the module's backend first."""
    both = (shared, second)
    broke = {"retry__min_per_second": "0", "retry__budget": "0"}
    watched = {"breaker__enabled": "true", "breaker__consecutive": "0", "breaker__failure_ratio": "0"}
    nobody = f"{gone.url}|id=a,{gone.url}|id=b"
    said = {
        **pool("pair", *both, **PATIENT, timeouts__attempt="300ms", timeouts__total="5s"),
        **pool("gone", gone, second, **PATIENT),
        **pool("deaf", backends=f"http://127.0.0.1:{deaf},{second.url}", **PATIENT, timeouts__connect="300ms"),
        **pool("far", backends=f"http://127.0.0.1:{deaf}", **PATIENT, timeouts__connect="30s"),
        **pool("alone", shared, **PATIENT),
        **pool("off", *both, **PATIENT, retry__attempts=1),
        **pool("often", *both, **PATIENT, retry__attempts=4),
        **pool("other", *both, **PATIENT, retry__status="500"),
        **pool("late", *both, **PATIENT, timeouts__attempt="400ms", timeouts__total="500ms"),
        **pool("poor", *both, **{**PATIENT, **broke}),
        **pool("free", gone, second, **{**PATIENT, **broke, **watched}),
        **pool("dead", backends=nobody, **{**PATIENT, **broke, **watched}),
    }
    names = sorted({key.split("__")[1].lower() for key in said})
    return {**said, **control.OPEN, "LB_ROUTES": "; ".join(f"/{name}={name}" for name in names)}


@pytest.fixture
def other(second: Backend) -> Backend:
    """The other backend, well-behaved and with nothing seen yet."""
    return second.answer(b"other")


def down(status: int = 503, *fields: str) -> Step:
    """Says that it cannot."""
    return answers(reply(b"down", *fields, status=f"{status} No"))


FAILURES: dict[str, list[Step]] = {
    "a reset": [read_all, reset],
    "a close": [read_all, close],
    "502": [down(502)],
    "503": [down(503)],
    "504": [down(504)],
    "no response": [read_all, stall],
}
BEGUN: dict[str, Step] = {
    "half a head": send(b"HTTP/1.1 200 OK\r\nContent-"),
    "no HTTP": send(b"\x00 what is this\r\n\r\n"),
    "half a body": send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
    "a chunk": send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_another_backend_makes_it_good(balancer: Balancer, backend: Backend, other: Backend, failure: str) -> None:
    """
    Traefik 2723: the retry is not for the server that has just failed.

    Caddy 4245: an attempt has a time of its own, which is over long before that of the whole; so there is a failover.
    """
    backend.play(*FAILURES[failure])
    path = f"/pair/{failure.replace(' ', '-')}"

    response = balancer.get(path)

    assert (response.status, response.body) == (200, b"other")
    assert (len(backend.requests), len(other.requests)) == (1, 1)
    record = balancer.record(lambda record: record["path"] == path)
    assert (record["attempts"], record["backend"], record["reason"]) == (2, f"127.0.0.1:{other.port}", "")


@pytest.mark.parametrize("failure", FAILURES)
def test_what_may_have_an_effect_is_not_sent_twice(
    balancer: Balancer, backend: Backend, other: Backend, failure: str
) -> None:
    """Traefik 8990: its backend may have done it, whatever became of the answer."""
    backend.play(*FAILURES[failure])

    response = balancer.get("/pair", method="PATCH" if failure == "503" else "POST", body=b"pay 10")

    assert response.status in (502, 503, 504)
    assert (len(backend.requests), other.requests) == (1, [])


@pytest.mark.parametrize("failure", FAILURES)
def test_unless_its_backend_knows_it_again(balancer: Balancer, backend: Backend, other: Backend, failure: str) -> None:
    """By its `Idempotency-Key`, which goes with it both times."""
    backend.play(*FAILURES[failure])

    response = balancer.get("/pair", "Idempotency-Key: 7", method="POST", body=b"pay 10")

    assert (response.status, response.body) == (200, b"other")
    assert backend.bodies == other.bodies == [b"pay 10"]
    assert [seen.get("idempotency-key") for seen in backend.requests + other.requests] == ["7", "7"]


@pytest.mark.parametrize("route", ["/gone", "/deaf"])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_what_was_not_sent_is_sent_to_another(balancer: Balancer, other: Backend, route: str, method: str) -> None:
    """No connection was made: nothing can have happened, whatever the method; a body that is long goes on whole."""
    body = None if method == "GET" else b"x" * 1_000_000

    response = balancer.get(route, method=method, body=body)

    assert (response.status, response.body) == (200, b"other")
    assert other.bodies == [body or b""]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_idempotent_methods(balancer: Balancer, backend: Backend, other: Backend, method: str) -> None:
    """Those of RFC 9110 section 9.2.2 that are served."""
    backend.play(down())

    assert balancer.get("/pair", method=method).status == 200
    assert [seen.method for seen in backend.requests + other.requests] == [method, method]


@pytest.mark.parametrize("failure", ["503", "a reset"])
@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("size", [1, KEPT, KEPT + 1, 5_000_000])
def test_a_body_is_sent_again_up_to_a_size(
    balancer: Balancer, backend: Backend, other: Backend, size: int, chunks: bool, failure: str
) -> None:
    """64 KiB, whole and framed as it was. Of a longer one the backend's answer stands."""
    backend.play(*FAILURES[failure])
    body = bytes(n % 251 for n in range(size))
    if chunks:
        pieces = chunked(*(body[at : at + 9000] for at in range(0, size, 9000)))
        asked = request("/pair", "Transfer-Encoding: chunked", method="PUT") + pieces
    else:
        asked = request("/pair", method="PUT", body=body)

    response = balancer.ask(asked)

    if size <= KEPT:
        assert (response.status, response.body) == (200, b"other")
        assert other.bodies == [body]
        assert (other.requests[0].get("transfer-encoding") == "chunked") is chunks
    else:
        assert response.status in (502, 503)
        assert other.requests == []


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_rest_of_a_body_goes_to_the_second(
    balancer: Balancer, backend: Backend, other: Backend, framing: str
) -> None:
    """The first has reset in the middle of it: the second gets what the first had, and what comes after that."""

    async def part(c: Connection) -> None:
        await c.head()
        await c.take(3)
        await reset(c)

    backend.play(part)
    with balancer.client() as client:
        if framing == "length":
            client.send(request("/pair", "Content-Length: 6", method="PUT") + b"abc")
        else:
            client.send(request("/pair", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nabc\r\n")
        until(lambda: other.requests, "the second attempt")
        client.send(b"def" if framing == "length" else b"3\r\ndef\r\n0\r\n\r\n")
        response = client.response()

    assert response.body == b"other"
    assert other.bodies == [b"abcdef"]


@pytest.mark.parametrize("begun", BEGUN)
@pytest.mark.parametrize("kept", [False, True], ids=["fresh", "kept"])
def test_a_response_that_has_begun_is_not_begun_again(
    balancer: Balancer, backend: Backend, other: Backend, begun: str, kept: bool
) -> None:
    """What came was the answer, however broken. The client sees that it was cut, or a 502."""
    backend.play(*([read_all, send(reply(b""))] if kept else []), read_all, BEGUN[begun], reset)
    if kept:
        balancer.get("/pair")

    try:
        status = balancer.get("/pair").status
    except Truncated as cut:
        status = cut.status

    assert status in ((200, 502) if "body" in begun or "chunk" in begun else (502,))
    assert (len(backend.requests), other.requests) == (1 + kept, [])


def test_retry_after_is_waited_for(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """Up to a second."""
    backend.play(down(503, "Retry-After: 1"))
    began = time.monotonic()

    assert balancer.get("/pair").body == b"other"
    assert time.monotonic() - began >= 1.0


def test_a_long_retry_after_is_the_clients(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """It gets the answer with its field at once."""
    backend.play(down(503, "Retry-After: 2"))

    response = balancer.get("/pair")

    assert (response.status, response.body, response.get("retry-after")) == (503, b"down", "2")
    assert other.requests == []


def test_who_goes_in_the_pause_is_not_asked_for_again(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """And nothing of it is left in flight."""
    backend.play(down(503, "Retry-After: 1"))
    client = balancer.client()
    client.send(request("/pair/left"))
    until(lambda: backend.requests, "the first attempt")

    client.reset()

    record = balancer.record(lambda record: record["path"] == "/pair/left")
    assert (record["status"], record["attempts"]) == (499, 1)
    assert other.requests == []
    assert control.idle(balancer, "pair")


def test_who_goes_in_the_pause_takes_nobody_with_it(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """The connection that its first attempt came over serves another client by then."""
    gate = Gate()
    failing = reply(b"", "Retry-After: 1", status="503 No")
    backend.play(read_all, send(failing), read_all, pause(gate), send(reply(b"mine")))
    leaving = balancer.client()
    leaving.send(request("/pair/leaving"))
    until(lambda: backend.requests, "the first attempt")
    until(lambda: control.idle(balancer, "pair"), "the pause")
    with balancer.client() as staying:
        staying.send(request("/pair/staying"))
        until(lambda: len(backend.requests) == 2, "another over the same connection")

        leaving.reset()
        balancer.record(lambda record: record["path"] == "/pair/leaving")
        gate.open()

        assert staying.response().body == b"mine"
    assert len(backend.connections) == 1


def test_who_goes_while_we_connect(balancer: Balancer) -> None:
    client = balancer.client()
    client.send(request("/far"))
    until(lambda: control.seen(balancer, "far")["in_flight"] == 1, "the attempt to begin")

    client.reset()

    assert balancer.record(lambda record: record["path"] == "/far")["status"] == 499
    assert control.idle(balancer, "far")


def test_one_backend_alone_is_asked_again(balancer: Balancer, backend: Backend) -> None:
    failed: list[bytes] = []

    def answer(_: object) -> bytes:
        failed.append(b"")
        return reply(b"well") if len(failed) > 1 else reply(b"", status="503 No")

    backend.play(answers(answer))

    assert balancer.get("/alone").body == b"well"


@pytest.mark.parametrize(("route", "counts"), [("/off", (1, 0)), ("/pair", (1, 1)), ("/often", (3, 1))])
def test_so_many_attempts(
    balancer: Balancer, backend: Backend, other: Backend, route: str, counts: tuple[int, int]
) -> None:
    """The answer to the last is what the client gets, as it came."""
    backend.play(down(503, "X-From: first"))
    other.play(down(502, "X-From: second"))

    response = balancer.get(route)

    assert (len(backend.requests), len(other.requests)) == counts
    assert (response.status, response.get("x-from")) == ((502, "second") if route == "/pair" else (503, "first"))


@pytest.mark.parametrize(("status", "again"), [(500, True), (503, False), (200, False)])
def test_the_statuses_are_a_setting(
    balancer: Balancer, backend: Backend, other: Backend, status: int, again: bool
) -> None:
    backend.play(down(status))

    assert balancer.get("/other").status == (200 if again else status)
    assert len(other.requests) == again


@pytest.mark.parametrize("status", [400, 404, 429, 500, 501])
def test_other_statuses_are_answers(balancer: Balancer, backend: Backend, other: Backend, status: int) -> None:
    """What is wrong with the request is so at every backend."""
    backend.play(down(status))

    response = balancer.get("/pair")

    assert (response.status, response.body) == (status, b"down")
    assert other.requests == []


def test_the_time_of_the_whole_ends_it(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """Of 500 ms the first attempt had 400; the second has the rest and not a time of its own."""
    backend.play(read_all, stall)
    other.play(read_all, stall)

    response = balancer.get("/late")

    assert response.status == 504
    assert (len(backend.requests), len(other.requests)) == (1, 1)
    assert balancer.record(lambda record: record["path"] == "/late")["total_ms"] >= 500


def test_nothing_is_left_in_the_budget(balancer: Balancer, backend: Backend, other: Backend) -> None:
    backend.play(down())

    assert balancer.get("/poor").body == b"down"
    assert other.requests == []


def test_where_another_is_well_a_refused_connection_costs_nothing(balancer: Balancer, other: Backend) -> None:
    """Nobody was asked, so nobody is asked twice. Where all refuse, it costs as ever."""
    for method in ("GET", "POST"):
        assert [balancer.get("/free", method=method).status for _ in range(20)] == [200] * 20
        assert [balancer.get(f"/dead/{method}/{n}", method=method).status for n in range(9)] == [502] * 9
        last = balancer.record(lambda record, method=method: record["path"] == f"/dead/{method}/8")
        assert last["attempts"] == 1
