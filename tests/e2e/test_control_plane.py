"""The control plane: alive, ready, and with a token what is going on."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from typing import Any

import pytest

from tests.support.backend import Backend, Gate, answers, forever, pause, read_all, reply, send
from tests.support.exposition import parse
from tests.support.load import load
from tests.support.raw import Client, Response, request
from tests.support.server import Balancer, balancing, pool
from tests.support.until import until

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"LB_ADMIN__TOKEN": TOKEN}


def ask(balancer: Balancer, path: str, token: str = TOKEN) -> Response:
    return balancer.get(f"/-/{path}", f"Authorization: Bearer {token}")


def change(balancer: Balancer, backend: Backend, **said: object) -> dict[str, Any]:
    """Have *backend* changed, and what it then is."""
    response = tell(balancer, backend, "PATCH", json.dumps(said).encode())
    assert response.status == 200, response.body
    found: dict[str, Any] = json.loads(response.body)
    return found


def tell(balancer: Balancer, backend: Backend, method: str, body: bytes | None = None) -> Response:
    path = f"/-/pools/main/backends/127.0.0.1:{backend.port}"
    return balancer.get(path, f"Authorization: Bearer {TOKEN}", method=method, body=body)


def metrics(balancer: Balancer) -> dict[str, float]:
    """What a scrape says: name and label values -> number."""
    return {
        " ".join([name, *(value for _, value in labels)]): number
        for family in parse(ask(balancer, "metrics").body.decode()).values()
        for (name, labels), number in family.samples.items()
    }


@pytest.mark.parametrize("path", ["/-/live", "/-/ready"])
def test_anybody_may_ask_whether_it_lives(balancer: Balancer, backend: Backend, path: str) -> None:
    assert balancer.get(path).status == 200
    assert backend.requests == []


def test_head_of_it(balancer: Balancer) -> None:
    """As `wget --spider` and some probes ask."""
    assert balancer.get("/-/live", method="HEAD")[0:4:3] == (200, b"")


@pytest.mark.parametrize("path", ["config", "pools", "routes"])
def test_with_the_token_there_is_more(balancer: Balancer, path: str) -> None:
    response = ask(balancer, path)

    assert (response.status, response.get("content-type")) == (200, "application/json")
    assert json.loads(response.body)
    assert TOKEN.encode() not in response.body


def test_metrics(balancer: Balancer, backend: Backend) -> None:
    balancer.get("/")

    response = ask(balancer, "metrics")

    assert (response.status, (response.get("content-type") or "").startswith("text/plain")) == (200, True)
    assert b"# TYPE " in response.body


def test_what_the_edge_refuses_is_counted(balancer: Balancer, backend: Backend) -> None:
    """Nothing is answered without a count."""

    def counted() -> bytes:
        return b"\n".join(
            line for line in ask(balancer, "metrics").body.splitlines() if b'"400"' in line or b'"4xx"' in line
        )

    before = counted()
    balancer.ask(b"GARBAGE\r\n\r\n")

    until(lambda: counted() != before, "the count to rise")


def stranger(balancer: Balancer) -> Client:
    """One who has not been here before: who guesses too often is not listened to for a while."""
    return balancer.client(source=f"127.0.1.{next(strangers)}")


strangers = itertools.cycle(range(1, 255))


@pytest.mark.parametrize("path", ["config", "pools", "routes", "metrics"])
@pytest.mark.parametrize(
    "field",
    [
        [],
        ["Authorization: Bearer wrong"],
        [f"Authorization: Basic {TOKEN}"],
        [f"X: {TOKEN}"],
        ["Authorization: Bearer"],
        ["Authorization: Bearer \xff"],
    ],
)
def test_without_it_401(balancer: Balancer, path: str, field: list[str]) -> None:
    with stranger(balancer) as client:
        response = client.ask(request(f"/-/{path}", *field))

    assert response.status == 401
    assert "Bearer" in (response.get("www-authenticate") or "")


@pytest.mark.parametrize("path", ["/-/", "/-/nothing", "/-/live/x"])
def test_unknown_paths_of_it_are_not_forwarded(balancer: Balancer, backend: Backend, path: str) -> None:
    assert balancer.get(path).status == 404
    assert backend.requests == []


@pytest.mark.parametrize("path", ["/-x", "/x/-/live"])
def test_what_only_looks_like_it_is_forwarded(balancer: Balancer, backend: Backend, path: str) -> None:
    assert balancer.get(path).status == 200
    assert [seen.target for seen in backend.requests] == [path.encode()]


def test_the_bare_prefix_is_somebodys(balancer: Balancer, backend: Backend) -> None:
    """A control plane's 404 or redirect, or a request like any other."""
    assert balancer.get("/-").status in (200, 307, 308, 404)


