"""What the state in Redis does besides: it goes away in every way, it leases, it expires."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest

from app.domain.bucket import TokenBucket
from app.engine.state import open_state
from app.engine.state.channel import Channel, Closed, packed
from app.engine.state.redis import RedisState, StateAway
from settings.root import Settings
from settings.state import StateSettings
from settings.units import Rate
from tests.engine.state.conftest import Opened
from tests.support.redis_server import RedisServer, free_port
from tests.support.shared_state import Shared

TIMEOUT = 0.05


def rule(burst: int = 2, *, seconds: float = 1e6, dry_run: bool = False) -> TokenBucket:
    return TokenBucket("default", Rate(burst, seconds), burst, dry_run=dry_run)


async def spend(state: Any, times: int, limit: TokenBucket, key: str = "a") -> list[bool]:
    shared = Shared(state, real=True)
    return [(await shared.take(limit, key)).allowed for _ in range(times)]


async def seen(condition: Any) -> None:
    """Wait for it."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def notes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of the state."""
    caplog.set_level(logging.INFO, "l7lb.state")

    class Lines(list[str]):
        def __iter__(self) -> Iterator[str]:
            return (record.getMessage() for record in caplog.records if record.name == "l7lb.state")

    return Lines()


# Away, and back...


@pytest.mark.parametrize("way", ["held", "killed"])
async def test_an_outage_costs_one_request_the_timeout_and_the_next_nothing(
    way: str, own_server: RedisServer, connect: Opened, notes: list[str]
) -> None:
    """A bucket of this process's own goes on; one line says so, and one that it is over, without a restart."""
    state = await connect(own_server.url, timeout=TIMEOUT)
    assert await spend(state, 2, rule()) == [True, True]

    own_server.hold() if way == "held" else own_server.kill()
    began = monotonic()
    assert await spend(state, 1, rule()) == [True]
    assert monotonic() - began < 10 * TIMEOUT, "decided, not waited for"
    assert state.away
    said = [state.take("default", "a", rule(), monotonic()).allowed for _ in range(100)]
    assert said == [True, *[False] * 99], "at once, from a bucket that began full"
    await seen(lambda: state.outages)
    assert (state.outages, state.alone) == (1, 101)

    own_server.go_on() if way == "held" else own_server.start()
    await seen(lambda: not state.away)
    assert await spend(state, 1, rule()) == [way == "killed"], "what it knew it knows, if it was not started anew"
    assert state.alone == 101
    first, second = notes
    assert first.startswith("state: redis at ")
    assert first.endswith("; meanwhile each process's limits are its own")
    assert ("no answer within 50 ms" in first) == (way == "held")
    assert second.endswith(" is back")


async def test_all_who_wait_are_told_at_once(own_server: RedisServer, connect: Opened) -> None:
    """A thousand requests on their way when it stops: none of them hangs."""
    state = await connect(own_server.url, timeout=TIMEOUT)
    own_server.hold()

    asked = [asyncio.create_task(spend(state, 1, rule(1000), f"k{n % 10}")) for n in range(1000)]
    async with asyncio.timeout(5):
        assert all(allowed for (allowed,) in await asyncio.gather(*asked))

    await seen(lambda: state.outages)
    assert (state.outages, state.alone) == (1, 1000)


async def test_closed_means_503_and_not_for_a_dry_run(
    own_server: RedisServer, connect: Opened, notes: list[str]
) -> None:
    """What Redis has not seen is not let through; but a limiter that refuses nobody refuses nobody."""
    state = await connect(own_server.url, timeout=TIMEOUT, away="fail_closed")
    own_server.hold()

    with pytest.raises(StateAway) as caught:
        await spend(state, 1, rule())
    with pytest.raises(StateAway):
        state.take("default", "a", rule(), monotonic())

    assert (caught.value.status, caught.value.retry_after) == (503, 1.0)
    assert await spend(state, 1, rule(dry_run=True)) == [True]
    await seen(lambda: state.outages)
    assert (state.outages, state.alone) == (1, 3)
    assert [line.partition("; ")[2] for line in notes] == ["meanwhile limited requests are answered 503"]


