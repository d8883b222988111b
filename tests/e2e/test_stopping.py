"""SIGTERM: not ready while still accepting, then no new connections, what is in flight finishes, exit status 0."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.backend import Backend, Connection, Gate, answers, forever, pause, read_all, reply, send
from tests.support.load import Pause, load
from tests.support.raw import request
from tests.support.server import Balancer, balancing, pool
from tests.support.supervised import children, serving, several
from tests.support.until import until


def refused(balancer: Balancer) -> bool:
    try:
        balancer.client().socket.close()
    except ConnectionError:
        return True
    return False


def test_nothing_fails_under_load() -> None:
    """
    Clients that go elsewhere once it is not ready lose nothing.

    That is what `drain.delay` is for: whoever balances over balancers looks at /-/ready, and needs some time to.
    """
    away = threading.Event()

    async def slowly(c: Connection) -> None:
        while True:
            await c.head()
            await asyncio.sleep(0.02)
            await c.send(reply(b"hello"))

    with Backend(slowly) as backend, balancing(backend, drain__delay="1s") as balancer:

        def watch() -> None:
            until(lambda: len(backend.requests) > 500, "load")
            balancer.terminate()
            until(lambda: balancer.get("/-/ready").status == 503, "not ready")
            away.set()

        watching = threading.Thread(target=watch)
        watching.start()
        counts = asyncio.run(load(balancer.port, clients=32, requests=10**9, stop=away.is_set))
        watching.join()
        assert balancer.wait() == 0

    assert {200} == set(counts)
    assert counts[200] > 500


def test_not_ready_while_still_accepting() -> None:
    """New connections are served during `drain.delay`, each told that it is the last request on it."""
    with Backend() as backend, balancing(backend, drain__delay="2s") as balancer, balancer.client() as kept:
        kept.ask(request("/"))
        balancer.terminate()
        until(lambda: balancer.get("/-/ready").status == 503, "not ready")
        new, old = balancer.get("/"), kept.ask(request("/"))

        assert [(response.status, response.get("connection")) for response in (new, old)] == [(200, "close")] * 2
        assert balancer.get("/-/live").status == 200
        until(lambda: refused(balancer), "the listener to close")


def test_what_is_in_flight_finishes() -> None:
    """A response that is on its way, and a request whose backend still thinks."""
    gate = Gate()
    with (
        Backend(
            forever(read_all, send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"), pause(gate), send(b"def"))
        ) as slow,
        Backend(forever(read_all, pause(gate), send(reply(b"thought")))) as thinking,
        Balancer(
            {"LB_ROUTES": "/slow=slow; /think=think", **pool("slow", slow), **pool("think", thinking)}
        ) as balancer,
        balancer.client() as first,
        balancer.client() as second,
    ):
        first.send(request("/slow"))
        second.send(request("/think"))
        until(lambda: slow.requests and thinking.requests, "both to be in flight")
        balancer.terminate()
        until(lambda: refused(balancer), "the listener to close")
        gate.open()

        assert [first.response().body, second.response().body] == [b"abcdef", b"thought"]
        assert balancer.wait() == 0


def test_an_upload_in_flight_finishes() -> None:
    with Backend() as backend, balancing(backend) as balancer, balancer.client() as client:
        client.send(request("/", "Content-Length: 6", method="POST") + b"abc")
        until(lambda: backend.requests, "the head to arrive")
        balancer.terminate()
        until(lambda: refused(balancer), "the listener to close")
        client.send(b"def")

        assert client.response().status == 200
        assert backend.bodies == [b"abcdef"]


def test_idle_connections_do_not_hold_it() -> None:
    """Neither a client that keeps its connection, nor one that never said a word, nor a kept one to a backend."""
    with Backend() as backend, balancing(backend) as balancer, balancer.client() as kept, balancer.client() as silent:
        kept.ask(request("/"))
        assert balancer.stop(within=10) == 0
        assert [kept.rest(), silent.rest()] == [b"", b""]


def test_the_grace_time_ends() -> None:
    """A response without end is cut, visibly, and the exit status is 0 all the same."""
    with (
        Backend(
            read_all, send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), pause(Gate())
        ) as backend,
        balancing(backend, drain__grace="500ms") as balancer,
        balancer.client() as client,
    ):
        client.send(request("/"))
        client.head()
        assert balancer.stop(within=10) == 0
        assert not client.rest().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    """Whoever is in a hurry says so again; neither delay nor grace is waited for."""
    with (
        Backend(read_all, pause(Gate())) as backend,
        balancing(backend, drain__delay="1h", drain__grace="1h") as balancer,
        balancer.client() as client,
    ):
        client.send(request("/"))
        until(lambda: backend.requests, "a request in flight")
        balancer.terminate()
        until(lambda: balancer.get("/-/ready").status == 503, "not ready")
        balancer.process.send_signal(second)
        balancer.wait(within=10)


def test_an_interrupt_ends_it() -> None:
    """Ctrl-C, as a person at a terminal does."""
    with Backend() as backend, balancing(backend, drain__delay="1h") as balancer:
        balancer.process.send_signal(signal.SIGINT)
        balancer.wait(within=10)


def test_stopping_before_any_request() -> None:
    with Backend() as backend, balancing(backend) as balancer:
        assert balancer.stop(within=10) == 0


class TestWorkers:
    """`--workers 2`: the supervisor starts them, and stops them."""

    def test_they_serve_and_stop(self) -> None:
        with Backend(answers(reply(b"hello"))) as backend:
            settings = {"LB_ROUTES": "/=main", **pool("main", backend)}
            with Balancer(settings, *several(2)) as balancer:
                assert [balancer.get("/").status for _ in range(50)] == [200] * 50
                assert balancer.ask(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status == 400
                workers, all_ = serving(balancer), children(balancer.process.pid)
                assert len(workers) == 2
                assert balancer.stop() == 0
                assert not any(map(alive, workers))
                until(lambda: not any(map(alive, all_)), "the resource tracker to end")  # which it does when they have

    def test_what_is_in_flight_finishes(self) -> None:
        gate = Gate()
        with Backend(forever(read_all, pause(gate), send(reply(b"thought")))) as backend:
            settings = {"LB_ROUTES": "/=main", **pool("main", backend)}
            with Balancer(settings, *several(2)) as balancer:
                clients = [balancer.client() for _ in range(6)]
                for client in clients:
                    client.send(request("/"))
                until(lambda: len(backend.requests) == 6, "six in flight")
                balancer.terminate()
                gate.open()
                assert [client.response().body for client in clients] == [b"thought"] * 6
                for client in clients:
                    client.socket.close()
                assert balancer.wait() == 0

    def test_a_worker_that_dies_is_replaced(self) -> None:
        with Backend(answers(reply(b"hello"))) as backend:
            settings = {"LB_ROUTES": "/=main", **pool("main", backend)}
            with Balancer(settings, *several(2)) as balancer:
                victim = serving(balancer)[0]
                os.kill(victim, signal.SIGKILL)
                until(
                    lambda: victim not in serving(balancer) and len(serving(balancer)) == 2, "a new worker", within=40
                )
                until(lambda: balancer.get("/").status == 200, "service")

    def test_a_rolling_restart(self) -> None:
        """
        SIGHUP to the supervisor: new workers one by one, and nothing fails.

        Neither of clients who ask all the time nor of those who have just been answered when their worker stops: that
        it would close their connection has not been said to them.
        """

        async def both(port: int, stop: Callable[[], bool]) -> Counter[int | str]:
            async def think() -> None:
                await asyncio.sleep(0.04)

            pauses: tuple[Pause | None, ...] = (None, think)
            counts = await asyncio.gather(
                *(load(port, clients=4, requests=10**9, stop=stop, pause=pause) for pause in pauses)
            )
            return sum(counts, Counter[int | str]())

        with Backend(answers(reply(b"hello"))) as backend:
            settings = {"LB_ROUTES": "/=main", **pool("main", backend)}
            with Balancer(settings, *several(2)) as balancer:
                before, over = set(serving(balancer)), threading.Event()

                def restart() -> None:
                    balancer.process.send_signal(signal.SIGHUP)
                    try:
                        until(
                            lambda: len(now := set(serving(balancer))) == 2 and not now & before,
                            "new workers",
                            within=60,
                        )
                    finally:
                        over.set()

                restarting = threading.Thread(target=restart)
                restarting.start()
                counts = asyncio.run(both(balancer.port, over.is_set))
                restarting.join()
                assert not set(serving(balancer)) & before

        assert {200} == set(counts)


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
