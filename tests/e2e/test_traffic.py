"""How traffic is led: over several pools, to another one, copied, disturbed on purpose, and so much of each client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from tests.support.backend import Backend, Gate, answers, forever, pause, read_all, reply, send, stall
from tests.support.raw import chunked, request
from tests.support.server import Balancer, pool
from tests.support.until import until


@pytest.fixture(scope="module")
def other() -> Iterator[Backend]:
    """The backend of the other pool."""
    with Backend() as backend:
        yield backend


@pytest.fixture(autouse=True)
def other_is_well(other: Backend) -> None:
    """With nothing seen yet."""
    other.answer(b"other")


@pytest.fixture(scope="module")
def settings(shared: Backend, other: Backend) -> dict[str, str]:
    """A group for each."""
    said = {
        "split": {"split__pools": "main=1,other=1", "split__key": "header:x-user"},
        "canary": {"split__pools": "main=65535,other=0"},
        "fallback": {"pool": "none", "fallback": "empty,other"},
        "page": {"pool": "none", "fallback_respond__status": "503", "fallback_respond__body": "back soon"},
        "fault": {"pool": "main", "fault__abort": "503", "fault__header": "X-Fault"},
        "delay": {"pool": "main", "fault__delay": "1h", "fault__header": "X-Fault"},
        "mirror": {"pool": "main", "mirror__pool": "other", "mirror__max_body": "8B"},
        "one": {"pool": "main", "max_in_flight_per_client": "1"},
    }
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"path": f"/{name}", **keys}.items()
    }
    # what is copied to it and fails is not tried again: such a copy would be seen by the next test
    pools = pool("other", other, retry__attempts="1") | pool("none", backends=f"{shared.url}|weight=0") | pool("empty")
    return {"LB_ROUTES": "", "LB_INITIAL_GRACE": "0", **pools, **groups}  # ready, though two pools are not


def served_by(balancer: Balancer, path: str, *fields: str) -> bytes:
    response = balancer.get(path, *fields)
    assert response.status == 200
    return response.body


def test_a_split_keeps_a_user_on_one_side(balancer: Balancer, backend: Backend) -> None:
    """Each pool has some; that one of 40 has none has a chance of 2 in 2**40. The log says which pool it was."""
    users = [f"X-User: {Random(1).random()}-{n}" for n in range(40)]

    sides = [{served_by(balancer, "/split", user) for _ in range(3)} for user in users]

    assert {len(bodies) for bodies in sides} == {1}
    assert set().union(*sides) == {b"hello", b"other"}
    pools = [record["pool"] for record in balancer.records() if record["path"] == "/split"]
    assert set(pools) <= {"main", "other"}


def test_a_pool_of_weight_0_gets_nothing(balancer: Balancer, backend: Backend) -> None:
    assert {b"hello"} == {served_by(balancer, "/canary") for _ in range(20)}


@pytest.mark.parametrize(
    "asked",
    [
        request("/fallback"),
        request("/fallback", method="POST", body=b"whole"),
        request("/fallback", "Transfer-Encoding: chunked", method="POST") + chunked(b"wh", b"ole"),
    ],
)
def test_a_pool_without_backends_is_stood_in_for(balancer: Balancer, other: Backend, asked: bytes) -> None:
    """By the next that has one, which gets the whole body. Traefik #10152: not only a 503."""
    seen = len([record for record in balancer.records() if record["path"] == "/fallback"])

    assert balancer.ask(asked).body == b"other"

    assert [b"whole" if asked.startswith(b"POST") else b""] == other.bodies
    until(lambda: len([r for r in balancer.records() if r["path"] == "/fallback"]) > seen, "a log line")
    record = [r for r in balancer.records() if r["path"] == "/fallback"][-1]
    assert (record["group"], record["pool"], record["status"], record["reason"]) == ("fallback", "other", 200, "")


def test_in_the_end_a_page_is_shown(balancer: Balancer) -> None:
    """The log says why."""
    response = balancer.get("/page")

    assert (response.status, response.body) == (503, b"back soon")
    record = balancer.record(lambda record: record["path"] == "/page")
    assert (record["pool"], record["reason"]) == ("none", "destination_unavailable")


def test_a_pool_that_is_back_serves_again(start: Callable[..., Backend]) -> None:
    """It is asked anew for every request; nothing remembers that it was down."""
    stopped, spare = start(), start(answers(reply(b"spare")))
    stopped.stop()
    settings = {
        **pool("main", stopped, health__interval="50ms", health__rise="1", health__fall="1"),
        **pool("spare", spare),
        "LB_GROUPS__WEB__POOL": "main",
        "LB_GROUPS__WEB__FALLBACK": "spare",
        "LB_INITIAL_GRACE": "0",
    }
    with Balancer(settings) as balancer:
        assert balancer.get("/").body == b"spare"
        again = start(answers(reply(b"main")), port=stopped.port)
        until(lambda: balancer.get("/").body == b"main", "the pool to be back")
        again.stop()
        until(lambda: balancer.get("/").body == b"spare", "the pool to be down again")


