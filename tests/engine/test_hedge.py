"""Two attempts at once: one of them is taken, and nothing is left of the other. Time is virtual."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, cast

import pytest

from app.domain.attempt import Attempt
from app.domain.errors import ClientGone, ConnectionTerminated, ProxyError, ResponseTimeout
from app.domain.exchange import Exchange
from app.engine.client import Client, UpstreamRequest, UpstreamResponse
from app.engine.dispatch import Dispatcher
from app.engine.hedge import race
from app.engine.outbound import Outbound
from tests.support.fleet import fleet, pool
from tests.support.virtual import virtual

Outcome = int | ProxyError
"""A status, or why there is none."""


class Response:
    """A response head."""

    def __init__(self, status: int) -> None:
        self.status_code = status
        self.released = False

    def release(self) -> None:
        self.released = True


class Backends:
    """In place of the client: each answers after some seconds."""

    def __init__(self, **plan: tuple[float, Outcome]) -> None:
        self._plan = plan
        self.asked: list[str] = []
        self.cut: list[str] = []
        self.responses: dict[str, Response] = {}

    async def send(self, request: UpstreamRequest) -> Response:
        """As the client does it: the one that has gone may end it at any time."""
        name = request.attempt.backend.id
        self.asked.append(name)
        seconds, outcome = self._plan[name]
        request.connecting = cast("asyncio.Task[Any]", asyncio.ensure_future(asyncio.sleep(seconds)))
        try:
            await request.connecting
        except asyncio.CancelledError:
            self.cut.append(name)
            if request.error is not None:
                raise request.error from None
            raise
        if isinstance(outcome, ProxyError):
            raise outcome
        self.responses[name] = Response(outcome)
        return self.responses[name]


class Race:
    """One request of a pool of backends a, b and so on, which takes the first that is there."""

    def __init__(self, backends: Backends, *weights: int, **settings: Any) -> None:
        said = {"hedge": {"enabled": True}, "breaker": {"consecutive": 1, "min_requests": 1}, **settings}
        self.backends = backends
        self.pool = pool(fleet(*weights), "first", **said)
        self.dispatcher = Dispatcher(self.pool, rng=Random(7))
        self.exchange = Exchange(0.0, "127.0.0.1", "http", "GET", "lb.test", "/")
        self.outbound = Outbound(self.exchange, [], b"/", b"lb.test", b"", 0, b"")
        self.first = self.dispatcher.begin(self.outbound, 0.0)

    def make(self, outbound: Outbound, attempt: Attempt) -> UpstreamRequest:
        return UpstreamRequest("GET", attempt, cast(Any, None), b"")

    async def run(self, delay: float = 1.0) -> Outcome:
        """What came of it, with the end of the attempt that was taken."""
        request = self.make(self.outbound, self.first)
        self.outbound.requests = (request,)
        fault: ProxyError | None = None
        response: UpstreamResponse | None = None
        try:
            client = cast(Client, self.backends)
            response = await race(self.dispatcher, client, self.outbound, request, self.make, delay)
        except ProxyError as error:
            fault = error
        finally:
            attempt = self.outbound.attempt
            assert attempt is not None
            if response is not None:
                attempt.status = response.status_code
            self.dispatcher.finish(attempt, fault, 0.0)
            for _ in range(5):  # what was cut takes note of it
                await asyncio.sleep(0)
        return fault or response.status_code  # type: ignore[union-attr]  # one of them is there

    @property
    def order(self) -> str:
        """Who was tried; the last is the one that was taken."""
        return "".join(attempt.backend.id for attempt in self.exchange.attempts)

    def assert_over(self) -> None:
        """Nothing is in flight any more."""
        assert self.pool.in_flight == 0
        assert [backend.in_flight for backend in self.pool.backends] == [0] * len(self.pool.backends)

    def counted(self, number: int) -> int:
        """Answers that a breaker has seen."""
        return self.pool.backends[number].breaker.counts()[0]


@virtual
async def test_who_answers_in_time_is_not_hedged() -> None:
    run = Race(Backends(a=(0.9, 200), b=(0.0, 200)), 1, 1)

    assert await run.run() == 200
    assert (run.order, run.backends.asked) == ("a", ["a"])
    assert run.dispatcher.retries == {}
    run.assert_over()


@virtual
async def test_the_second_is_quicker() -> None:
    """The first is cut, and counts as nothing: it has not failed, it was not wanted any more."""
    run = Race(Backends(a=(60.0, 200), b=(0.1, 200)), 1, 1)
    started = asyncio.get_running_loop().time()

    assert await run.run() == 200

    assert asyncio.get_running_loop().time() - started == pytest.approx(1.1)
    assert (run.order, run.backends.cut) == ("ab", ["a"])
    assert (run.counted(0), run.counted(1)) == (0, 1)
    assert run.first.error is None
    assert len(run.pool.available) == 2
    assert run.dispatcher.retries == {"hedged": 1}
    assert run.dispatcher.requests == 1, "a hedge is no request that pays for others"
    run.assert_over()


@virtual
async def test_the_first_is_quicker_after_all() -> None:
    run = Race(Backends(a=(1.2, 200), b=(60.0, 200)), 1, 1)

    assert await run.run() == 200
    assert (run.order, run.backends.cut, run.counted(1)) == ("ba", ["b"], 0)
    run.assert_over()


@virtual
async def test_both_at_the_same_time() -> None:
    """One is taken, the other let go."""
    run = Race(Backends(a=(1.5, 200), b=(0.5, 200)), 1, 1)

    assert await run.run() == 200
    assert [run.backends.responses[name].released for name in run.order] == [True, False]
    run.assert_over()


@pytest.mark.parametrize("outcome", [503, ConnectionTerminated()])
@virtual
async def test_a_bad_answer_is_not_taken_while_there_may_be_a_good_one(outcome: Outcome) -> None:
    """It is counted as what it is."""
    run = Race(Backends(a=(5.0, 200), b=(0.1, outcome)), 1, 1)

    assert await run.run() == 200
    assert (run.order, run.counted(0), run.counted(1)) == ("ba", 1, 1)
    assert run.pool.backends[1] not in run.pool.available
    assert all(response.released for name, response in run.backends.responses.items() if name == "b")
    run.assert_over()


@pytest.mark.parametrize(
    ("a", "b"), [(502, 503), (ConnectionTerminated(), ResponseTimeout()), (503, ResponseTimeout())]
)
@virtual
async def test_of_two_bad_ones_the_last_is_taken(a: Outcome, b: Outcome) -> None:
    run = Race(Backends(a=(1.5, a), b=(1.0, b)), 1, 1)

    assert await run.run() is b
    assert (run.order, run.counted(0)) == ("ab", 1)
    run.assert_over()


@virtual
async def test_who_fails_at_once_is_not_hedged() -> None:
    """That is for a retry, which waits before."""
    run = Race(Backends(a=(0.0, ConnectionTerminated()), b=(0.0, 200)), 1, 1)

    assert isinstance(await run.run(), ConnectionTerminated)
    assert run.backends.asked == ["a"]
    run.assert_over()


NOBODY_ELSE: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "there is one": ((1,), {}),
    "the pool is full": ((1, 1), {"max_in_flight": 1}),
    "the other takes nothing": ((1, 0), {}),
}


@pytest.mark.parametrize("why", NOBODY_ELSE)
@virtual
async def test_nobody_else_is_there(why: str) -> None:
    """The same backend is not asked twice at once; and what is not done is not paid for."""
    weights, settings = NOBODY_ELSE[why]
    run = Race(Backends(a=(5.0, 200), b=(0.0, 200)), *weights, **settings)

    assert await run.run() == 200
    assert (run.backends.asked, run.dispatcher.retries) == (["a"], {})
    run.assert_over()


@virtual
async def test_the_others_are_full() -> None:
    """Of a pool whose backends have limits, the one that is busy already is not the second choice."""
    run = Race(Backends(a=(5.0, 200), b=(0.0, 200)), 1, 1, backend_max_in_flight=4)
    run.pool.backends[1].in_flight = 4

    assert await run.run() == 200
    assert (run.backends.asked, run.dispatcher.retries) == (["a"], {})


@virtual
async def test_a_hedge_does_not_overtake_those_who_wait() -> None:
    """The room that there is, is theirs."""
    run = Race(Backends(a=(5.0, 200), b=(0.0, 200)), 1, 1)
    run.dispatcher.waiting = 1

    assert await run.run() == 200
    assert (run.backends.asked, run.dispatcher.retries) == (["a"], {})


@virtual
async def test_the_budget_is_spent() -> None:
    run = Race(Backends(a=(5.0, 200), b=(0.0, 200)), 1, 1, retry={"budget": 0, "min_per_second": 0})

    assert await run.run() == 200
    assert (run.backends.asked, run.dispatcher.retries) == (["a"], {"budget": 1})
    run.assert_over()


@pytest.mark.parametrize("after", [0.5, 1.0, 1.5], ids=["before", "in the moment of the hedge", "while racing"])
@virtual
async def test_the_client_goes(after: float) -> None:
    """Both are cut, nobody is blamed."""
    run = Race(Backends(a=(60.0, 200), b=(60.0, 200)), 1, 1)
    asyncio.get_running_loop().call_later(after, run.outbound.client_gone)

    assert isinstance(await run.run(), ClientGone)

    assert sorted(run.backends.cut) == sorted(run.backends.asked)
    assert len(run.backends.asked) == (2 if after > 1 else 1)
    assert len(run.pool.available) == 2
    run.assert_over()


@pytest.mark.parametrize("after", [0.5, 1.5], ids=["before", "while racing"])
@virtual
async def test_the_server_stops(after: float) -> None:
    run = Race(Backends(a=(60.0, 200), b=(60.0, 200)), 1, 1)
    task = asyncio.create_task(run.run())
    await asyncio.sleep(after)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert sorted(run.backends.cut) == sorted(run.backends.asked)
    run.assert_over()
