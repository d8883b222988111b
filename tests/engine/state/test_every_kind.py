"""What every kind of state does, each on the real thing: a dict, LMDB files, a Redis or Valkey server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.domain.bucket import FixedWindow, Rule, TokenBucket
from settings.units import Rate
from tests.support.redis_server import RedisServer
from tests.support.shared_state import Shared

ROOT = Path(__file__).parents[3]


def rule(shared: Shared, burst: int = 2, units: float = 10.0) -> Rule:
    """A bucket that fills in so many units."""
    return TokenBucket("default", Rate(burst, units * shared.unit), burst)


async def spend(shared: Shared, times: int, limit: Rule, key: str = "a", name: str = "default") -> list[bool]:
    return [(await shared.take(limit, key, name)).allowed for _ in range(times)]


async def test_each_key_has_its_own_bucket(shared: Shared) -> None:
    """One client's spending is not another's; nor is that of a client with a name that is odd, long, or none at all."""
    limit = rule(shared, units=1000)

    for key in ("a", "b", "", "a\0b", "\xff" * 64, "\N{SNOWMAN}" * 64, "\udc80", "x" * 5000, "x" * 5001):
        assert await spend(shared, 3, limit, key) == [True, True, False]


async def test_each_limiter_has_its_own_buckets(shared: Shared) -> None:
    """The same key at another limiter is another bucket; the same limiter is one, however often it is named."""
    limit = rule(shared, units=1000)

    assert await spend(shared, 3, limit, name="x") == [True, True, False]
    assert await spend(shared, 3, limit, name="y") == [True, True, False]
    assert await spend(shared, 1, limit, name="x") == [False]


async def test_a_bucket_refills(shared: Shared) -> None:
    """One token in five units of two in ten."""
    limit = rule(shared)
    assert await spend(shared, 3, limit) == [True, True, False]

    await shared.later(6)

    assert await spend(shared, 2, limit) == [True, False]


async def test_a_window_begins_again(shared: Shared) -> None:
    """What is left of one is not carried into the next."""
    limit = FixedWindow("default", 3, 5 * shared.unit)
    await shared.take(limit)

    await shared.later(5)
    while (await shared.take(limit, "clock")).reset < 3 * shared.unit:  # so that the window does not end meanwhile
        await shared.later(1)

    assert await spend(shared, 4, limit) == [True, True, True, False]


async def test_what_is_said_is_what_memory_would_say(shared: Shared) -> None:
    """Tokens left, time until full, time until there is one."""
    limit = rule(shared, 3, units=3000)
    second = 1000 * shared.unit

    said = [await shared.take(limit) for _ in range(4)]

    assert [decision.remaining for decision in said] == [2, 1, 0, 0]
    assert [decision.reset for decision in said] == pytest.approx(
        [second, 2 * second, 3 * second, 3 * second], rel=0.05
    )
    assert [decision.retry_after for decision in said] == pytest.approx([0, 0, 0, second], rel=0.05)
    assert all(decision.rule is limit for decision in said)


async def test_a_reload_keeps_the_buckets_of_a_rule_that_did_not_change(shared: Shared) -> None:
    """A new rule object of the same rate goes on; another rate begins with full buckets."""
    await spend(shared, 2, rule(shared, units=1000))

    assert await spend(shared, 1, rule(shared, units=1000)) == [False]
    assert (await shared.take(rule(shared, 7, units=1000))).remaining == 6


async def test_many_at_once_get_what_there_is(shared: Shared) -> None:
    """Not one more and not one less, whoever asks first."""
    limit = rule(shared, 300, units=1e6)

    said = await asyncio.gather(*(shared.take(limit) for _ in range(1000)))

    assert sum(decision.allowed for decision in said) == 300
    assert sorted((decision.remaining for decision in said if decision.allowed), reverse=True) == [*range(299, -1, -1)]


def takers(place: str, *numbers: int, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.takers", place, *map(str, numbers)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_two_processes_allow_exactly_what_is_in_the_bucket(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """10 000 takes, 3000 tokens, none added meanwhile."""
    place = f"lmdb:{tmp_path}"
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        place = server.url
    both = [takers(place, 5000, 3000) for _ in range(2)]
    for one in both:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"

    allowed = [int(one.communicate("go\n")[0]) for one in both]

    assert sum(allowed) == 3000


def test_workers_of_a_supervisor_share_without_being_told(tmp_path: Path) -> None:
    """Two of them, 10 000 takes, 3000 tokens; the next supervisor's begin anew, and clear away what the first left."""
    for _ in range(2):
        supervisor = takers("auto", 5000, 3000, 2, RUNTIME_DIRECTORY=str(tmp_path))

        assert supervisor.communicate()[0] == "3000\n"
        assert len([*tmp_path.glob("*/supervisor-*")]) == 1
