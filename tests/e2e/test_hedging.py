"""A second backend is asked when the first takes longer than most; the answer that comes first is taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import control
from tests.support.backend import Backend, Connection, reply, stall
from tests.support.raw import request
from tests.support.server import Balancer, pool
from tests.support.until import until

ENOUGH = 25
"""Answers, after which the pool knows how long they take."""
HEDGED = {"hedge__enabled": "true", "strategy": "first", "retry__attempts": "1"}


class Uneven(Backend):
    """Answers at once with its name, but for what has `/hang` in its path: that is never answered."""

    def __init__(self, name: bytes, hangs: bool) -> None:
        async def play(c: Connection) -> None:
            while True:
                asked = await c.head()
                await c.body()
                if hangs and b"/hang" in asked.target:
                    await stall(c)
                await c.send(reply(name))

        super().__init__(play)

    def asked(self, path: str) -> list[Connection]:
        """Connections over which a path was asked for."""
        return [c for c in self.connections if any(seen.target == path.encode() for seen in c.requests)]


@pytest.fixture(scope="module")
def slow(driver: str) -> Iterator[Uneven]:
    """The one that is asked first."""
    with Uneven(b"slow", True) as backend:
        yield backend


@pytest.fixture(scope="module")
def quick(driver: str) -> Iterator[Uneven]:
    """The other."""
    with Uneven(b"quick", False) as backend:
        yield backend


@pytest.fixture(scope="module")
def balancer(driver: str, slow: Uneven, quick: Uneven) -> Iterator[Balancer]:
    """A pool for each case, all of which have answered so often that they know what is long."""
    both = (slow, quick)
    careful = {"breaker__consecutive": "1", "breaker__min_requests": "1"}
    said = {
        **pool("main", *both, **HEDGED, **careful),
        **pool("both", slow, backends=f"{slow.url}|id=a,{slow.url}|id=b", **HEDGED),
        **pool("poor", *both, **HEDGED, retry__budget="0", retry__min_per_second="0", timeouts__attempt="300ms"),
        **pool("alone", slow, **HEDGED, timeouts__attempt="300ms"),
        **pool("off", *both, strategy="first", retry__attempts="1", timeouts__attempt="300ms"),
        **pool("kept", *both, **HEDGED, sticky__enabled="true", sticky__keys="k" * 20, timeouts__attempt="300ms"),
    }
    names = sorted({key.split("__")[1].lower() for key in said})
    with Balancer({**said, **control.OPEN, "LB_ROUTES": "; ".join(f"/{name}={name}" for name in names)}) as running:
        for name in names:
            for _ in range(ENOUGH):
                assert running.get(f"/{name}").status == 200
        probe = iter(range(1000))
        until(lambda: knows(running, f"/main/hang/probe/{next(probe)}"), "it to know")
        yield running


def knows(balancer: Balancer, path: str) -> bool:
    """Whether a request that hangs is hedged by now; it is given up if not."""
    with balancer.client(timeout=0.3) as client:
        client.send(request(path))
        try:
            return client.response().body == b"quick"
        except TimeoutError:
            return False


def test_a_slow_answer_is_not_waited_for(balancer: Balancer, slow: Uneven, quick: Uneven) -> None:
    """The loser's connection is closed, so that it may stop working; and it counts as nothing, not as a failure."""
    for number in range(3):
        path = f"/main/hang/{number}"
        assert balancer.get(path).body == b"quick"

        until(lambda path=path: all(c.closed for c in slow.asked(path)), "the loser to be cut")  # type: ignore[misc]
        assert (len(slow.asked(path)), len(quick.asked(path))) == (1, 1)
        record = balancer.record(lambda record, path=path: record["path"] == path)  # type: ignore[misc]
        assert (record["status"], record["attempts"], record["backend"]) == (200, 2, f"127.0.0.1:{quick.port}")

    shown = control.seen(balancer)["backends"].values()
    assert [backend["breaker"] for backend in shown] == ["closed", "closed"]
    assert control.idle(balancer)


def test_a_quick_answer_is_not_asked_for_twice(balancer: Balancer, quick: Uneven) -> None:
    """Nearly none: the delay is what 95 of 100 stay under."""
    answers = [balancer.get(f"/main/fine/{number}").body for number in range(20)]

    twice = [number for number in range(20) if quick.asked(f"/main/fine/{number}")]
    assert len(twice) <= 5
    assert [number for number, body in enumerate(answers) if body != b"slow"] <= twice


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_what_is_safe_to_read_twice(balancer: Balancer, slow: Uneven, quick: Uneven, method: str) -> None:
    """GET and HEAD, and no other."""
    path = f"/main/hang/{method}"
    with balancer.client(timeout=0.3) as client:
        client.send(request(path, method=method))
        with pytest.raises(TimeoutError):
            client.response()

    assert (len(slow.asked(path)), len(quick.asked(path))) == (1, 0)
    until(lambda: control.idle(balancer), "it to be over")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_is_as_get(balancer: Balancer, quick: Uneven, method: str) -> None:
    assert balancer.get(f"/main/hang/as/{method}", method=method).status == 200
    assert len(quick.asked(f"/main/hang/as/{method}")) == 1


@pytest.mark.parametrize("name", ["poor", "alone", "off", "kept"])
def test_when_it_is_not_done(balancer: Balancer, slow: Uneven, quick: Uneven, name: str) -> None:
    """The budget has nothing, there is nobody else, it was not asked for, a cookie says who is meant."""
    path = f"/{name}/hang"
    fields = []
    if name == "kept":
        given = balancer.get("/kept")
        assert given.body == b"slow"
        fields.append("Cookie: " + (given.get("set-cookie") or "").partition(";")[0])

    assert balancer.get(path, *fields).status == 504
    assert (len(slow.asked(path)), len(quick.asked(path))) == (1, 0)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_client_that_goes_takes_both_with_it(balancer: Balancer, slow: Uneven, how: str) -> None:
    path = f"/both/hang/{how}"
    client = balancer.client()
    client.send(request(path))
    until(lambda: len(slow.asked(path)) == 2, "both to be asked")

    client.reset() if how == "reset" else client.socket.close()

    until(lambda: all(c.closed for c in slow.asked(path)), "both to be cut")
    assert balancer.record(lambda record: record["path"] == path)["status"] == 499
    assert control.idle(balancer, "both")