def test_faults_hit_only_who_asks_for_them(balancer: Balancer, backend: Backend) -> None:
    """And never reach a backend."""
    response = balancer.get("/fault", "X-Fault: 1")

    assert (response.status, response.get("proxy-status")) == (503, "l7lb; error=proxy_internal_response")
    assert backend.requests == []
    assert served_by(balancer, "/fault") == b"hello"
    record = balancer.record(lambda record: record["path"] == "/fault" and record["status"] == 503)
    assert (record["reason"], record["pool"]) == ("proxy_internal_response", "")


def test_who_is_held_up_may_go_away(balancer: Balancer, backend: Backend) -> None:
    """Others are not held up meanwhile; the log has the one that went as 499."""
    client = balancer.client()
    client.send(request("/delay/held", "X-Fault: 1"))
    assert served_by(balancer, "/delay") == b"hello"

    client.reset()

    assert balancer.record(lambda record: record["path"] == "/delay/held")["status"] == 499
    assert len(backend.requests) == 1


def test_a_copy_is_the_same_request(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """With its body, and what the backend is told of the client; only the real answer is seen."""
    other.answer(b"never seen", status="500 Oh")

    assert balancer.ask(request("/mirror/a?b=c", "X-Mine: 1", method="POST", body=b"12345678")).body == b"hello"

    until(lambda: other.bodies, "the copy")
    (real,), (copy,) = backend.requests, other.requests
    assert (copy.method, copy.target, other.bodies) == (real.method, real.target, backend.bodies)
    for name in ("host", "x-mine", "content-length", "x-forwarded-for"):
        assert copy.all(name) == real.all(name)


def test_chunked_bodies_are_copied_and_long_ones_are_not(balancer: Balancer, backend: Backend, other: Backend) -> None:
    """Whether their length is known before or not."""
    for pieces in ([b"1234", b"5678"], [b"1234", b"5678", b"9"]):
        balancer.ask(request("/mirror", "Transfer-Encoding: chunked", method="POST") + chunked(*pieces))
    balancer.ask(request("/mirror", method="POST", body=b"123456789"))
    balancer.ask(request("/mirror", method="POST", body=b"last"))

    until(lambda: b"last" in other.bodies, "the last copy")
    assert sorted(other.bodies) == [b"12345678", b"last"]
    assert len(backend.bodies) == 4


@pytest.mark.parametrize("asked", [request("/mirror"), request("/mirror", method="POST", body=b"x")])
def test_a_mirror_that_hangs_holds_nobody_up(
    balancer: Balancer, backend: Backend, other: Backend, asked: bytes
) -> None:
    """Nor the next request of the same connection, which in nginx waits for the subrequest."""
    other.play(read_all, stall)

    with balancer.client() as client:
        assert [client.ask(asked).body for _ in range(20)] == [b"hello"] * 20

    until(lambda: len(other.requests) == 20, "the copies to hang")


def test_a_mirror_that_is_down_is_nobodys_concern(start: Callable[..., Backend]) -> None:
    """Nothing of it is in the log, and copies that hang are cut when the balancer stops."""
    real, down, hangs = start(), start(), start(read_all, stall)
    down.stop()
    groups = {"a": ("/a", "down"), "b": ("/b", "hangs")}
    settings = {**pool("main", real), **pool("down", down), **pool("hangs", hangs)}
    for name, (path, copies) in groups.items():
        group = f"LB_GROUPS__{name.upper()}"
        settings |= {f"{group}__PATH": path, f"{group}__POOL": "main", f"{group}__MIRROR__POOL": copies}
    with Balancer(settings) as balancer:
        for path in ["/a", "/b"] * 5:
            assert balancer.get(path).status == 200
        until(lambda: len(hangs.requests) == 5, "the copies")
        until(lambda: len(balancer.records()) >= 10, "the log")
        assert {record["pool"] for record in balancer.records() if record["path"] in ("/a", "/b")} == {"main"}


def test_a_client_has_its_places_and_gets_them_back(balancer: Balancer, backend: Backend) -> None:
    """One after the other is fine however quickly they come, pipelined too; two at once are one too many."""
    with balancer.client() as client:
        client.send(request("/one") * 20)
        assert [client.response().status for _ in range(20)] == [200] * 20
        assert [client.ask(request("/one")).status for _ in range(20)] == [200] * 20

    gate = Gate()
    backend.play(forever(read_all, pause(gate), send(reply(b"late"))))
    with balancer.client() as first:
        first.send(request("/one"))
        until(lambda: backend.requests, "the first to be in flight")
        refused = balancer.get("/one")
        gate.open()
        assert first.response().body == b"late"

    assert (refused.status, refused.get("retry-after")) == (429, "1")
    assert len(backend.requests) == 1


@pytest.mark.parametrize("kept", [False, True])
def test_a_client_that_goes_away_gives_its_place_back(balancer: Balancer, backend: Backend, kept: bool) -> None:
    """Whether the exchange is carried by a task or by callbacks, over a new connection or a kept one."""
    waiting = [read_all, send(reply(b"first"))] if kept else []
    backend.play(*waiting, read_all, stall)
    client = balancer.client()
    if kept:
        client.ask(request("/one"))
    client.send(request("/one"))
    until(lambda: len(backend.requests) == 1 + kept, "the request to be in flight")
    assert balancer.get("/one").status == 429

    client.reset()
    backend.play(forever(read_all, send(reply(b"hello"))))

    until(lambda: balancer.get("/one").status == 200, "the place")
