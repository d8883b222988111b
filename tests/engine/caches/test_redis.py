"""A store in Redis: what an outage, a full server, other machines and time do to it, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import time
from typing import Any

import pytest

from app.domain.cache.stored import PURGED, Stored
from app.engine.caches import redis as kind
from app.engine.caches import redis_scripts
from app.engine.caches.redis import PIECE, RedisStore
from app.engine.caches.store import Lost, Purge
from tests.support.redis_server import RedisServer

KEY = b"api https://example.org/a"
Make = Callable[..., Awaitable[RedisStore]]


def head(stamp: int = 1, **given: Any) -> Stored:
    return Stored(stamp, 200, ((b"etag", b'"1"'),), time(), **{"lifetime": 60.0, "until": time() + 600, **given})


async def put(store: RedisStore, key: bytes, body: bytes, stored: Stored | None = None) -> bool:
    writer = await store.write(key, stored or head(), len(body))
    if writer is None:
        return False
    try:
        for at in range(0, len(body), 100_000):
            if not await writer.write(body[at : at + 100_000]):
                return False
        return await writer.commit()
    finally:
        writer.close()


async def get(store: RedisStore, key: bytes) -> bytes | None:
    """The body of what is stored under *key*; None without one. Raises Lost."""
    found = await store.find(key)
    if not found:
        return None
    body = b""
    while len(body) < found[0].size:
        body += await found[0].read(len(body), 64 * 1024)
    return body


async def there(store: RedisStore) -> RedisStore:
    """*store*, as soon as it is connected."""
    async with asyncio.timeout(10):
        while not store.link.open:
            await asyncio.sleep(0.005)
    return store


@pytest.fixture
async def make(own_redis: RedisServer) -> AsyncIterator[Make]:
    """Makes stores of several machines, in a server of their own."""
    jobs: list[asyncio.Task[None]] = []

    async def build(**options: Any) -> RedisStore:
        store = RedisStore(RedisStore.Options.model_validate({"url": own_redis.url, "timeout": "2s", **options}))
        jobs.append(asyncio.create_task(store.run()))
        return await there(store)

    yield build
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


def keys(server: RedisServer, pattern: str = "*") -> list[str]:
    return sorted(server.ask("KEYS", pattern))


async def test_what_one_machine_stores_another_finds(make: Make) -> None:
    one, other = await make(), await make()
    body = bytes(range(256)) * 8192  # of many pieces
    assert await put(one, KEY, body)
    assert await get(other, KEY) == body
    (kept,) = await other.find(KEY)
    assert kept.body is None
    assert await kept.read(PIECE - 1, 10) == body[PIECE - 1 : PIECE]
    assert await put(one, KEY, b"small")
    (kept,) = await other.find(KEY)
    assert kept.body == b"small"


async def test_nothing_is_left_of_what_was_replaced_or_given_up(make: Make, own_redis: RedisServer) -> None:
    store = await make()
    await put(store, KEY, b"x" * 600_000, head(tags=(b"t",)))
    before = keys(own_redis)
    await put(store, KEY, b"y" * 600_000, head(tags=(b"t",)))
    assert len(keys(own_redis)) == len(before)
    writer = await store.write(KEY, head(), None)
    assert writer is not None
    assert await writer.write(b"z" * 600_000)
    await writer._check(0)
    assert len(keys(own_redis)) > len(before)
    writer.close()
    assert await get(store, KEY) == b"y" * 600_000
    assert len(keys(own_redis)) == len(before)
    await store.purge(Purge("key", KEY), 0.0)
    assert keys(own_redis) == [f"l7lb:cache:{name}" for name in ("purge", "purges", "serial", "size")]
    assert own_redis.ask("GET", "l7lb:cache:size") == "0"


async def test_everything_goes_by_itself_when_it_is_over(
    make: Make, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a process that looks, or without."""
    monkeypatch.setattr(kind, "LINGER", 0.05)
    monkeypatch.setattr(kind, "SWEEP", 0.02)
    store = await make()
    for number in range(5):
        assert await put(store, b"api /%d" % number, b"x", head(number, until=time(), tags=(b"t",)))
    assert all(
        own_redis.ask("PTTL", key) != -1 for key in keys(own_redis) if ":o:" in key or ":b:" in key or ":t:" in key
    )
    async with asyncio.timeout(10):
        while own_redis.ask("ZCARD", "l7lb:cache:order"):
            await asyncio.sleep(0.01)
        while store.usage.size or store.usage.responses:
            await asyncio.sleep(0.01)


async def test_while_redis_is_away_it_is_empty_and_nobody_waits(make: Make, own_redis: RedisServer) -> None:
    store = await make()
    await put(store, KEY, b"x" * 600_000)
    (kept,) = await store.find(KEY)
    writer = await store.write(KEY, head(), None)
    assert writer is not None
    assert await writer.write(b"a" * 300_000)
    own_redis.kill()
    async with asyncio.timeout(5):
        while store.link.open:
            await asyncio.sleep(0.005)

        assert store.peek(KEY) == ()
        assert await store.find(KEY) == []
        with pytest.raises(Lost):
            await kept.read(0, 10)
        assert await store.write(KEY, head(), 1) is None
        await writer.write(b"b" * 300_000)
        assert await writer.read(299_999, 2) == b"ab"  # who reads along goes on
        assert not await writer.commit()
        writer.close()
        assert not await store.update(KEY, head())
        assert await store.purge(Purge("tag", b"t"), 0.0) == 0

    own_redis.start()
    await there(store)
    assert store.peek(KEY) is None
    assert await put(store, KEY, b"again")
    assert await get(store, KEY) == b"again"


