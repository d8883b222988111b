"""Limits on what is in flight, and the queue of those who wait for room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support import control
from tests.support.backend import Backend, Connection, Gate, answers, forever, read_all, reply, send, stall
from tests.support.raw import Client, chunked, request
from tests.support.server import Balancer, pool
from tests.support.until import until

LONG = {"queue__timeout": "30s", "breaker__enabled": "false"}


@pytest.fixture(scope="module")
def second() -> Iterator[Backend]:
    """The other backend."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def settings(shared: Backend, second: Backend) -> dict[str, str]:
    """A pool for each case."""
    limited = {"backend_max_in_flight": 1, **LONG}
    said = {
        **pool("fifo", shared, **limited),
        **pool("lifo", shared, **limited, queue__order="lifo"),
        **pool("whole", shared, second, **LONG, max_in_flight=1),
        **pool("small", shared, **limited, queue__size=1),
        **pool("none", shared, **limited, queue__size=0),
        **pool("brief", shared, backend_max_in_flight=1, queue__timeout="200ms"),
        **pool("hurry", shared, **limited, timeouts__header="X-Within"),
        **pool("one", backends=f"{shared.url}|max_in_flight=1,{second.url}", **LONG),
    }
    names = sorted({key.split("__")[1].lower() for key in said})
    return {**said, **control.OPEN, "LB_ROUTES": "; ".join(f"/{name}={name}" for name in names)}


class Held:
    """
    Backends that answer a request when they are let, with what they were asked for.

    `targets` are in the order in which they came.
    """

    def __init__(self, *backends: Backend) -> None:
        self.targets: list[bytes] = []
        self.gates: list[Gate] = []
        for backend in backends:
            backend.play(self._hold)

    async def _hold(self, c: Connection) -> None:
        while True:
            asked = await c.head()
            await c.body()
            gate = Gate()
            self.targets.append(asked.target)
            self.gates.append(gate)
            await gate.passed()
            await c.send(reply(asked.target))

    def let(self, number: int) -> None:
        """Answer that request, as soon as it is there."""
        until(lambda: len(self.gates) > number, f"request {number} to arrive")
        self.gates[number].open()


@pytest.fixture
def held(backend: Backend) -> Held:
    """The module's backend, which answers nothing by itself."""
    return Held(backend)


@pytest.fixture
def ask(balancer: Balancer) -> Iterator[Callable[..., Client]]:
    """Ask on a new connection without waiting for the answer."""
    with ExitStack() as opened:

        def ask_one(target: str, *fields: str, **options: Any) -> Client:
            client = opened.enter_context(balancer.client())
            client.send(request(target, *fields, **options))
            return client

        yield ask_one


def queued(balancer: Balancer, route: str, count: int) -> None:
    """Wait until so many are in the queue of the route's pool."""
    until(lambda: control.waiting(balancer, route[1:]) == count, f"{count} to wait")


@pytest.mark.parametrize(("route", "order"), [("/fifo", "abcd"), ("/lifo", "adcb")])
def test_who_waits_is_served_when_there_is_room(
    balancer: Balancer, held: Held, ask: Callable[..., Client], route: str, order: str
) -> None:
    """One at a time, the oldest first or the newest first; the log says how long each has waited."""
    clients: dict[str, Client] = {}
    for number, name in enumerate("abcd"):
        clients[name] = ask(f"{route}/{name}")
        until(lambda: held.targets, "the first to arrive")
        queued(balancer, route, number)

    for number, name in enumerate(order):
        held.let(number)
        assert clients[name].response().body == f"{route}/{name}".encode()

    assert held.targets == [f"{route}/{name}".encode() for name in order]
    waited = [balancer.record(lambda record, n=name: record["path"] == f"{route}/{n}") for name in order]  # type: ignore[misc]
    assert [record["queue_ms"] > 0 for record in waited] == [False, True, True, True]
    assert all(record["queue_ms"] <= record["total_ms"] for record in waited)
    assert control.idle(balancer, route[1:])


@pytest.mark.parametrize("route", ["/small", "/none"])
def test_who_finds_the_queue_full_is_told_so(
    balancer: Balancer, held: Held, ask: Callable[..., Client], route: str
) -> None:
    """503 at once, with a time to come back; who is served and who waits does not notice."""
    first = ask(f"{route}/first")
    until(lambda: held.targets, "the first to arrive")
    waiting = ask(f"{route}/waiting") if route == "/small" else None
    queued(balancer, route, 0 if waiting is None else 1)

    refused = balancer.get(f"{route}/refused")

    assert (refused.status, refused.get("retry-after")) == (503, "1")
    assert "error=destination_unavailable" in (refused.get("proxy-status") or "")
    record = balancer.record(lambda record: record["path"] == f"{route}/refused")
    assert (record["attempts"], record["reason"], record["queue_ms"]) == (0, "destination_unavailable", 0)
    held.let(0)
    assert first.response().status == 200
    if waiting is not None:
        held.let(1)
        assert waiting.response().status == 200
    assert control.idle(balancer, route[1:])


@pytest.mark.parametrize("route", ["/brief", "/hurry"])
def test_nobody_waits_for_ever(balancer: Balancer, held: Held, ask: Callable[..., Client], route: str) -> None:
    """After the time of the queue, or of the exchange where that is shorter: 503, and the time is in the log."""
    ask(f"{route}/first")
    until(lambda: held.targets, "the first to arrive")

    late = balancer.get(f"{route}/late", "X-Within: 200")

    assert (late.status, late.get("retry-after")) == (503, "1")
    record = balancer.record(lambda record: record["path"] == f"{route}/late")
    assert (record["attempts"], record["reason"]) == (0, "destination_unavailable")
    assert 100 <= record["queue_ms"] <= record["total_ms"]
    assert held.targets == [f"{route}/first".encode()]