@pytest.mark.parametrize("path", ["//-/config", "/%2d/config", "/%2D/config", "/-//config", "/x/..%2f-/config"])
def test_no_back_door(balancer: Balancer, backend: Backend, path: str) -> None:
    """Other spellings of its paths neither open it nor reach a backend as something else that it is not."""
    assert b'"settings"' not in balancer.get(path).body


def test_without_a_token_there_is_no_more(start) -> None:
    with balancing(start()) as balancer:
        assert [balancer.get(f"/-/{path}").status for path in ("config", "pools", "routes", "metrics")] == [404] * 4


def test_the_prefix_is_a_setting(start) -> None:
    """Where it was, requests are forwarded."""
    backend = start().answer(b"mine")
    with Balancer(
        {"LB_ROUTES": "/=main", **pool("main", backend), "LB_ADMIN__PREFIX": "/inside"}, ready=False
    ) as balancer:
        until(lambda: balancer.get("/inside/ready").status == 200, "readiness")
        assert balancer.get("/-/live").body == b"mine"


def test_pools_show_why_a_backend_is_absent(start) -> None:
    gone = Backend()
    gone.stop()
    settings = {
        "LB_ADMIN__TOKEN": TOKEN, "LB_ROUTES": "/=main",
        **pool("main", start(), gone, health__interval="100ms", health__timeout="100ms"),
    }  # fmt: skip
    with Balancer(settings) as balancer:
        until(lambda: "down" in str(json.loads(ask(balancer, "pools").body)["main"]).lower(), "the backend to be down")


# Changes at run time


def test_drain_and_remove_under_load(start) -> None:
    """None fails, whatever is taken away; who is drained gets nothing new, and is read no more.

    What was counted of it is told for some minutes yet (tests/engine/telemetry/test_instruments.py).
    """
    one, two, three = start(), start(), start()
    over = threading.Event()
    counts: dict[int | str, int] = {}
    with balancing(one, two, three, admin__token=TOKEN) as balancer:

        def run() -> None:
            counts.update(asyncio.run(load(balancer.port, clients=8, requests=10**9, stop=over.is_set)))

        asking = threading.Thread(target=run)
        asking.start()
        try:
            for leaving in (one, two):
                until(lambda gone=leaving: len(gone.requests) > 50, "requests at it")
                assert tell(balancer, leaving, "DELETE").status == 409
                assert change(balancer, leaving, draining=True)["absence"] == "draining"
                until(lambda gone=leaving: tell(balancer, gone, "DELETE").status == 204, "it to be idle")
                had, others = len(leaving.requests), len(three.requests)
                until(lambda seen=others: len(three.requests) > seen + 50, "requests at the others")
                assert len(leaving.requests) == had
                assert tell(balancer, leaving, "GET").status == 404
        finally:
            over.set()
            asking.join()

        assert set(counts) == {200}
        found = metrics(balancer)
        assert {name.split()[2] for name in found if name.startswith("l7lb_backend_up")} == {f"127.0.0.1:{three.port}"}
        backends = json.loads(ask(balancer, "pools").body)["main"]["backends"]
        assert [backend["url"] for backend in backends] == [three.url]


