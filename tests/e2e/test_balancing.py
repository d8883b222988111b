"""Which backend gets the next request."""

from __future__ import annotations

from collections import Counter

from tests.support.backend import Backend, Gate, answers, forever, pause, read_all, reply, send
from tests.support.raw import request
from tests.support.server import Balancer, balancing, pool
from tests.support.until import until


def named(name: bytes) -> Backend:
    return Backend(answers(reply(name)))


def test_round_robin_takes_them_in_turn() -> None:
    """As in the Go original: 1, 2, 3, 1, 2, 3."""
    with named(b"1") as one, named(b"2") as two, named(b"3") as three, balancing(one, two, three) as balancer:
        bodies = [balancer.get("/").body for _ in range(9)]

    assert bodies == [b"1", b"2", b"3"] * 3


def test_weights_are_spread_smoothly() -> None:
    """nginx's rule: 5, 1, 1 gives a a b a c a a, never five in a row."""
    with named(b"a") as a, named(b"b") as b, named(b"c") as c:
        settings = pool("main", backends=f"{a.url}|weight=5,{b.url},{c.url}")
        with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer:
            bodies = b"".join(balancer.get("/").body for _ in range(14))

    assert bodies == b"aabacaa" * 2


def test_a_weight_of_nothing_gets_nothing() -> None:
    with named(b"a") as a, named(b"b") as b:
        settings = pool("main", backends=f"{a.url}|weight=0,{b.url}")
        with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer:
            assert {b"b"} == {balancer.get("/").body for _ in range(10)}


def test_first_takes_the_first() -> None:
    with named(b"1") as one, named(b"2") as two, balancing(one, two, pools__main__strategy="first") as balancer:
        assert {b"1"} == {balancer.get("/").body for _ in range(10)}


def test_random_takes_all_of_them() -> None:
    """Forty draws of two: that one is never drawn has a chance of 2 in 2**40."""
    with named(b"1") as one, named(b"2") as two, balancing(one, two, pools__main__strategy="random") as balancer:
        assert {b"1", b"2"} == {balancer.get("/").body for _ in range(40)}


def test_least_connections_avoids_the_busy_one() -> None:
    """Ten requests are held by the first that got one; all others go to the other."""
    gate = Gate()
    with (
        Backend(forever(read_all, pause(gate), send(reply(b"slow")))) as slow,
        named(b"quick") as quick,
        balancing(slow, quick, pools__main__strategy="least_connections") as balancer,
        balancer.client() as first,
        balancer.client() as second,
    ):
        first.send(request("/"))
        second.send(request("/"))
        until(lambda: slow.requests, "one request to be held")

        assert {b"quick"} == {balancer.get("/").body for _ in range(10)}
        gate.open()


def test_a_download_counts_until_its_last_byte() -> None:
    """`in_flight` is not over with the head: a long download weighs on its backend."""
    gate = Gate()
    with (
        Backend(
            forever(read_all, send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"), pause(gate), send(b"bc"))
        ) as slow,
        named(b"quick") as quick,
        balancing(slow, quick, pools__main__strategy="least_connections") as balancer,
        balancer.client() as first,
        balancer.client() as second,
    ):
        first.send(request("/"))
        first.head()
        second.send(request("/"))
        second.head()
        until(lambda: slow.requests, "one download to begin")

        assert {b"quick"} == {balancer.get("/").body for _ in range(10)}
        gate.open()


def test_pools_do_not_mix() -> None:
    """Two paths, two pools: the walking skeleton of the Go original."""
    with named(b"a1") as a1, named(b"a2") as a2, named(b"b1") as b1:
        settings = {"LB_ROUTES": "/apiA=a; /apiB=b", **pool("a", a1, a2), **pool("b", b1)}
        with Balancer(settings) as balancer:
            counts = Counter(balancer.get(path).body for path in ["/apiA", "/apiB"] * 4)

    assert counts == {b"a1": 2, b"a2": 2, b"b1": 4}


def test_a_backend_that_refuses_is_passed_over() -> None:
    """Nothing was sent to it, so another may be tried; once a probe has failed, it is not even asked."""
    gone = named(b"gone")
    gone.stop()
    with named(b"here") as here:
        settings = pool("main", gone, here, health__interval="100ms", health__timeout="100ms")
        with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer:
            until(
                lambda: [balancer.get("/").status for _ in range(6)] == [200] * 6,
                "only the one that is there to be used",
            )
