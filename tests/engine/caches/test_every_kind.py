"""What holds for every kind of store. A kind that is in CACHES is tested here."""

import asyncio
from contextlib import suppress

import pytest

from app.domain.cache.stored import PURGED, Stored
from app.engine.caches import CACHES, Lost, Purge, Store
from app.engine.caches.store import MOST_VARIANTS
from settings.models import Choice

KEY = b"api https://example.org/a?x=1"


@pytest.fixture(params=CACHES)
async def make(request, tmp_path):
    """Makes stores of this kind; called again with the same options, one that shares what it keeps, if it can."""
    where = PLACES[request.param](tmp_path, request.getfixturevalue)
    opened, jobs = [], []

    async def build(**options) -> Store:
        store = CACHES.build(Choice(kind=request.param, **where, **options))
        opened.append(store)
        jobs.append(asyncio.create_task(store.run()))
        while store.peek(b"") is not None and request.param == "redis":  # until it is there
            await asyncio.sleep(0.001)
        return store

    yield build
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    for store in opened:
        store.close()


PLACES = {
    "memory": lambda path, get: {},
    "disk": lambda path, get: {"directory": str(path / "cache")},
    "redis": lambda path, get: {"url": get("redis").url, "prefix": path.name[-30:]},
}
"""Kind -> the options that say where."""


def head(stamp: int = 1, **given) -> Stored:
    return Stored(stamp, 200, ((b"content-type", b"text/plain"), (b"etag", b'"1"')), 1000.0, **given)


async def put(store: Store, key: bytes, stored: Stored, *pieces: bytes, length: int | None = None) -> bool:
    writer = await store.write(key, stored, length)
    if writer is None:
        return False
    try:
        for piece in pieces:
            if not await writer.write(piece):
                return False
        return await writer.commit()
    finally:
        writer.close()


async def bodies(store: Store, key: bytes) -> list[bytes]:
    """What is stored under *key*, read in small pieces."""
    found = []
    for kept in await store.find(key):
        body = b""
        while len(body) < kept.size:
            body += await kept.read(len(body), 3)
        assert kept.body in (None, body)
        found.append(body)
    return sorted(found)


async def test_what_is_committed_is_found_as_it_was(make):
    store = await make()
    stored = head(vary=((b"accept", None), (b"x", b"1")), tags=(b"t",), lifetime=60.5, age=1.25, start=3, total=99)
    assert await put(store, KEY, stored, b"hello ", b"world")
    (kept,) = await store.find(KEY)
    assert kept.stored == stored
    assert kept.size == 11
    assert await bodies(store, KEY) == [b"hello world"]
    assert await bodies(store, KEY + b"2") == []


async def test_an_empty_body_is_a_body(make):
    store = await make()
    assert await put(store, KEY, head())
    (kept,) = await store.find(KEY)
    assert kept.size == 0


async def test_nobody_finds_what_is_not_complete(make):
    store = await make()
    writer = await store.write(KEY, head(), None)
    assert await writer.write(b"half")
    assert await bodies(store, KEY) == []
    assert await writer.read(1, 2) == b"al"
    writer.close()
    assert await bodies(store, KEY) == []


async def test_what_was_written_can_be_read_along_before_and_after_it_is_stored(make):
    store = await make()
    writer = await store.write(KEY, head(), None)
    assert await writer.write(b"one")
    assert await writer.write(b"two")
    assert (await writer.read(0, 3)) in (b"o", b"on", b"one")
    assert (await writer.read(4, 9)) in (b"w", b"wo")
    assert await writer.commit()
    assert (await writer.read(3, 1)) == b"t"
    writer.close()
    writer.close()
    assert await bodies(store, KEY) == [b"onetwo"]


async def test_variants_stand_beside_each_other_and_the_same_one_is_replaced(make):
    store = await make()
    assert await put(store, KEY, head(1, vary=((b"accept", b"a"),)), b"a")
    assert await put(store, KEY, head(2, vary=((b"accept", b"b"),)), b"b")
    assert await put(store, KEY, head(3, vary=((b"accept", b"a"),)), b"A")
    assert await bodies(store, KEY) == [b"A", b"b"]


async def test_no_client_can_fill_a_key(make):
    store = await make()
    for number in range(MOST_VARIANTS + 5):
        assert await put(store, KEY, head(number, vary=((b"accept", b"%d" % number),)), b"x")
    assert len(await store.find(KEY)) == MOST_VARIANTS


async def test_a_head_is_replaced_by_stamp(make):
    store = await make()
    await put(store, KEY, head(7), b"body")
    assert await store.update(KEY, head(7, lifetime=5.0))
    assert not await store.update(KEY, head(8, lifetime=9.0))
    assert not await store.update(KEY + b"2", head(7))
    (kept,) = await store.find(KEY)
    assert kept.stored.lifetime == 5.0
    assert await bodies(store, KEY) == [b"body"]


async def test_purge_by_key_prefix_and_tag(make):
    store = await make()
    keys = [b"api https://a/x", b"api https://a/x?b", b"api https://a/xy", b"web https://a/x"]
    for number, key in enumerate(keys):
        await put(store, key, head(number, tags=(b"all", b"n%d" % number)), b"x")
    assert await store.purge(Purge("key", keys[0]), 0.0) == 1
    assert await store.purge(Purge("key", keys[0]), 0.0) == 0
    assert await store.purge(Purge("tag", b"all", group="web"), 0.0) == 1
    assert await bodies(store, keys[1]) == [b"x"]
    assert await store.purge(Purge("tag", b"n2"), 0.0) == 1
    assert await store.purge(Purge("prefix", b"api https://a/"), 0.0) == 1
    assert [await bodies(store, key) for key in keys] == [[], [], [], []]


async def test_a_soft_purge_keeps_the_response_and_makes_it_stale(make):
    store = await make()
    await put(store, KEY, head(lifetime=60.0), b"x")
    assert await store.purge(Purge("prefix", b"api ", soft=True), 1010.0) == 1
    (kept,) = await store.find(KEY)
    assert kept.stored.lifetime == 10.0
    assert kept.stored.flags & PURGED


async def test_what_is_being_written_when_a_purge_comes_is_not_stored(make):
    store = await make()
    writer = await store.write(KEY, head(), None)
    await writer.write(b"old")
    assert await store.purge(Purge("key", KEY), 0.0) == 0
    assert not await writer.commit()
    assert await writer.read(0, 3) == b"old"
    writer.close()
    assert await bodies(store, KEY) == []


async def test_a_body_over_the_limit_is_not_stored(make):
    store = await make(max_object=10)
    assert await store.write(KEY, head(), 11) is None
    assert not await put(store, KEY, head(), b"123456", b"78901")
    assert await bodies(store, KEY) == []
    assert await put(store, KEY, head(), b"1234567890", length=10)


async def test_its_size_is_bounded_and_what_was_not_used_goes_first(make):
    store = await make(max_size=256 * 1024, max_object=64 * 1024)
    for number in range(100):
        await put(store, b"api https://a/%d" % number, head(number), b"x" * 16 * 1024)
        await store.find(b"api https://a/0")
    assert store.usage.size <= 256 * 1024
    assert await bodies(store, b"api https://a/99")
    assert not await bodies(store, b"api https://a/1")


async def test_who_has_found_a_response_reads_it_or_learns_that_it_is_lost(make):
    store = await make()
    await put(store, KEY, head(), b"hello")
    (kept,) = await store.find(KEY)
    await store.purge(Purge("key", KEY), 0.0)
    with suppress(Lost):
        assert await kept.read(0, 5) == b"hello"
