"""Attempts at a pool within its limits, its queue and its budget. Time is virtual: a wait takes none."""

from __future__ import annotations

import asyncio
from math import inf
from random import Random
from typing import Any

import pytest

from app.domain.attempt import Attempt
from app.domain.errors import ClientGone, ConnectFailed, ConnectionTerminated, Full, NoBackend, ProxyError
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.domain.pool import Pool
from app.engine.body import Body
from app.engine.dispatch import LOOK, Dispatcher
from app.engine.outbound import Outbound
from tests.support.fleet import fleet, pool
from tests.support.virtual import virtual

GONE = ClientGone("went away")
every_order = pytest.mark.parametrize("order", ["fifo", "lifo"])


def now() -> float:
    return asyncio.get_running_loop().time()


def made(*weights: int, kind: str = "round_robin", **settings: Any) -> Dispatcher:
    """One for a pool of backends with these weights."""
    return Dispatcher(pool(fleet(*weights), kind, **settings), rng=Random(7), clock=now)


def asking(method: str = "GET", *headers: tuple[bytes, bytes], length: int = 0) -> Outbound:
    """A request that was prepared."""
    exchange = Exchange(now(), "127.0.0.1", "http", method, "lb.test", "/")
    return Outbound(exchange, list(headers), b"/", b"lb.test", b"", length, b"")


def begun(dispatcher: Dispatcher) -> Attempt:
    """An attempt that there is room for."""
    return dispatcher.begin(asking(), now())


def end(dispatcher: Dispatcher, attempt: Attempt, status: int = 200) -> None:
    """It has gone well."""
    attempt.first_byte = now()
    attempt.status = status
    dispatcher.finish(attempt, None, now())


def failed(dispatcher: Dispatcher, outbound: Outbound, error: ProxyError | None, fields: Fields | None = None) -> float:
    """Seconds to the next attempt after this one, which is over."""
    attempt = outbound.attempt
    assert attempt is not None
    after = dispatcher.after(outbound, error, fields, now())
    dispatcher.finish(attempt, error, now())
    outbound.attempt = None
    return after


def in_flight(pool: Pool) -> tuple[int, ...]:
    """At the pool, and at each backend."""
    return (pool.in_flight, *(backend.in_flight for backend in pool.backends))


async def settle() -> None:
    """Let everybody do what there is to do now."""
    for _ in range(10):
        await asyncio.sleep(0)


