"""What the state in LMDB does besides: bounds, other processes that die, boots, full maps and disks."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import lmdb
import pytest

from app.domain.bucket import TokenBucket
from app.engine.state import lmdb as module
from app.engine.state import open_state
from app.engine.state.directory import Held, boot_id
from app.engine.state.lmdb import LmdbState
from settings.problems import SettingsError
from settings.root import Settings
from settings.state import StateSettings
from settings.units import Rate
from tests.support.server import ROOT


def rule(burst: int = 2, *, seconds: float = 10.0, max_keys: int = 100_000) -> TokenBucket:
    return TokenBucket("default", Rate(burst, seconds), burst, max_keys=max_keys)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[list[LmdbState]]:
    """States that are closed afterwards, in whatever state they are."""
    states: list[LmdbState] = []
    yield states
    for state in states:
        state.close()


def test_the_table_is_bounded_whatever_keys_arrive(tmp_path: Path, opened: list[LmdbState]) -> None:
    """Five thousand addresses leave ten buckets of this limiter, and those of another alone."""
    opened.append(state := LmdbState(Held(tmp_path)))
    state.take("other", "a", rule(), 5.0)
    few = rule(max_keys=10)

    for n in range(5000):
        state.take("default", f"192.0.2.{n}", few, 5.0)

    assert len(state) == 11


def test_full_buckets_are_forgotten_first(tmp_path: Path, opened: list[LmdbState]) -> None:
    """A flood of new keys does not give a client that was refused its tokens back, while there are fuller ones."""
    opened.append(state := LmdbState(Held(tmp_path)))
    limit = rule(max_keys=module.LOOK)
    for _ in range(3):
        state.take("default", "spent", limit, 14.0)

    for n in range(100):
        state.take("default", f"new{n}", limit, 14.0)

    assert len(state) == module.LOOK
    assert not state.take("default", "spent", limit, 14.0).allowed


def test_the_table_shrinks_after_a_flood(tmp_path: Path, opened: list[LmdbState]) -> None:
    """Each newcomer takes out up to two that are full."""
    opened.append(state := LmdbState(Held(tmp_path)))
    limit = rule()
    for n in range(500):
        state.take("default", f"flood{n}", limit, 5.0)
    for n in range(600):
        state.take("default", f"calm{n}", limit, 100.0 + 20.0 * n)

    assert len(state) <= 2


def test_a_worker_that_starts_takes_out_what_is_full(tmp_path: Path, opened: list[LmdbState]) -> None:
    """Of every limiter, also of those that are gone; what is not full stays, and is still counted."""
    first = LmdbState(Held(tmp_path))
    for n in range(2500):
        first.take("gone", f"{n}", rule(), 5.0)
    far = module.monotonic() + 1000
    small = rule(max_keys=3)
    for n in range(3):
        first.take("default", f"old{n}", rule(max_keys=3), 5.0)
        first.take("default", f"new{n}", rule(max_keys=6), far)
    first.close()

    opened.append(state := LmdbState(Held(tmp_path)))
    assert len(state) == 3

    state.take("default", "another", small, far)
    assert len(state) == 3


def test_a_worker_that_is_killed_keeps_nobody_out(tmp_path: Path, opened: list[LmdbState]) -> None:
    """In the middle of writing, again and again: the lock is given on, and what was spent stays spent."""
    opened.append(state := LmdbState(Held(tmp_path)))
    limit = rule(10, seconds=1e9)
    for _ in range(10):
        state.take("default", "mine", limit, 5.0)
    write = f"""
from pathlib import Path
from app.domain.bucket import TokenBucket
from app.engine.state.directory import Held
from app.engine.state.lmdb import LmdbState
from settings.units import Rate
state, rule, n = LmdbState(Held(Path({str(tmp_path)!r}))), TokenBucket("default", Rate(5, 1e9), 5, max_keys=1000), 0
while True:
    state.take("other", str(n), rule, 5.0)
    n += 1
    if n == 100:
        print("busy", flush=True)
"""
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", write], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)

        assert not state.take("default", "mine", limit, 5.0).allowed
        assert state.take("default", f"new{process.pid}", limit, 5.0).allowed

    assert state.alone == 0


def test_what_a_killed_process_was_reading_is_freed(tmp_path: Path, opened: list[LmdbState]) -> None:
    """Else nothing that was written since would ever be written over, and the map would fill."""
    LmdbState(Held(tmp_path)).close()
    path = tmp_path / f"counters-{boot_id()}"
    read = (
        f"import lmdb, sys; txn = lmdb.open({str(path)!r}).begin(); print(txn.get(b'x'), flush=True); sys.stdin.read()"
    )
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", read], **pipes) as stays:
        with subprocess.Popen([sys.executable, "-c", read], **pipes) as killed:
            for process in (stays, killed):
                assert process.stdout is not None
                process.stdout.readline()
            killed.kill()
        with lmdb.open(str(path)) as env:
            assert str(killed.pid) in env.readers()

        opened.append(state := LmdbState(Held(tmp_path)))

        assert str(killed.pid) not in state._env.readers()
        assert str(stays.pid) in state._env.readers()
        stays.kill()


def test_counters_of_another_boot_are_dropped(tmp_path: Path, opened: list[LmdbState]) -> None:
    """They are of a clock that has begun again, and what a crash of the machine left of them is not even looked at."""
    old = tmp_path / "counters-00000000-0000-0000-0000-000000000000"
    old.mkdir()
    (old / "data.mdb").write_bytes(b"\xff" * 100_000)
    (tmp_path / "registrations").mkdir()

    opened.append(state := LmdbState(Held(tmp_path)))

    assert not old.exists()
    assert (tmp_path / "registrations").is_dir()
    assert state.take("default", "a", rule(), 5.0).remaining == 1


def test_counters_outlive_the_process(tmp_path: Path, opened: list[LmdbState]) -> None:
    """A restart does not give anybody tokens."""
    now = module.monotonic()
    limit = rule(seconds=1e6)
    first = LmdbState(Held(tmp_path))
    first.take("default", "a", limit, now)
    first.close()

    opened.append(state := LmdbState(Held(tmp_path)))

    assert [state.take("default", "a", limit, now).allowed for _ in range(2)] == [True, False]


def test_a_full_map_begins_again(tmp_path: Path, opened: list[LmdbState], caplog: pytest.LogCaptureFixture) -> None:
    """It should never be; but no request fails by it, and there is room again."""
    opened.append(state := LmdbState(Held(tmp_path), size=256 * 1024))
    limit = rule()

    allowed = [state.take("default", f"k{n}", limit, 5.0).allowed for n in range(6000)]

    assert all(allowed)
    assert 1 <= state.alone < 5
    assert 0 < len(state) < 6000
    assert "full, so all buckets are dropped" in caplog.text


def test_a_worker_with_a_larger_map_is_followed(tmp_path: Path, opened: list[LmdbState]) -> None:
    """As in a rolling restart with more limiters: the older worker finds more than it has mapped."""
    opened.append(state := LmdbState(Held(tmp_path), size=256 * 1024))
    state.take("default", "a", rule(), 5.0)
    fill = f"""