async def test_a_server_that_is_not_there_yet_is_not_waited_for(
    tmp_path: Path, connect: Opened, notes: list[str]
) -> None:
    """One line however often it is tried; and once it is there, it is used."""
    state = await connect(f"unix://{tmp_path / 'redis.sock'}")
    assert state.away
    assert await spend(state, 3, rule()) == [True, True, False]
    await asyncio.sleep(0.5)  # several attempts
    assert len([*notes]) == state.outages == 1

    with RedisServer(tmp_path):
        await seen(lambda: not state.away)
        assert await spend(state, 3, rule()) == [True, True, False]


async def test_a_server_that_only_reads_is_away_until_it_writes(
    own_server: RedisServer, connect: Opened, notes: list[str]
) -> None:
    """A replica after a failover: connecting would work, so the script is tried first."""
    state = await connect(own_server.url, timeout=1.0)
    own_server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    assert await spend(state, 3, rule()) == [True, True, False]
    await asyncio.sleep(0.5)  # several attempts
    assert state.away
    assert len([*notes]) == 1

    own_server.ask("REPLICAOF", "NO", "ONE")

    await seen(lambda: not state.away)
    assert len([*notes]) == 2


async def test_a_script_that_was_flushed_is_sent_again(own_server: RedisServer, connect: Opened) -> None:
    """Nobody is away for that."""
    state = await connect(own_server.url, timeout=1.0)
    assert await spend(state, 1, rule()) == [True]
    own_server.ask("SCRIPT", "FLUSH")

    assert await spend(state, 2, rule()) == [True, False]
    assert (state.outages, state.alone) == (0, 0)


async def test_the_loop_that_is_late_is_not_taken_for_redis(redis_server: RedisServer, connect: Opened) -> None:
    """The answer is there, and nobody could read it: that is no outage."""
    state = await connect(redis_server.url, prefix=uuid4().hex, timeout=TIMEOUT)
    asked = asyncio.create_task(spend(state, 1, rule()))
    for _ in range(3):  # until it is sent
        await asyncio.sleep(0)
    time.sleep(3 * TIMEOUT)

    assert await asked == [True]
    assert (state.outages, state.alone) == (0, 0)