async def test_a_server_that_hangs_is_away_within_the_timeout(make: Make, own_redis: RedisServer) -> None:
    store = await make(timeout="100ms")
    await put(store, KEY, b"x")
    own_redis.hold()
    try:
        began = asyncio.get_running_loop().time()
        found = await asyncio.gather(*(store.find(KEY) for _ in range(50)))
        assert found == [[]] * 50
        assert await store.find(KEY) == []
        assert asyncio.get_running_loop().time() - began < 2.0
    finally:
        own_redis.go_on()
    await there(store)
    assert await get(store, KEY) == b"x"


async def test_a_full_server_stores_nothing_and_is_not_away(make: Make, own_redis: RedisServer) -> None:
    store = await make()
    await put(store, KEY, b"before")
    own_redis.ask("CONFIG", "SET", "maxmemory", "1")
    assert not await put(store, KEY + b"2", b"x" * 600_000)
    assert not await put(store, KEY + b"3", b"")
    own_redis.ask("CONFIG", "SET", "maxmemory", "0")
    assert store.link.open
    assert await get(store, KEY) == b"before"
    assert await put(store, KEY + b"2", b"after")


async def test_a_piece_that_the_server_has_evicted_is_a_response_lost(make: Make, own_redis: RedisServer) -> None:
    store = await make()
    await put(store, KEY, b"x" * 600_000)
    (kept,) = await store.find(KEY)
    own_redis.ask("DEL", next(key for key in keys(own_redis) if key.endswith(":1")))
    with pytest.raises(Lost):
        await kept.read(PIECE, 10)
    assert await store.find(KEY) == []
    assert await put(store, KEY, b"new")


async def test_a_server_that_has_forgotten_the_scripts_is_told_again(make: Make, own_redis: RedisServer) -> None:
    store = await make()
    own_redis.ask("SCRIPT", "FLUSH")
    assert await put(store, KEY, b"x")
    assert await get(store, KEY) == b"x"


@pytest.mark.parametrize(
    "purge", [Purge("key", KEY), Purge("prefix", b"api "), Purge("tag", b"t"), Purge("tag", b"t", "api")]
)
async def test_a_purge_by_one_machine_stops_what_another_is_writing(make: Make, purge: Purge) -> None:
    one, other = await make(), await make()
    writer = await one.write(KEY, head(tags=(b"s", b"t")), None)
    unmeant = await one.write(b"web /", head(tags=(b"tt",)), None)
    assert writer is not None
    assert unmeant is not None
    assert await other.purge(purge, 0.0) == 0
    assert not await writer.commit()
    assert await unmeant.commit()
    assert await one.find(KEY) == []


async def test_who_began_before_too_many_purges_is_not_stored(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await make(), await make()
    writer = await one.write(KEY, head(), None)
    assert writer is not None
    await asyncio.gather(*(other.purge(Purge("key", b"x"), 0.0) for _ in range(redis_scripts.MOST_PURGES + 1)))
    assert not await writer.commit()


async def test_purges_of_more_than_one_round(make: Make) -> None:
    store = await make()
    count = redis_scripts.ROUND * 2 + 50
    await asyncio.gather(*(put(store, b"api /%d" % n, b"x", head(n, tags=(b"t",))) for n in range(count)))
    await put(store, b"apj /", b"x", head(tags=(b"t",)))
    now = time() + 10
    assert await store.purge(Purge("prefix", b"api ", soft=True), now) == count
    (kept,) = await store.find(b"api /7")
    assert kept.stored.flags & PURGED
    assert kept.stored.age_at(now) >= kept.stored.lifetime
    assert await store.purge(Purge("tag", b"t", "api"), 0.0) == count
    assert await store.purge(Purge("tag", b"t"), 0.0) == 1
    assert store.usage.responses == 0


async def test_a_validation_in_the_moment_of_a_soft_purge_does_not_undo_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head that was to be made stale is another by then."""
    one, other = await make(), await make()
    await put(one, KEY, b"x")
    soften = one._soften

    async def meanwhile(*given: Any) -> None:
        assert await other.update(KEY, head(lifetime=3600.0))
        await soften(*given)

    monkeypatch.setattr(one, "_soften", meanwhile)
    assert await one.purge(Purge("key", KEY, soft=True), time()) == 1
    (kept,) = await one.find(KEY)
    assert kept.stored.flags & PURGED


async def test_what_is_on_its_way_in_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "WRITING", 1_000_000)
    store = await make()
    first, second = await store.write(KEY, head(), None), await store.write(KEY, head(), None)
    assert first is not None
    assert second is not None
    assert await first.write(b"x" * 900_000)
    assert not await second.write(b"x" * 200_000)
    assert await store.write(KEY, head(), 200_000) is None
    first.close()
    second.close()
    assert store.writing == 0


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, "url"), ({"url": "http://h"}, "not a URL of Redis"), ({"url": "redis://"}, "no host"),
        ({"url": "redis://h", "prefix": "a b"}, "prefix"), ({"url": "redis://h", "timeout": "0s"}, "timeout"),
    ],
)  # fmt: skip
def test_options_are_checked(given: dict[str, str], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        RedisStore.Options.model_validate(given)