class Waiting:
    """A row of requests that wait in the queue, and in which order they got in."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.entered: list[int] = []
        self.tasks: list[asyncio.Task[Attempt]] = []
        self.outbounds: list[Outbound] = []

    async def add(self, count: int = 1, until: float = inf) -> None:
        for _ in range(count):
            outbound = asking()
            outbound.until = until
            self.outbounds.append(outbound)
            self.tasks.append(asyncio.create_task(self._enter(len(self.tasks), outbound)))
            await settle()

    async def _enter(self, number: int, outbound: Outbound) -> Attempt:
        attempt = await self.dispatcher.enter(outbound)
        self.entered.append(number)
        return attempt

    async def errors(self) -> list[type[BaseException] | None]:
        """Why each of them did not get in; None for who did."""
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        return [type(one) if isinstance(one, BaseException) else None for one in ended]

    async def leave(self, number: int, how: str) -> None:
        """The client goes away, or the server stops."""
        if how == "gone":
            self.outbounds[number].client_gone()
        else:
            self.tasks[number].cancel()


# The queue...


@pytest.mark.parametrize(("order", "expected"), [("fifo", [0, 1, 2]), ("lifo", [2, 1, 0])])
@virtual
async def test_who_is_next(order: str, expected: list[int]) -> None:
    dispatcher = made(1, backend_max_in_flight=1, queue={"order": order})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add(3)

    for number in expected:
        end(dispatcher, attempt)
        await settle()
        attempt = waiting.tasks[number].result()
        assert in_flight(dispatcher.pool) == (1, 1)
    end(dispatcher, attempt)

    assert expected == waiting.entered
    assert (dispatcher.waiting, in_flight(dispatcher.pool)) == (0, (0, 0))


@every_order
@virtual
async def test_nobody_overtakes_those_who_wait(order: str) -> None:
    """In the moment in which a turn was given and not yet taken there is room; it is not for who comes just then."""
    dispatcher = made(1, max_in_flight=1, queue={"order": order})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add()

    end(dispatcher, attempt)

    with pytest.raises(Full):
        begun(dispatcher)
    await settle()
    assert waiting.entered == [0]


@virtual
async def test_a_full_queue_takes_nobody() -> None:
    """At once, and it is counted; who waits already is not pushed out."""
    dispatcher = made(1, backend_max_in_flight=1, queue={"size": 2})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add(3)

    assert waiting.tasks[2].done()
    end(dispatcher, attempt)
    await settle()
    end(dispatcher, waiting.tasks[0].result())

    assert await waiting.errors() == [None, None, Full]
    assert dispatcher.refused == 1
    assert waiting.outbounds[2].exchange.queued == 0


@every_order
@virtual
async def test_patience_ends(order: str) -> None:
    """After the time of the queue, or that of the exchange, whichever is over first."""
    dispatcher = made(1, max_in_flight=1, queue={"order": order, "timeout": "2s"})
    attempt, waiting, started = begun(dispatcher), Waiting(dispatcher), now()
    await waiting.add()
    await waiting.add(until=started + 0.5)

    assert await waiting.errors() == [Full, Full]

    assert [one.exchange.queued for one in waiting.outbounds] == pytest.approx([2.0, 0.5])
    assert (dispatcher.refused, dispatcher.waiting) == (2, 0)
    end(dispatcher, attempt)
    assert in_flight(dispatcher.pool) == (0, 0)
    assert begun(dispatcher)


@every_order
@pytest.mark.parametrize("how", ["gone", "cancelled"])
@virtual
async def test_who_leaves_the_queue_is_not_called(order: str, how: str) -> None:
    dispatcher = made(1, max_in_flight=1, queue={"order": order})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add(3)
    first = 0 if order == "fifo" else 2

    await waiting.leave(first, how)
    await settle()
    assert dispatcher.waiting == 2
    end(dispatcher, attempt)
    await settle()

    assert waiting.entered == [1]
    end(dispatcher, waiting.tasks[1].result())
    await settle()
    end(dispatcher, waiting.tasks[2 - first].result())
    assert (dispatcher.waiting, in_flight(dispatcher.pool)) == (0, (0, 0))
    errors = await waiting.errors()
    assert errors[first] is (ClientGone if how == "gone" else asyncio.CancelledError)


@every_order
@pytest.mark.parametrize("how", ["gone", "cancelled"])
@pytest.mark.parametrize("first", ["turn", "leaving"])
@virtual
async def test_no_turn_is_lost(order: str, how: str, first: str) -> None:
    """It was given in the moment in which its owner left, just before or just after: the next has it."""
    dispatcher = made(1, max_in_flight=1, queue={"order": order})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add(2)
    leaving, staying = (0, 1) if order == "fifo" else (1, 0)

    if first == "turn":
        end(dispatcher, attempt)
        await waiting.leave(leaving, how)
    else:
        await waiting.leave(leaving, how)
        end(dispatcher, attempt)
    await settle()

    assert [staying] == waiting.entered
    end(dispatcher, waiting.tasks[staying].result())
    assert (dispatcher.waiting, in_flight(dispatcher.pool)) == (0, (0, 0))
    await waiting.errors()


@pytest.mark.parametrize("early", [0.0, 1e-9], ids=["in the same moment", "just before"])
@pytest.mark.parametrize("alone", [True, False])
@virtual
async def test_a_turn_in_the_moment_in_which_patience_ends_is_used(early: float, alone: bool) -> None:
    """By the one it was given to, and by no other."""
    dispatcher = made(1, max_in_flight=1, queue={"timeout": "1s"})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add()
    asyncio.get_running_loop().call_at(now() + 1.0 - early, end, dispatcher, attempt)
    await asyncio.sleep(0.5)
    await waiting.add(0 if alone else 1)

    await asyncio.sleep(0.5)
    await settle()

    assert waiting.entered == [0]
    assert in_flight(dispatcher.pool) == (1, 1)
    assert await waiting.errors() == ([None] if alone else [None, Full])


@every_order
@virtual
async def test_room_for_several_is_handed_on(order: str) -> None:
    """Who gets in looks whether there is room for another; one end of an attempt is enough to wake them all."""
    dispatcher = made(1, max_in_flight=1, queue={"order": order})
    attempt, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add(5)

    dispatcher.pool.limit = 3
    end(dispatcher, attempt)
    await settle()

    assert waiting.entered == ([0, 1, 2] if order == "fifo" else [4, 3, 2])
    assert in_flight(dispatcher.pool) == (3, 3)
    assert await waiting.errors() == ([None] * 3 + [Full] * 2 if order == "fifo" else [Full] * 2 + [None] * 3)


@virtual
async def test_room_that_no_end_of_an_attempt_has_made_is_found() -> None:
    """A backend is back while the others are busy for long: who waits does not wait in vain, and its place stays."""
    dispatcher = made(1, 1, backend_max_in_flight=2, queue={"timeout": "10s"})
    _, b = dispatcher.pool.backends
    dispatcher.pool.drain(b)
    begun(dispatcher), begun(dispatcher)
    waiting = Waiting(dispatcher)
    await waiting.add(3)
    await asyncio.sleep(3 * LOOK)
    assert waiting.entered == []

    dispatcher.pool.undrain(b)
    await asyncio.sleep(2 * LOOK)

    assert waiting.entered == [0, 1]
    assert in_flight(dispatcher.pool) == (4, 2, 2)
    assert await waiting.errors() == [None, None, Full]
    assert waiting.outbounds[2].exchange.queued == pytest.approx(10.0)


@every_order
@virtual
async def test_when_no_backend_is_left_nobody_waits_on(order: str) -> None:
    """All of them are told so, long before their patience ends."""
    dispatcher = made(1, max_in_flight=1, queue={"order": order, "timeout": "1h"})
    attempt, waiting, started = begun(dispatcher), Waiting(dispatcher), now()
    await waiting.add(3)

    dispatcher.pool.drain(attempt.backend)

    assert await waiting.errors() == [NoBackend] * 3
    assert now() - started <= 2 * LOOK
    assert dispatcher.waiting == 0
    end(dispatcher, attempt)
    assert in_flight(dispatcher.pool) == (0, 0)


@virtual
async def test_a_turn_that_another_limit_makes_useless_keeps_its_place() -> None:
    """The pool has room for another, but the only one that is not full is that which takes nothing new."""
    dispatcher = made(1, 1, backend_max_in_flight=1, queue={"timeout": "1h"})
    one, two = begun(dispatcher), begun(dispatcher)
    waiting = Waiting(dispatcher)
    await waiting.add(2)
    dispatcher.pool.drain(one.backend)

    end(dispatcher, one)
    await settle()
    assert waiting.entered == []
    end(dispatcher, two)
    await settle()

    assert waiting.entered == [0]
    end(dispatcher, waiting.tasks[0].result())
    assert await waiting.errors() == [None, None]


@virtual
async def test_a_retry_waits_in_the_queue_like_any_other() -> None:
    """And gets another backend than the one that failed."""
    dispatcher = made(1, 1, backend_max_in_flight=1)
    outbound = asking()
    attempt = dispatcher.begin(outbound, now())
    busy, waiting = begun(dispatcher), Waiting(dispatcher)
    await waiting.add()
    assert failed(dispatcher, outbound, ConnectionTerminated()) >= 0
    await settle()
    again = asyncio.create_task(dispatcher.enter(outbound))
    await settle()
    assert not again.done()

    end(dispatcher, busy)

    assert (await again).backend is busy.backend is not attempt.backend
    assert await waiting.errors() == [None]


# Retries and their budget...


@virtual
async def test_a_retry_is_paid_once_and_is_no_request() -> None:
    """Of 3 a second there are 12 at once; what is not retried for another reason costs nothing."""
    dispatcher = made(1, 1, retry={"budget": 0, "min_per_second": 3})
    for _ in range(20):  # neither is tried again
        outbound = asking("POST")
        dispatcher.begin(outbound, now())
        assert failed(dispatcher, outbound, ConnectionTerminated()) < 0

    answers = []
    for _ in range(14):
        outbound = asking()
        dispatcher.begin(outbound, now())
        answers.append(failed(dispatcher, outbound, ConnectionTerminated()) >= 0)
        if answers[-1]:
            dispatcher.begin(outbound, now())
            assert failed(dispatcher, outbound, ConnectionTerminated()) < 0  # the last one

    assert answers == [True] * 12 + [False] * 2
    assert dispatcher.requests == 34
    assert dispatcher.retries == {"method": 20, "retried": 12, "attempts": 12, "budget": 2}
    assert in_flight(dispatcher.pool) == (0, 0, 0)


def refused(dispatcher: Dispatcher, error: ProxyError) -> bool:
    """Whether a request whose first attempt ended so is tried again."""
    outbound = asking()
    dispatcher.begin(outbound, now())
    return failed(dispatcher, outbound, error) >= 0


@virtual
async def test_what_nobody_was_asked_is_not_paid_where_another_is_well() -> None:
    """
    Of three one is ejected, one refuses and one is well: half of the requests are made good, whatever the budget.

    Once the third has failed, too, or where nobody takes note of that, a retry has to be paid.
    """
    poor = {"retry": {"budget": 0, "min_per_second": 0}}
    dispatcher = made(1, 1, 1, kind="first", **poor)
    first, second, third = dispatcher.pool.backends
    dispatcher.pool.drain(third)
    assert all(refused(dispatcher, ConnectFailed()) for _ in range(5))
    assert first not in dispatcher.pool.available
    dispatcher.pool.undrain(third)
    assert all(refused(dispatcher, ConnectFailed()) for _ in range(50))
    assert not refused(dispatcher, ConnectionTerminated()), "its backend was asked"

    dispatcher.pool.drain(second)
    assert not refused(dispatcher, ConnectFailed()), "there is nobody else"
    dispatcher.pool.undrain(second)
    assert not refused(dispatcher, ConnectFailed()), "the other has failed as well"
    assert not refused(made(1, 1, breaker={"enabled": False}, **poor), ConnectFailed())


@pytest.mark.parametrize(
    ("method", "headers", "error", "again"),
    [
        ("GET", [], ConnectionTerminated(), True),
        ("POST", [], ConnectionTerminated(), False),
        ("POST", [], ConnectFailed(), True),
        ("POST", [(b"idempotency-key", b"1")], ConnectionTerminated(), True),
        ("PATCH", [], ConnectionTerminated(), False),
        ("GET", [], GONE, False),
    ],
)
@virtual
async def test_what_is_sent_twice(method: str, headers: Fields, error: ProxyError, again: bool) -> None:
    """Traefik 8990: what may have an effect twice is not, unless its backend knows it again, or never saw it."""
    dispatcher = made(1, 1)
    outbound = asking(method, *headers)
    dispatcher.begin(outbound, now())

    assert (failed(dispatcher, outbound, error) >= 0) is again
    assert in_flight(dispatcher.pool) == (0, 0, 0)


@virtual
async def test_the_other_backends_come_first() -> None:
    """Traefik 2723: a retry is not for the server that has just failed, while there is another."""
    dispatcher = made(1, 1, 1, kind="first", retry={"attempts": 4}, breaker={"enabled": False})
    outbound, seen = asking(), []
    for _ in range(4):
        seen.append(dispatcher.begin(outbound, now()).backend.id)
        failed(dispatcher, outbound, ConnectionTerminated())

    assert seen == ["a", "b", "c", "a"]


@pytest.mark.parametrize(("said", "again"), [(b"0", True), (b"1", True), (b"2", False), (b"soon", True)])
@virtual
async def test_retry_after_is_heeded(said: bytes, again: bool) -> None:
    """Up to a second it is waited for, and the backoff besides; what is longer stands; what is no time is not there."""
    dispatcher = made(1, 1)
    outbound = asking()
    dispatcher.begin(outbound, now()).status = 503

    after = failed(dispatcher, outbound, None, [(b"retry-after", said)])

    assert (after >= 0) is again
    if said == b"1":
        assert 1.0 <= after <= 1.025


@pytest.mark.parametrize(("size", "keep", "again"), [(10, 10, True), (11, 10, False), (10, 0, False)])
@pytest.mark.parametrize("pieces", [1, 2, 5])
@virtual
async def test_a_body_is_sent_again_when_it_was_kept(size: int, keep: int, again: bool, pieces: int) -> None:
    """By its own bytes: how it was cut does not count. Of a longer one, what was not sent is there."""
    dispatcher = made(1, 1)
    data = b"0123456789a"[:size]
    cut = [data[i * size // pieces : (i + 1) * size // pieces] for i in range(pieces)]
    messages = iter([{"type": "http.request", "body": piece, "more_body": piece is not cut[-1]} for piece in cut])

    async def receive() -> dict[str, Any]:
        return next(messages)

    outbound = asking("PUT", length=size)
    body = outbound.body = Body(receive, outbound.exchange, limit=0, keep=keep)
    dispatcher.begin(outbound, now())
    first = await body.take()
    assert failed(dispatcher, outbound, ConnectFailed()) >= 0
    assert first == body.taken
    dispatcher.begin(outbound, now())
    dispatcher.policy.attempts = 3
    sent = first
    while not body.complete:
        sent += await body.take()

    assert (failed(dispatcher, outbound, ConnectionTerminated()) >= 0) is again
    if again:
        assert body.taken == sent == data


# What is learnt...


@virtual
async def test_a_client_that_goes_away_is_nobodys_failure() -> None:
    """However many of them go."""
    dispatcher = made(1, 1, breaker={"consecutive": 1, "min_requests": 1})
    for _ in range(10):
        dispatcher.finish(begun(dispatcher), GONE, now())

    assert len(dispatcher.pool.available) == 2
    assert all(backend.breaker.counts() == (0, 0, 0) for backend in dispatcher.pool.backends)
    assert in_flight(dispatcher.pool) == (0, 0, 0)


@virtual
async def test_a_limit_that_finds_itself_holds_for_the_pool() -> None:
    """And is never over the one that was set."""
    dispatcher = made(1, adaptive={"enabled": True, "min_limit": 2}, max_in_flight=15)
    limits = [dispatcher.pool.limit]
    for _ in range(300):
        attempt = begun(dispatcher)
        await asyncio.sleep(0.01)
        end(dispatcher, attempt)
        limits.append(dispatcher.pool.limit)

    assert limits[0] == max(limits) == 15
    assert 2 <= min(limits) < 15


@virtual
async def test_a_hedge_waits_as_long_as_most_answers_take() -> None:
    """Not before something is known, nor for a request that may be sent once only, nor one that a cookie leads."""
    dispatcher = made(1, 1, hedge={"enabled": True, "min_delay": "1ms"})
    assert dispatcher.delay(asking(), now()) == inf
    for i in range(100):
        attempt = begun(dispatcher)
        await asyncio.sleep(0.1 if i % 10 == 0 else 0.01)
        end(dispatcher, attempt)
    await asyncio.sleep(1)

    assert dispatcher.delay(asking(), now()) == pytest.approx(0.1, rel=0.06)
    kept, retried = asking(), asking()
    kept.stuck = dispatcher.pool.backends[0]
    retried.number = 2
    for outbound in (kept, retried, asking("POST"), asking("PUT"), asking("GET", length=3)):
        assert dispatcher.delay(outbound, now()) == inf


@virtual
async def test_a_pool_that_becomes_another_hands_on_what_goes_on() -> None:
    """Counters go on, and a request that began before ends where the others are now."""
    former = made(1, 1)
    attempt = begun(former)
    former.retries["retried"] = 3
    former.refused = 2
    heir = Dispatcher(pool(former.pool.backends), rng=Random(7), clock=now)

    former.yield_to(heir)

    assert (heir.requests, heir.retries["retried"], heir.refused, heir.pool.in_flight) == (1, 3, 2, 1)
    later = begun(heir)
    end(former, attempt)
    assert in_flight(heir.pool) == (1, *(int(backend is later.backend) for backend in heir.pool.backends))
    former.retries["retried"] += 1
    assert heir.retries["retried"] == 4


@virtual
async def test_a_tunnel_is_judged_by_its_first_answer() -> None:
    """And keeps its place until its end, which is heard by who waits."""
    dispatcher = made(1, max_in_flight=1, breaker={"consecutive": 1}, strategy="peak_ewma")
    attempt = begun(dispatcher)
    attempt.first_byte, attempt.status = now() + 0.01, 101
    dispatcher.settle(attempt, now() + 0.01)
    assert in_flight(dispatcher.pool) == (1, 1)
    assert dispatcher.pool.backends[0].breaker.counts() == (1, 0, 0)
    waiting = asyncio.ensure_future(dispatcher.enter(asking()))
    await asyncio.sleep(0.5)
    assert not waiting.done()

    dispatcher.leave(attempt)

    assert (await waiting).backend is attempt.backend
    assert dispatcher.pool.backends[0].breaker.counts() == (1, 0, 0)


@virtual
async def test_a_tunnel_does_not_keep_a_breaker_half_open() -> None:
    """The next one may find out, too, while it goes on."""
    dispatcher = made(1, 1, breaker={"consecutive": 1, "ejection": "1s", "half_open": 1, "jitter": 0.0}, panic=0.0)
    failing = begun(dispatcher)
    dispatcher.finish(failing, ConnectionTerminated("reset"), now())
    assert failing.backend not in dispatcher.pool.available
    await asyncio.sleep(60)
    tunnels = [begun(dispatcher) for _ in range(2)]
    for attempt in tunnels:
        attempt.first_byte, attempt.status = now() + 0.01, 101
        dispatcher.settle(attempt, now())
    assert all(backend.breaker.admits for backend in dispatcher.pool.backends)


@virtual
async def test_a_hedge_is_not_for_tunnels() -> None:
    dispatcher = made(1, 1, hedge={"enabled": True, "min_delay": "1ms"})
    for _ in range(100):
        attempt = begun(dispatcher)
        await asyncio.sleep(0.01)
        end(dispatcher, attempt)
    await asyncio.sleep(1)
    plain, tunnel = asking(), asking()
    tunnel.upgrade = b"websocket"
    assert dispatcher.delay(plain, now()) < inf
    assert dispatcher.delay(tunnel, now()) == inf