def test_a_pool_has_a_limit_of_its_own(
    balancer: Balancer, backend: Backend, second: Backend, ask: Callable[..., Client]
) -> None:
    """However many backends it has that are idle."""
    held = Held(backend, second)
    clients = [ask(f"/whole/{number}") for number in range(4)]
    for number in range(4):
        queued(balancer, "/whole", 3 - number)
        assert control.seen(balancer, "whole")["in_flight"] == 1
        held.let(number)

    assert sorted(client.response().body for client in clients) == [b"/whole/%d" % number for number in range(4)]
    assert (len(backend.requests), len(second.requests)) == (2, 2)
    assert control.idle(balancer, "whole")


def test_a_full_backend_is_left_out(
    balancer: Balancer, held: Held, second: Backend, ask: Callable[..., Client]
) -> None:
    """Its limit is its own; while another has room nobody waits."""
    second.answer(b"second")
    ask("/one/a"), ask("/one/b")
    until(lambda: held.targets, "one to arrive")

    assert {balancer.get("/one").body for _ in range(10)} == {b"second"}

    assert len(held.targets) == 1
    absences = [backend["absence"] for backend in control.seen(balancer, "one")["backends"].values()]
    assert absences == ["full", ""]
    held.let(0)
    until(lambda: control.idle(balancer, "one"), "the end")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_waits_with_its_head(
    balancer: Balancer, held: Held, backend: Backend, ask: Callable[..., Client], framing: str
) -> None:
    """And is whole, though it is longer than what we hold."""
    body = bytes(n % 253 for n in range(1_000_000))
    ask("/fifo/first")
    until(lambda: held.targets, "the first to arrive")
    with balancer.client() as client:
        if framing == "length":
            head, sent = request("/fifo/body", f"Content-Length: {len(body)}", method="POST"), body
        else:
            head, sent = request("/fifo/body", "Transfer-Encoding: chunked", method="POST"), chunked(body)
        client.send(head + sent[:1000])
        queued(balancer, "/fifo", 1)
        held.let(0)
        client.send(sent[1000:])
        held.let(1)
        assert client.response().status == 200

    assert backend.bodies == [b"", body]


@pytest.mark.parametrize("route", ["/fifo", "/lifo"])
def test_who_leaves_the_queue_is_not_asked_for(
    balancer: Balancer, held: Held, ask: Callable[..., Client], route: str
) -> None:
    """499 in the log; the backend never sees it, and the next has its turn."""
    first = ask(f"{route}/first")
    until(lambda: held.targets, "the first to arrive")
    waiting: dict[str, Client] = {}
    for number, name in enumerate(("one", "two", "three"), 1):
        waiting[name] = ask(f"{route}/{name}")
        queued(balancer, route, number)
    leaving = "one" if route == "/fifo" else "three"

    waiting.pop(leaving).reset()
    record = balancer.record(lambda record: record["path"] == f"{route}/{leaving}")
    assert (record["status"], record["attempts"]) == (499, 0)
    for number in range(3):
        held.let(number)
    assert [client.response().status for client in (first, *waiting.values())] == [200, 200, 200]

    assert f"{route}/{leaving}".encode() not in held.targets
    assert control.idle(balancer, route[1:])


def test_room_comes_when_a_client_goes(balancer: Balancer, backend: Backend, ask: Callable[..., Client]) -> None:
    """Its attempt is cut; who waits has its place."""
    backend.play(read_all, stall)
    leaving = ask("/fifo/leaving")
    until(lambda: backend.requests, "the first to arrive")
    backend.script = answers(reply(b"hello"))
    waiting = ask("/fifo/waiting")
    queued(balancer, "/fifo", 1)

    leaving.reset()

    assert waiting.response().body == b"hello"
    assert control.idle(balancer, "fifo")


def test_room_comes_with_a_backend(balancer: Balancer, held: Held, second: Backend, ask: Callable[..., Client]) -> None:
    """Which is back while all others are busy: who waits already has it, not only who comes later."""
    second.answer(b"second")
    name = f"127.0.0.1:{second.port}"
    control.change(balancer, name, "one", draining=True)
    first = ask("/one/first")
    until(lambda: held.targets, "the first to arrive")
    waiting = ask("/one/waiting")
    queued(balancer, "/one", 1)

    control.change(balancer, name, "one", draining=False)

    assert waiting.response().body == b"second"
    held.let(0)
    assert first.response().status == 200
    assert control.idle(balancer, "one")


def test_five_hundred_at_once_are_served_or_refused(start: Callable[..., Backend]) -> None:
    """With room for 4 and a queue of 50 that waits as long as it takes: nobody hangs, nothing is left."""
    backends = [start(forever(read_all, send(reply(b"ok")))) for _ in range(2)]
    settings = pool("main", *backends, backend_max_in_flight=2, queue__size=50, queue__timeout="30s")
    with Balancer({"LB_ROUTES": "/=main", **control.OPEN, **settings}) as balancer, ExitStack() as opened:
        clients = [opened.enter_context(balancer.client()) for _ in range(500)]
        for client in clients:
            client.send(request("/"))
        statuses = [client.response().status for client in clients]

        assert set(statuses) <= {200, 503}
        assert statuses.count(200) >= 54
        until(lambda: control.idle(balancer), "nothing to be in flight")
        assert balancer.get("/").status == 200
