"""A store on disk: what a kill, a reboot, a full disk and other processes do to it, on real files."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.domain.cache.stored import PURGED, Stored
from app.engine.caches import disk_index, object_file
from app.engine.caches.disk import DiskStore
from app.engine.caches.store import Lost, Purge
from tests.support.server import ROOT
from tests.support.until import until

KEY = b"api https://example.org/a"
Make = Callable[..., Awaitable[DiskStore]]


def body_of(number: int) -> bytes:
    """Up to 300 kB, which *number* says: so that a body that is not whole, or another's, is known."""
    size = number * 7919 % 300_000
    return (blake2b(b"%d" % number).digest() * (size // 64 + 1))[:size]


def head(stamp: int = 1, **given: Any) -> Stored:
    return Stored(stamp, 200, ((b"content-type", b"text/plain"),), 1000.0, **{"lifetime": 60.0, **given})


async def put(store: DiskStore, key: bytes, body: bytes, stored: Stored | None = None) -> bool:
    writer = await store.write(key, stored or head(), None)
    assert writer is not None
    try:
        for at in range(0, len(body), 50_000):
            if not await writer.write(body[at : at + 50_000]):
                return False
        return await writer.commit()
    finally:
        writer.close()


async def get(store: DiskStore, key: bytes) -> bytes | None:
    """The body of what is stored under *key*; None without one. Raises Lost."""
    found = await store.find(key)
    if not found:
        return None
    body = b""
    while len(body) < found[0].size:
        body += await found[0].read(len(body), 64 * 1024)
    return body


def files(path: Path) -> list[Path]:
    return [file for name in ("incoming", "objects") for file in (path / name).rglob("*") if file.is_file()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
async def make(path: Path) -> AsyncIterator[Make]:
    """Makes stores in *path*, whose first look at what is there is over."""
    opened: list[tuple[DiskStore, asyncio.Task[None]]] = []

    async def build(**options: Any) -> DiskStore:
        store = DiskStore(DiskStore.Options.model_validate({"directory": str(path), **options}))
        await store.attempt(store._look_through, None)
        opened.append((store, asyncio.create_task(store.run())))
        return store

    yield build
    for store, job in opened:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job
        store.close()


WRITER = """
import asyncio, sys
from tests.engine.caches.test_disk import body_of, put
from app.engine.caches.disk import DiskStore

async def main(directory, first):
    store = DiskStore(DiskStore.Options(directory=directory, max_size=20_000_000))
    await store.attempt(store._look_through, None)
    print("ready", flush=True)
    async def some(number):
        while True:
            await put(store, b"api https://example.org/%d" % (number % 97), body_of(number % 97))
            number += 4
    await asyncio.gather(*(some(first + offset) for offset in range(4)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.slow
async def test_a_kill_at_any_moment_leaves_whole_responses_or_none(make: Make, path: Path) -> None:
    """Two processes write at once, and are killed, again and again; a third reads meanwhile."""
    rng = Random(5)
    reader = await make(max_size=20_000_000)
    found = 0

    async def read_all() -> int:
        """What is there is right, or has just gone."""
        count = 0
        for number in range(97):
            with suppress(Lost):
                body = await get(reader, b"api https://example.org/%d" % number)
                assert body in (None, body_of(number))
                count += body is not None
        return count

    for turn in range(8):
        command = [sys.executable, "-c", WRITER, str(path)]
        writers = [
            subprocess.Popen([*command, str(first)], cwd=ROOT, stdout=subprocess.PIPE)
            for first in (rng.randrange(97), rng.randrange(97))
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                assert await asyncio.to_thread(writer.stdout.readline) == b"ready\n"
            before = reader.usage.responses
            for _ in range(rng.randrange(1, 4)):
                found = max(found, await read_all())
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                writer.wait()
                assert writer.stdout is not None
                writer.stdout.close()
        assert turn == 0 or before > 0  # it was there for who came new
        await read_all()
    assert found > 50

    reader._look_through()
    records = [record for number in range(97) for record in reader._index.find(b"api https://example.org/%d" % number)]
    assert reader._index.usage() == (len(records), sum(record.weight for record in records))
    assert {file.name for file in files(path)} == {record.number.hex() for record in records}
    assert reader._index.pending() == []
    assert await read_all() == len(records)


async def test_what_a_killed_process_stored_is_there_for_the_next(make: Make, path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), "0"], cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    try:
        until(lambda: len(list((path / "objects").rglob("*"))) > 40, "some files", within=60)
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()

    store = await make()

    assert store.usage.responses > 10


async def test_all_processes_together_keep_to_the_size(make: Make, path: Path) -> None:
    limit = 2_000_000
    stores = [await make(max_size=limit, max_object=400_000) for _ in range(3)]
    most = 0
    for number in range(60):
        await asyncio.gather(
            *(put(store, b"api /%d" % (3 * number + at), b"x" * 90_000) for at, store in enumerate(stores))
        )
        most = max(most, sum(file.stat().st_size for file in files(path)))
        assert all(store._index.usage()[1] <= limit for store in stores)
    assert limit / 2 < most <= limit


async def test_a_body_of_unknown_length_takes_room_as_it_comes(make: Make) -> None:
    """And gives it back; there is none where all that is left is being written."""
    store = await make(max_size=3_000_000, max_object=8_000_000)
    first, second = await store.write(KEY, head(), None), await store.write(KEY + b"2", head(), None)
    assert first is not None
    assert second is not None
    taken = 0
    while await first.write(b"x" * 100_000):
        taken += 1
    assert 15 <= taken < 30
    assert await first.read(0, 10) == b"x" * 10
    assert not await first.commit()
    first.close()
    while store._index.pending() != [second._number]:
        await asyncio.sleep(0.001)
    assert await second.write(b"y" * 2_000_000)
    assert await second.commit()
    second.close()


async def test_what_was_not_used_for_the_longest_time_goes_first(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.caches.disk.TOUCH", 0)
    store = await make(max_size=1_000_000)
    for number in range(40):
        await put(store, b"api /%d" % number, b"x" * 90_000)
        await get(store, b"api /0")
    assert await get(store, b"api /0") is not None
    assert await get(store, b"api /1") is None
    assert store.usage.evicted >= 28


async def test_after_a_reboot_all_that_is_whole_is_there_and_is_validated(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without reading a body: that is looked at when it is wanted first."""
    before = DiskStore(DiskStore.Options(directory=str(path)))
    for number in range(20):
        assert await put(before, b"api /%d" % number, body_of(number + 1), head(number, tags=(b"t",)))
    assert before.usage.responses == 20
    paths = {number: before.path(before._index.find(b"api /%d" % number)[0].number) for number in range(20)}
    before.close()
    monkeypatch.setattr(disk_index, "boot_id", lambda: "another")
    with paths[3].open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0")
    os.truncate(paths[4], 100)
    with paths[5].open("r+b") as file:
        file.seek(object_file.FRONT)
        file.write(b"x")
    paths[6].write_bytes(b"")
    (path / "objects" / "zz").mkdir()
    (path / "objects" / "zz" / "nothing of ours").write_bytes(b"")

    with monkeypatch.context() as context:
        context.setattr(object_file.Whole, "check", None)
        after = await make()

    assert after.usage.responses == 17
    assert [number for number in range(20) if not await after.find(b"api /%d" % number)] == [4, 5, 6]
    assert not any(paths[number].exists() for number in (4, 5, 6))
    (kept,) = await after.find(b"api /7")
    assert kept.stored.flags & PURGED
    assert kept.stored.lifetime == 60.0
    assert await get(after, b"api /7") == body_of(8)
    with pytest.raises(Lost):
        await get(after, b"api /3")
    assert await after.find(b"api /3") == []
    assert not paths[3].exists()
    assert await after.purge(Purge("tag", b"t"), 0.0) == 16
    assert len(files(path)) == 1  # what is not of ours is left alone


async def test_a_purge_by_one_process_stops_what_another_is_writing(make: Make) -> None:
    one, other = await make(), await make()
    for purge in (Purge("key", KEY), Purge("prefix", KEY[:-1]), Purge("tag", b"t", "api"), Purge("tag", b"t")):
        writer = await one.write(KEY, head(tags=(b"t",)), 4)
        assert writer is not None
        await writer.write(b"body")
        assert await other.purge(purge, 0.0) == 0
        assert not await writer.commit()
        writer.close()
        assert await get(other, KEY) is None

    writer = await one.write(KEY, head(tags=(b"t",)), 4)
    assert writer is not None
    await writer.write(b"body")
    for number in range(disk_index.MOST_PURGES + 1):
        await other.purge(Purge("key", b"api /%d" % number), 0.0)
    assert not await writer.commit()  # nobody knows any more
    writer.close()


async def test_long_keys_that_begin_alike_are_different_and_can_be_purged(make: Make) -> None:
    store = await make()
    long = KEY + b"x" * 1000
    await put(store, long + b"1", b"one")
    await put(store, long + b"2", b"two")
    assert [await get(store, long + b"1"), await get(store, long + b"2")] == [b"one", b"two"]
    assert await store.purge(Purge("prefix", long + b"2"), 0.0) == 1
    assert [await get(store, long + b"1"), await get(store, long + b"2")] == [b"one", None]
    assert await store.purge(Purge("prefix", long), 0.0) == 1


async def test_a_purge_of_more_than_one_round(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_index, "ROUND", 3)
    store = await make()
    for number in range(20):
        await put(store, b"api /%d" % number, b"x", head(number, tags=(b"t",) if number % 2 else ()))
    assert await store.purge(Purge("tag", b"t", soft=True), 1000.0) == 10
    assert await store.purge(Purge("tag", b"t"), 0.0) == 10
    assert await store.purge(Purge("prefix", b"api "), 0.0) == 10
    assert store.usage.responses == store.usage.size == 0


async def test_a_file_that_is_gone_is_a_lost_response(make: Make, path: Path) -> None:
    store = await make()
    await put(store, KEY, b"body")
    for file in files(path):
        file.unlink()
    with pytest.raises(Lost):
        await get(store, KEY)
    assert await store.find(KEY) == []
    assert store.usage.responses == 0


async def test_small_bodies_that_were_used_last_are_in_memory_and_are_no_older_than_the_index(make: Make) -> None:
    store, other = await make(memory=100_000), await make()
    for number in range(5):
        await put(store, b"api /%d" % number, b"%d" % number * 30_000)
        assert store.peek(b"api /%d" % number)[0].body is None
        await get(store, b"api /%d" % number)
    assert [store.peek(b"api /%d" % number)[0].body is not None for number in range(5)] == [False] * 2 + [True] * 3
    assert await get(store, b"api /4") == b"4" * 30_000
    assert await put(other, b"api /4", b"new")
    assert await get(store, b"api /4") == b"new"
    await other.purge(Purge("key", b"api /4"), 0.0)
    assert store.peek(b"api /4") == []
    await put(store, KEY, b"x" * 70_000)
    await get(store, KEY)
    assert store.peek(KEY)[0].body is None


async def test_a_full_disk_stores_nothing_and_harms_nobody(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await make()
    writer = await store.write(KEY, head(), None)
    assert writer is not None
    assert await writer.write(b"x" * 100_000)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as context:
        context.setattr(os, "pwrite", full)
        assert not await writer.write(b"y" * 100_000)
        assert await store.write(KEY, head(), 10) is None
        assert await writer.read(99_999, 10) == b"x"
        assert not await writer.commit()
    writer.close()
    while store._index.usage() != (0, 0):
        await asyncio.sleep(0.001)
    assert await put(store, KEY, b"body")


async def test_a_disk_that_hangs_holds_up_who_waits_for_it_and_nobody_else(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evicting, writing and reading are in threads; looking up goes on meanwhile."""
    store = await make(max_size=1_000_000)
    for number in range(10):
        await put(store, b"api /%d" % number, b"x" * 90_000)
    go_on = threading.Event()
    unlink = Path.unlink

    def hanging(path: Path, missing_ok: bool = False) -> None:
        assert go_on.wait(10)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", hanging)
    writing = asyncio.create_task(put(store, b"api /new", b"y" * 500_000))
    while store.peek(b"api /0"):  # until it is evicted
        await asyncio.sleep(0.001)
    assert not writing.done()
    assert store.peek(b"api /9")
    assert await get(store, b"api /9") == b"x" * 90_000
    go_on.set()
    assert await writing


@pytest.mark.parametrize("given", [{}, {"directory": ""}, {"directory": "/d", "max_size": "x"}])
def test_options_are_checked(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"directory|max_size"):
        DiskStore.Options.model_validate(given)
