"""More connections than there is room for: who comes in, who goes, and that it passes."""

from __future__ import annotations

import asyncio
import resource
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support import control
from tests.support.backend import Backend, Connection, Gate, forever, pause, read_all, reply, send
from tests.support.exposition import parse
from tests.support.raw import Client, Truncated, request
from tests.support.server import UVICORN, Balancer, balancing, pool
from tests.support.tls import Certificate
from tests.support.until import settled, until

MOST = 16


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def one_driver(driver: str) -> None:
    """Connections come before either driver."""
    if driver == "direct":
        pytest.skip("with the other")


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    return {"LB_EDGE__MAX_CONNECTIONS": str(MOST), **control.OPEN}


def closed(client: Client) -> bool:
    """Whether it is, without an answer."""
    return client.rest() == b""


def metric(balancer: Balancer, name: str, **labels: str) -> float:
    samples = parse(control.ask(balancer, "metrics").body.decode())[name].samples
    return samples[name, tuple(labels.items())]


def open_descriptors(balancer: Balancer) -> int:
    return len(list(Path(f"/proc/{balancer.process.pid}/fd").iterdir()))


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: lb", request("/")], ids=["silent", "slow", "kept"])
def test_who_waits_for_nothing_gives_way(balancer: Balancer, backend: Backend, stack: ExitStack, said: bytes) -> None:
    """Whoever comes is served."""
    holding = []
    for _ in range(MOST):
        holding.append(stack.enter_context(balancer.client()))
        holding[-1].send(said)
        if said.endswith(b"\r\n\r\n"):
            holding[-1].response()

    assert [balancer.get("/").status for _ in range(MOST // 2)] == [200] * (MOST // 2)
    gone, _, _ = select.select([client.socket for client in holding], [], [], 5)
    assert 0 < len(gone) < MOST
    assert all(closed(client) for client in holding if client.socket in gone)
    assert "were closed" in balancer.stderr


def test_who_is_at_work_does_not(balancer: Balancer, backend: Backend, stack: ExitStack) -> None:
    gate = Gate()
    backend.play(forever(read_all, pause(gate), send(reply(b"done"))))
    at_work = [stack.enter_context(balancer.client()) for _ in range(MOST)]
    for client in at_work:
        client.send(request("/"))
    until(lambda: len(backend.requests) == MOST, "all to be at work")
    before = backend.requests[:]

    with balancer.client() as another, balancer.client() as third:
        third.send(b"GET")
        assert closed(another)
        assert closed(third)
    gate.open()

    assert {client.response().body for client in at_work} == {b"done"}
    assert len(before) == len(backend.requests)
    assert balancer.get("/").body == b"done"
    assert metric(balancer, "l7lb_connections_refused_total", reason="full") >= 2
    assert metric(balancer, "l7lb_connections") <= MOST


@pytest.mark.usefixtures("one_driver")
def test_one_client_has_its_share(shared: Backend, backend: Backend, stack: ExitStack) -> None:
    with balancing(shared, edge__max_connections_per_client="3", admin__token=control.TOKEN) as balancer:
        mine = [stack.enter_context(balancer.client(source="127.0.0.2")) for _ in range(3)]
        assert [client.ask(request("/")).status for client in mine] == [200] * 3
        with balancer.client(source="127.0.0.2") as another:
            assert closed(another)
        assert balancer.get("/").status == 200, "it is the share of one client"
        assert metric(balancer, "l7lb_connections_refused_total", reason="client") == 1
        mine.pop().socket.close()
        until(lambda: metric(balancer, "l7lb_connections") == 3, "its end to be known")  # two, and that which asks
        with balancer.client(source="127.0.0.2") as another:
            assert another.ask(request("/")).status == 200


@pytest.mark.usefixtures("one_driver")
def test_a_trusted_proxy_is_many_clients(shared: Backend, backend: Backend, stack: ExitStack) -> None:
    settings = {"edge__max_connections_per_client": "3", "trusted_proxies": "127.0.0.2"}
    with balancing(shared, **settings) as balancer:
        mine = [stack.enter_context(balancer.client(source="127.0.0.2")) for _ in range(8)]
        assert [client.ask(request("/")).status for client in mine] == [200] * 8


@pytest.fixture(scope="module")
def pouring() -> Iterator[Backend]:
    """A backend that has 8 MiB for each who asks for /much."""

    async def play(c: Connection) -> None:
        while True:
            asked = await c.head()
            await c.send(reply(b"x" * (8 << 20) if asked.target == b"/much" else b"hello"))

    with Backend(play) as backend:
        yield backend


def test_too_much_waits_to_be_read(pouring: Backend, stack: ExitStack) -> None:
    """By clients that do not read: others get 503 until they have gone; the control plane is no other."""
    with balancing(pouring, edge__max_buffered="1MiB", admin__token=control.TOKEN) as balancer:
        assert balancer.get("/").status == 200
        slow = [stack.enter_context(balancer.client(receive_buffer=4096)) for _ in range(20)]
        for client in slow:
            client.send(request("/much"))
        until(lambda: balancer.get("/").status == 503, "too much to wait")
        refusal = balancer.get("/")
        assert (refusal.status, refusal.get("retry-after")) == (503, "1")
        assert metric(balancer, "l7lb_buffered_bytes") > 1 << 20
        assert metric(balancer, "l7lb_buffered_refused_total") >= 2
        for client in slow:
            client.socket.close()

        until(lambda: balancer.get("/").status == 200, "service")
        assert metric(balancer, "l7lb_buffered_bytes") < 1 << 20


def test_too_much_waits_to_be_sent(start: Callable[..., Backend], stack: ExitStack) -> None:
    """To a backend that does not read."""

    async def deaf(c: Connection) -> None:
        c.transport.pause_reading()
        await asyncio.Event().wait()

    pools = pool("main", start().answer(b"hello")) | pool("deaf", start(deaf))
    settings = {
        "LB_ROUTES": "/=main; /deaf=deaf",
        "LB_EDGE__MAX_BUFFERED": "256KiB",
        "LB_DRAIN__GRACE": "100ms",
        **pools,
    }
    with Balancer(settings) as balancer:
        clients = [stack.enter_context(balancer.client()) for _ in range(8)]
        for client in clients:
            client.send(request("/deaf", "Content-Length: 99999999", method="POST"))
            client.socket.setblocking(False)

        def refused() -> bool:
            for client in clients:
                with suppress(BlockingIOError):
                    client.socket.send(bytes(1 << 20))
            return balancer.get("/").status == 503

        until(refused, "too much to wait")


def limited(descriptors: int, *flags: str) -> dict[str, object]:
    """How to start a balancer that may have so many descriptors, and no more."""
    command = ("sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *UVICORN)
    return {"command": (*command, "--port", "0", *flags)}


@pytest.mark.usefixtures("one_driver")
def test_there_are_as_many_as_descriptors_allow(shared: Backend, backend: Backend, stack: ExitStack) -> None:
    """Half of them, for each may need another to a backend: nobody fails, though 300 would be held."""
    with Balancer({"LB_ROUTES": "/=main", **pool("main", shared)}, **limited(200)) as balancer:  # type: ignore[arg-type]
        for _ in range(300):
            stack.enter_context(balancer.client())
        assert [balancer.get("/").status for _ in range(20)] == [200] * 20
        assert open_descriptors(balancer) < 200
        assert "no file descriptor" not in balancer.stderr


@pytest.mark.usefixtures("one_driver")
@pytest.mark.parametrize(("loop", "secure"), [("uvloop", False), ("asyncio", False), ("asyncio", True)])
def test_no_descriptor_is_left(
    shared: Backend, backend: Backend, stack: ExitStack, certificate: Certificate, loop: str, secure: bool
) -> None:
    """asyncio had 2048 tracebacks a second to say about it. When some are free again, it serves."""
    tls = certificate if secure else None
    with Balancer(
        {"LB_ROUTES": "/=main", "LB_EDGE__MAX_CONNECTIONS": "10000", **pool("main", shared)},
        "--loop", loop, certificate=tls,
    ) as balancer:  # fmt: skip
        assert balancer.get("/").status == 200
        few = open_descriptors(balancer) + 10
        resource.prlimit(balancer.process.pid, resource.RLIMIT_NOFILE, (few, few))
        holding = [stack.enter_context(Client(balancer.address)) for _ in range(100)]
        until(lambda: open_descriptors(balancer) == few, "all to be used")
        settled(lambda: len(balancer.errors))
        for client in holding:
            client.socket.close()

        def served() -> bool:
            try:
                return balancer.get("/").status == 200
            except (OSError, Truncated):
                return False

        until(served, "service")
        assert len(balancer.errors) < 20, balancer.stderr


def test_a_backend_is_not_to_blame_for_our_descriptors(start: Callable[..., Backend], stack: ExitStack) -> None:
    """Without one for a connection to it, a request gets 503; neither its breaker nor its health hears of it."""
    backend = start().answer(b"hello")
    settings = {
        "LB_ROUTES": "/=main", "LB_EDGE__MAX_CONNECTIONS": "10000", **control.OPEN,
        **pool("main", backend, health__kind="tcp", health__interval="50ms", health__fall="1"),
    }  # fmt: skip
    with Balancer(settings) as balancer, balancer.client() as client:
        until(lambda: control.seen(balancer)["backends"], "it to be known")
        client.send(request("/")[:-2])
        full = settled(lambda: open_descriptors(balancer))
        resource.prlimit(balancer.process.pid, resource.RLIMIT_NOFILE, (0, full + 64))
        client.send(b"\r\n")
        first = client.response()
        statuses = {client.ask(request("/")).status for _ in range(10)}
        resource.prlimit(balancer.process.pid, resource.RLIMIT_NOFILE, (full + 64, full + 64))

        assert {first.status, *statuses} == {503}
        assert b"descriptor" in first.body
        assert client.ask(request("/")).status == 200, "at once: it was not ejected"
        assert "ejected" not in balancer.stderr
        assert "DOWN" not in balancer.stderr