async def test_who_stops_waiting_harms_nobody(redis_server: RedisServer, connect: Opened) -> None:
    """A client that goes while its token is on its way takes it along, and only that."""
    state = await connect(redis_server.url, prefix=uuid4().hex, timeout=1.0)
    gone, stays = (asyncio.create_task(spend(state, 1, rule(3))) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()

    assert await stays == [True]
    assert await spend(state, 3, rule(3)) in ([True, True, False], [True, False, False])


async def test_a_password_is_used_and_is_not_in_the_log(tmp_path: Path, connect: Opened, notes: list[str]) -> None:
    """Over TCP this time."""
    port = free_port()
    with RedisServer(tmp_path, "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "open sesame"):
        right = await connect(f"redis://:open%20sesame@127.0.0.1:{port}/1")
        wrong = await connect(f"redis://:simsalabim@127.0.0.1:{port}")

        assert not right.away
        assert wrong.away
    (line,) = (line for line in notes if "invalid" in line)
    assert line.startswith(f"state: redis at 127.0.0.1:{port} is away (")
    assert not any("sesame" in line or "simsalabim" in line for line in notes)


async def test_a_request_that_was_just_about_to_ask_is_told(own_server: RedisServer, connect: Opened) -> None:
    """Redis went away between its two steps."""
    state = await connect(own_server.url, timeout=1.0)
    assert state.take("default", "a", rule(), monotonic()) is None
    asked = asyncio.create_task(state.ask("default", "a", rule(), monotonic()))
    await asyncio.sleep(0)
    state._channel.close("for a test")

    assert (await asked).allowed
    assert state.alone == 1


async def test_the_channel_says_when_nobody_can_be_asked(tmp_path: Path) -> None:
    """Before it runs, and after."""
    channel = Channel(f"unix://{tmp_path}/none", 0.05)
    with pytest.raises(Closed):
        channel.ask(packed(b"PING"))

    async def nothing() -> None: ...

    with pytest.raises(Closed):
        await channel.run(nothing)
    with pytest.raises(Closed):
        channel.ask(packed(b"PING"))


def test_a_missing_package_is_said_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    import sys

    from settings.problems import SettingsError

    for name in [
        name
        for name in sys.modules
        if name == "redis" or name.startswith(("redis.", "app.engine.state.redis", "app.engine.state.channel"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(
        SettingsError, match=r"LB_STATE: state.place: redis is not installed; pip install l7lb\[redis\]"
    ):
        open_state(Settings(state=StateSettings(place="redis://h")), Random())


# Keys, and leases...


async def test_a_key_lives_as_long_as_its_bucket_is_not_full(redis_server: RedisServer, connect: Opened) -> None:
    """So what is kept is bounded by who spent lately."""
    prefix = uuid4().hex
    state = await connect(redis_server.url, prefix=prefix, timeout=1.0)
    await spend(state, 1, rule(2, seconds=100.0))
    (key,) = redis_server.ask("KEYS", f"{prefix}:default:*")

    assert key == f"{prefix}:default:TokenBucket/2/100.0:a"
    assert 49_000 < redis_server.ask("PTTL", key) <= 50_001

    await spend(state, 1, rule(2, seconds=0.02), "short")
    await asyncio.sleep(0.02)
    assert len(redis_server.ask("KEYS", f"{prefix}:default:*")) == 1


async def test_leases_spare_most_questions(redis_server: RedisServer, connect: Opened) -> None:
    """And what is allowed of a bucket that does not refill is still exact, with two who hold some of it."""
    options = {"prefix": uuid4().hex, "timeout": 1.0, "lease": 10, "lease_time": 60.0}
    one, two = [await connect(redis_server.url, **options) for _ in range(2)]
    limit = rule(200)
    before = redis_server.ask("INFO", "stats")["total_commands_processed"]

    both = [allowed for _ in range(150) for state in (one, two) for allowed in await spend(state, 1, limit)]

    after = redis_server.ask("INFO", "stats")["total_commands_processed"]
    assert sum(both) == 200
    assert after - before < 120, "three commands a question, for 300 takes"


async def test_the_worst_overshoot_of_leases_is_as_stated(redis_server: RedisServer, connect: Opened) -> None:
    """What was held while the bucket refilled comes on top of a full bucket: lease - 1, here nine, and no more."""
    options = {"prefix": uuid4().hex, "timeout": 1.0, "lease": 10, "lease_time": 60.0}
    holds, drains = [await connect(redis_server.url, **options) for _ in range(2)]
    limit = rule(100, seconds=1.0)
    held = holds._leases
    while not (lease := held._leases.get(("default", "a"))) or lease.left != 9:
        await spend(holds, 1, limit)
    await asyncio.sleep(1.0)

    began = monotonic()
    allowed = 0
    while all(await spend(drains, 1, limit)):
        allowed += 1
    late = [holds.take("default", "a", limit, monotonic()) for _ in range(10)]
    took = monotonic() - began

    assert [decision is not None and decision.allowed for decision in late] == [True] * 9 + [False]
    assert 100 <= allowed <= 100 + 100 * took
    assert allowed + 9 > 100, "more than the bucket has: that is the price"


async def test_held_tokens_are_spent_first_while_redis_is_away(own_server: RedisServer, connect: Opened) -> None:
    """Then the bucket of this process's own."""
    state = await connect(own_server.url, timeout=TIMEOUT, lease=10, lease_time=60.0)
    limit = rule(100)
    lease = state._leases._leases
    while ("default", "a") not in lease or lease["default", "a"].left != 9:
        await spend(state, 1, limit)
    own_server.kill()
    await seen(lambda: state.away)

    assert all(state.take("default", "a", limit, monotonic()).allowed for _ in range(9))
    assert state.alone == 0
    assert state.take("default", "a", limit, monotonic()).remaining == 99
    assert state.alone == 1


async def test_what_is_left_of_a_lease_goes_back(redis_server: RedisServer, connect: Opened) -> None:
    """With the next question, whatever that is about."""
    state: RedisState = await connect(redis_server.url, prefix=uuid4().hex, timeout=1.0, lease=10, lease_time=0.1)
    limit = rule(100)
    await spend(state, 9, limit)  # 1 + 2 + 4, and two of eight
    await asyncio.sleep(0.11)
    await spend(state, 1, limit, "b")

    (decision,) = [await Shared(state, real=True).take(limit)]

    assert decision.remaining == 90