def test_one_that_drains_finishes_what_it_has(start) -> None:
    """And is not removed before; what a download still needs is there."""
    gate = Gate()
    slow = start(forever(read_all, send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"), pause(gate), send(b"bc")))
    other = start(answers(reply(b"other")))
    with (
        balancing(slow, other, admin__token=TOKEN, pools__main__strategy="first") as balancer,
        balancer.client() as client,
    ):
        client.send(request("/"))
        until(lambda: slow.requests, "the download to begin")

        assert change(balancer, slow, draining=True)["in_flight"] == 1
        refused = tell(balancer, slow, "DELETE")
        assert (refused.status, refused.get("retry-after")) == (409, "1")
        assert {balancer.get("/").body for _ in range(4)} == {b"other"}

        gate.open()
        assert client.response().body == b"abc"
        until(lambda: tell(balancer, slow, "DELETE").status == 204, "it to be idle")


def test_undrained_it_is_back(start) -> None:
    one, two = start(), start()
    with balancing(one, two, admin__token=TOKEN) as balancer:
        change(balancer, one, draining=True)
        assert {balancer.get("/").body for _ in range(6)} == {two.name.encode()}

        change(balancer, one, draining=False)
        assert {balancer.get("/").body for _ in range(6)} == {one.name.encode(), two.name.encode()}


def test_a_weight_holds_at_once(start) -> None:
    one, two = start(answers(reply(b"1"))), start(answers(reply(b"2")))
    with balancing(one, two, admin__token=TOKEN) as balancer:
        change(balancer, one, weight=3)
        assert sorted(balancer.get("/").body for _ in range(8)) == [b"1"] * 6 + [b"2"] * 2

        change(balancer, one, weight=0)
        assert {balancer.get("/").body for _ in range(6)} == {b"2"}
        assert metrics(balancer)[f"l7lb_backend_weight main 127.0.0.1:{one.port}"] == 0


def test_a_cookie_of_one_that_was_removed_is_replaced(start) -> None:
    """While it drains its clients stay."""
    one, two = start(answers(reply(b"1"))), start(answers(reply(b"2")))
    sticky = {"pools__main__sticky__enabled": "1", "pools__main__sticky__keys": "0123456789abcdef"}
    with balancing(one, two, admin__token=TOKEN, pools__main__strategy="first", **sticky) as balancer:
        kept = (balancer.get("/").get("set-cookie") or "").partition(";")[0]
        change(balancer, one, draining=True)
        assert (balancer.get("/", f"Cookie: {kept}").body, balancer.get("/").body) == (b"1", b"2")

        until(lambda: tell(balancer, one, "DELETE").status == 204, "it to be idle")
        moved = balancer.get("/", f"Cookie: {kept}")
        cookie = (moved.get("set-cookie") or "").partition(";")[0]

        assert (moved.body, cookie != kept) == (b"2", True)
        assert balancer.get("/", f"Cookie: {cookie}").get("set-cookie") is None


def test_what_is_wrong_is_said_and_changes_nothing(balancer: Balancer, shared: Backend, backend: Backend) -> None:
    """A request body that nobody reads does not stand in the way of the next request."""
    path = f"/-/pools/main/backends/127.0.0.1:{shared.port}"
    bearer = f"Authorization: Bearer {TOKEN}"
    for status, asked in (
        (400, request(path, bearer, method="PATCH", body=b"{")),
        (401, request(path, method="PATCH", body=b'{"weight": 0}')),
        (404, request(path + "9", bearer, method="PATCH", body=b'{"weight": 0}')),
        (405, request(path, bearer, method="PUT", body=b'{"weight": 0}')),
        (409, request(path, bearer, method="DELETE")),
        (413, request(path, bearer, method="PATCH", body=b" " * 100_000)),
        (422, request(path, bearer, method="PATCH", body=b'{"weight": -1}')),
    ):
        with stranger(balancer) as client:
            response = client.ask(asked)
        assert (response.status, response.get("content-type")) == (status, "application/problem+json")

    assert balancer.get("/").status == 200
    shown = json.loads(tell(balancer, shared, "GET").body)
    assert (shown["weight"], shown["draining"]) == (1, False)


def test_what_a_pool_does_about_failures_is_counted(start) -> None:
    """A retry, an ejection, a request that found the queue full: each where it is looked for."""
    failing, well = start(answers(reply(status="503 No"))), start()
    gate = Gate()
    settings = {
        "LB_ADMIN__TOKEN": TOKEN, "LB_ROUTES": "/=main; /one=one",
        **pool("main", failing, well, strategy="first", breaker__consecutive="2"),
        **pool("one", start(read_all, pause(gate), send(reply(b"late"))), max_in_flight="1", queue__size="1"),
    }  # fmt: skip
    with Balancer(settings) as balancer, balancer.client() as first, balancer.client() as second:
        name = f"main 127.0.0.1:{failing.port}"
        assert metrics(balancer)[f"l7lb_backend_ejections_total {name} consecutive_failures"] == 0
        assert [balancer.get("/").status for _ in range(3)] == [200] * 3
        found = metrics(balancer)
        assert found["l7lb_retries_total main retried"] == 2
        assert found[f"l7lb_backend_ejections_total {name} consecutive_failures"] == 1
        assert found[f"l7lb_backend_breaker {name}"] == 2
        assert found[f"l7lb_backend_requests_total {name} 503 "] == 2

        first.send(request("/one"))
        until(lambda: metrics(balancer)["l7lb_pool_in_flight one"] == 1, "the first to be in flight")
        second.send(request("/one"))
        until(lambda: metrics(balancer)["l7lb_pool_waiting one"] == 1, "the second to wait")
        assert balancer.get("/one").status == 503
        found = metrics(balancer)
        assert (found["l7lb_pool_refused_total one"], found["l7lb_pool_limit one"]) == (1, 1)
        gate.open()
        assert first.response().body == b"late"
