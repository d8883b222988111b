"""What one request costs, in what can be counted exactly: calls and memory. Time is printed, never asserted."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

import app.engine.direct
from settings.groups import GroupSettings
from tests.bench.line import REQUEST, Line, bare, everything

compiled = not app.engine.direct.__file__.endswith(".py")
interpreted = pytest.mark.skipif(compiled, reason="compiled functions make no calls that could be counted")

CALLS = 152
"""Python and C calls of one request with everything on, on the direct driver: exact, so that one more is seen."""
HIT = 104
"""The same of one that is answered from a cache in memory."""
MEMORY = 12_000
"""Bytes that one request has at a time, its own 1.3 KiB of response twice among them; 8 200 when this was written."""


WITH_KEY = REQUEST[:-2] + b"X-API-Key: a key that is long enough\r\nOrigin: https://app.example.org\r\n\r\n"
POLICIES = [
    ({"access": {"allow": ["192.0.2.0/24"]}}, 5),
    ({"cors": {"origins": ["https://app.example.org"]}}, 5),
    ({"api_key": {"keys": {"alice": "a key that is long enough"}}}, 17),
    ({"errors": {"texts": {"404": "gone"}}}, 2),
    ({"max_body": 1000}, 0),
]
"""Calls that each makes on the direct driver, for one request that is let in."""


def calls(work: Callable[[], Any]) -> int:
    """How many functions *work* calls, in Python and in C; the least of three times, for a window may turn in one."""
    return min(_calls(work) for _ in range(3))


def _calls(work: Callable[[], Any]) -> int:
    seen = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        seen += event in ("call", "c_call")

    gc.disable()  # its callbacks are calls, too
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return seen - 1  # setprofile's own


def memory(work: Callable[[], Any]) -> int:
    """The most bytes that *work* has at a time, beyond what was there before."""
    tracemalloc.start()
    try:
        work()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def blocks(work: Callable[[], Any]) -> int:
    """How many allocations *work* leaves behind: its record, until the journal takes it."""
    gc.disable()
    try:
        work()
        before = sys.getallocatedblocks()
        work()
        return sys.getallocatedblocks() - before
    finally:
        gc.enable()


def warm(line: Line) -> Line:
    """Past the first requests, which fill what is remembered; between two batches of the journal."""
    for _ in range(70):
        line.ask()
    assert line.client.written.startswith(b"HTTP/1.1 200 OK\r\n")
    line.journal.flush()
    return line


@interpreted
async def test_a_request_makes_so_many_calls() -> None:
    """With routing over 100 groups, rate limit, log and metrics."""
    assert calls(warm(Line(everything())).ask) <= CALLS


async def test_a_request_needs_so_much_memory() -> None:
    """And gives it back, but for its record, which waits for the journal."""
    assert memory(warm(Line(everything())).ask) <= MEMORY


@interpreted
async def test_a_thousand_groups_cost_as_much_as_one() -> None:
    """Routing is a walk over the path, not over the groups."""
    one, many = warm(Line(everything(51))), warm(Line(everything(1000)))

    assert calls(one.ask) == calls(many.ask)
    assert abs(memory(one.ask) - memory(many.ask)) < 200


@interpreted
async def test_a_thousand_backends_cost_as_much_as_two() -> None:
    """Round robin is an index into a ring."""
    two, many = warm(Line(everything(backends=2))), warm(Line(everything(backends=1000)))
    two.upstream, many.upstream = two.upstream[:1], many.upstream[:1]

    def send(line: Line) -> Callable[[], None]:
        return lambda: line.edge.data_received(REQUEST)

    assert calls(send(two)) == calls(send(many))


async def test_resilience_that_has_nothing_to_do_costs_next_to_nothing() -> None:
    """Breaker, retries and queue, armed and idle, beside the same without them."""
    off = {"breaker": {"enabled": False}, "retry": {"attempts": 1}, "queue": {"size": 0}, "panic": 0.0}
    armed, bare = warm(Line(everything())), warm(Line(everything(pool=off)))

    if not compiled:
        assert calls(armed.ask) - calls(bare.ask) <= 12
    assert blocks(armed.ask) - blocks(bare.ask) <= 2


@interpreted
async def test_policies_cost_what_they_are_asked_for() -> None:
    """Each beside the same without it; what is off is not there, and so costs nothing: `CALLS` has not grown for it."""

    def cost(**policy: Any) -> int:
        group = GroupSettings(path="/g000", pool="a", **policy)
        settings = everything(1).model_copy(update={"groups": {"g000": group}})
        return calls(warm(Line(settings, request=WITH_KEY)).ask)

    plain = cost()
    for policy, most in POLICIES:
        assert cost(**policy) - plain <= most, policy


async def test_both_drivers_answer_the_same() -> None:
    """Byte for byte, but for the fields that differ from request to request."""
    direct, general = Line(everything()), Line(everything(), driver="asgi")
    direct.ask()
    await general.ask_by_task()

    def settled(answer: bytes) -> list[bytes]:
        return [line for line in answer.split(b"\r\n") if not line.startswith((b"ratelimit:", b"date:"))]

    assert settled(direct.client.written) == settled(general.client.written)


@pytest.mark.parametrize("name", ["everything", "bare"])
async def test_microseconds_are_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a reference loop in the same run, for whoever reads the output; nothing is asserted of it."""
    line = warm(Line(everything() if name == "everything" else bare()))

    def best(work: Callable[[], Any], times: int = 200) -> float:
        fastest = float("inf")
        for _ in range(10):
            start = time.perf_counter()
            for _ in range(times):
                work()
            fastest = min(fastest, (time.perf_counter() - start) / times * 1e6)
        return fastest

    reference = best(lambda: sum(range(1000)))
    spent = best(line.ask)
    await asyncio.sleep(0)
    with capsys.disabled():
        how = "compiled" if compiled else "interpreted"
        print(f"\n  {name}, {how}: {spent:.1f} us a request, {spent / reference:.2f} x sum(range(1000))")

    assert line.client.written.startswith(b"HTTP/1.1 200 OK\r\n")


@interpreted
async def test_a_hit_makes_fewer_calls_than_a_forward() -> None:
    """Exact, as CALLS is; most of both are the edge's, the rate limit's and the log's."""
    line = Line(everything(group={"cache": {"lifetimes": {200: "36500d"}}}))
    await line.ask_by_task()
    for _ in range(70):
        line.ask()
    line.journal.flush()

    assert b"cache-status: l7lb; hit" in line.client.written
    assert calls(line.ask) == HIT