from pathlib import Path
from app.domain.bucket import TokenBucket
from app.engine.state.directory import Held
from app.engine.state.lmdb import LmdbState
from settings.units import Rate
state, rule = LmdbState(Held(Path({str(tmp_path)!r})), size=16 << 20), TokenBucket("default", Rate(5, 1e9), 5)
for n in range(20000):
    state.take("other", str(n), rule, 5.0)
assert state.alone == 0
"""
    subprocess.run([sys.executable, "-c", fill], cwd=ROOT, check=True)

    state.take("default", "a", rule(), 5.0)  # decided alone

    assert state.alone == 1
    assert [state.take("default", "b", rule(), 5.0).allowed for _ in range(3)] == [True, True, False]
    assert len(state) == 20001, "b, and all of the other's; a was full, so it was taken out"


def test_when_nothing_works_each_worker_goes_on_by_itself(
    tmp_path: Path, opened: list[LmdbState], caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, counted each time."""
    state = LmdbState(Held(tmp_path))
    state.close()

    assert [state.take("default", "a", rule(), 5.0).allowed for _ in range(3)] == [True, True, False]
    assert state.alone == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "this worker's limits are its own" in caplog.text


def test_its_room_is_taken_at_once(tmp_path: Path, opened: list[LmdbState]) -> None:
    """A disk that fills up later cannot kill the process that writes to the map."""
    opened.append(LmdbState(Held(tmp_path), keys=100_000))

    (data,) = tmp_path.glob("counters-*/data.mdb")

    assert data.stat().st_blocks * 512 >= data.stat().st_size >= 100_000 * 200


@pytest.mark.parametrize(("number", "refused"), [(errno.ENOSPC, True), (errno.EOPNOTSUPP, False)])
def test_a_disk_without_room_is_found_out_when_a_worker_starts(
    number: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[LmdbState]
) -> None:
    """And a file system that cannot promise room is trusted to have it."""

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", full)
    settings = Settings(state=StateSettings(place=f"lmdb:{tmp_path}"))

    if refused:
        with pytest.raises(SettingsError, match="No space left on device"):
            open_state(settings, Random())
        monkeypatch.undo()
    opened.append(cast("LmdbState", open_state(settings, Random())))

    assert opened[0].take("default", "a", rule(), 5.0).allowed


@pytest.mark.parametrize(
    ("place", "said"),
    [("lmdb:/dev/null/state", "Not a directory"), ("lmdb:/proc/state", "No such file or directory")],
)
def test_a_directory_that_cannot_be_had_is_said_with_the_fix(place: str, said: str) -> None:
    """By the name of the variable."""
    with pytest.raises(SettingsError) as caught:
        open_state(Settings(state={"place": place}), Random())

    assert str(caught.value).startswith("LB_STATE: state.place: state cannot be kept on disk (")
    assert said in str(caught.value)
    assert 'write "lmdb:"' in str(caught.value)


def test_a_reload_that_brings_limiters_gets_its_room(tmp_path: Path, opened: list[LmdbState]) -> None:
    """Taken from the disk as at the start; the other worker, which has not reloaded yet, goes on all the same."""
    opened.append(state := LmdbState(Held(tmp_path), 1000))
    state.take("default", "a", rule(), 5.0)
    file = tmp_path / f"counters-{boot_id()}" / "data.mdb"
    before = file.stat().st_blocks

    state.make_room(1_000_000)

    assert state._env.info()["map_size"] == module.room(1_000_000)
    assert file.stat().st_blocks * 512 >= module.room(1_000_000) > before * 512
    assert state.take("default", "a", rule(), 5.0).remaining == 0
    state.make_room(10)
    assert state._env.info()["map_size"] == module.room(1_000_000)


def test_a_reload_without_room_on_the_disk_goes_on_with_what_there_is(
    tmp_path: Path, opened: list[LmdbState], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened.append(state := LmdbState(Held(tmp_path), 1000))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    state.make_room(1_000_000)

    assert "no room for 1000000 buckets: No space left" in caplog.text
    assert state.take("default", "a", rule(), 5.0).allowed
