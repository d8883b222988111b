"""What boards promise when processes are killed, servers go away, and disks are full."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.engine.state import lmdb_board
from app.engine.state.board import Board, BoardAway, Table
from app.engine.state.directory import Held
from app.engine.state.lmdb_board import LmdbBoard
from tests.support.noting import NUMBERS
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).parents[3]
KEPT = Table("kept", lasting=True)
Opened = Callable[..., Awaitable[Board]]


@contextmanager
def noting(place: str, *what: str) -> Iterator[subprocess.Popen[str]]:
    """A process at a board, killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.noting", place, *what],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        assert line(process) == "ready"
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where several processes meet."""
    if request.param == "lmdb":
        yield f"lmdb:{tmp_path}"
        return
    with RedisServer(tmp_path) as server:
        yield server.url


@pytest.fixture
async def board(place: str, open_board: Opened) -> Any:
    """The one on which they do."""
    return LmdbBoard(Held(Path(place[5:])), lasting=True) if place.startswith("lmdb") else await open_board(place)


async def test_two_processes_count_together(place: str, board: Board) -> None:
    """Each sees what the other wrote, or is told that it did not write: none of 400 is lost."""
    with noting(place, "count", "a", "200") as one, noting(place, "count", "a", "200") as two:
        for process in (one, two):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [await asyncio.to_thread(line, process) for process in (one, two)] == ["done", "done"]

    assert (await board.read(NUMBERS))["a"].value == b"400"


async def test_the_lease_of_a_process_that_was_killed_is_over_in_time(place: str, board: Board) -> None:
    with noting(place, "hold", "probe", "0.6") as process:
        assert line(process) == "True"
        assert not await board.lease("probe", "us", 30.0)
        process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    while not await board.lease("probe", "us", 30.0):
        await asyncio.sleep(0.02)

    assert time.monotonic() - killed < 2 * 0.6


def test_what_was_acknowledged_is_there_after_any_kill(tmp_path: Path) -> None:
    """A hundred times, in whatever it is doing; the next one goes on where it ended. They are forks, for speed."""
    script = (
        "import asyncio, os, signal, sys\n"
        "from tests.support.noting import main\n"
        "for number in range(100):\n"
        "    read, write = os.pipe()\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os.dup2(write, 1)\n"
        "        asyncio.run(main(sys.argv[1], 'keep', 'kept'))\n"
        "    os.close(write)\n"
        "    said, seen = os.fdopen(read), []\n"
        "    for line in said:\n"
        "        seen.append(line)\n"
        "        if len(seen) == 2 + number % 5:\n"
        "            os.kill(child, signal.SIGKILL)\n"
        "    os.waitpid(child, 0)\n"
        "    sys.stdout.write(''.join(seen[1:]))\n"
        "    said.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, f"lmdb:{tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    acknowledged = [int(number) for number in done.stdout.split()]
    board = LmdbBoard(Held(tmp_path), lasting=True)

    kept = asyncio.run(board.read(KEPT))

    assert len(acknowledged) >= 300
    assert {str(number) for number in acknowledged} <= set(kept)
    assert len(set(acknowledged)) == len(acknowledged)  # one that was killed before it said so is not written again
    board.close()


@pytest.mark.parametrize("table", [KEPT, NUMBERS])
async def test_a_full_map_is_told_to_who_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    """What was written before stays, and can be taken away."""
    monkeypatch.setattr(lmdb_board, "ROOM", 1 << 20)
    board = LmdbBoard(Held(tmp_path), lasting=True)

    async def fill() -> None:
        for number in range(100):
            await board.write(table, str(number), b"x" * 100_000)

    with pytest.raises(BoardAway, match="MAP_FULL"):
        await fill()

    kept = await board.read(table)
    assert {note.value for note in kept.values()} == {b"x" * 100_000}
    for key in kept:
        await board.write(table, key, None)
    await board.write(table, "a", b"x" * 100_000)
    board.close()


async def test_notes_of_an_earlier_boot_are_gone_and_lasting_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock that they went by begins anew."""
    for boot in ("one", "two"):
        monkeypatch.setattr(lmdb_board, "boot_id", lambda boot=boot: boot)
        board = LmdbBoard(Held(tmp_path), lasting=True)
        await board.write(KEPT, boot, b"")
        await board.write(NUMBERS, boot, b"")
        found = set(await board.read(KEPT)), set(await board.read(NUMBERS))
        board.close()

    assert found == ({"one", "two"}, {"two"})


async def test_a_key_has_its_limit(tmp_path: Path) -> None:
    board = LmdbBoard(Held(tmp_path), lasting=True)
    with pytest.raises(ValueError, match="over 400 bytes"):
        await board.write(NUMBERS, "x" * 400, b"")
    board.close()


async def test_a_board_closes_when_what_is_being_written_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited for it may have gone: LMDB must not be closed under a thread that is in it."""
    board = LmdbBoard(Held(tmp_path), lasting=True)
    begun, go_on = threading.Event(), threading.Event()
    write = board._write

    def slow(*args: Any) -> int:
        begun.set()
        assert go_on.wait(10)
        return write(*args)

    monkeypatch.setattr(board, "_write", slow)
    task = asyncio.create_task(board.write(KEPT, "a", b"x"))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    closing = asyncio.create_task(asyncio.to_thread(board.close))
    done, _ = await asyncio.wait({closing}, timeout=0.2)
    assert not done
    go_on.set()
    await closing

    again = LmdbBoard(Held(tmp_path), lasting=True)
    assert set(await again.read(KEPT)) == {"a"}
    again.close()


# Redis...


async def test_what_was_acknowledged_is_there_after_redis_was_killed(tmp_path: Path, open_board: Opened) -> None:
    """With an append-only file that is synced at once."""
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
        board = await open_board(server.url)
        for number in range(10):
            await written(board, str(number))
            server.kill()
            server.start()

        assert len(await read(board)) == 10


async def written(board: Board, key: str) -> int:
    """As soon as the board is there."""
    while True:
        try:
            return await board.write(KEPT, key, b"x")
        except BoardAway:
            await asyncio.sleep(0.02)


async def read(board: Board) -> dict[str, Any]:
    while True:
        try:
            return await board.read(KEPT)
        except BoardAway:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "keeps nothing"),
        (("--save", "60 1"), "since its last snapshot"),
        (("--appendonly", "yes"), ""),
    ],
)
async def test_a_server_that_does_not_keep_what_it_has_is_said_so(
    tmp_path: Path,
    open_board: Opened,
    caplog: pytest.LogCaptureFixture,
    options: tuple[str, ...],
    said: str,
) -> None:
    """Once, whatever becomes of the connection."""
    caplog.set_level(logging.WARNING)
    with RedisServer(tmp_path, *options) as server:
        board = await open_board(server.url)
        await written(board, "a")
        server.kill()
        server.start()
        await written(board, "b")

    lines = [record.message for record in caplog.records if "append-only" in record.message]
    assert len(lines) == bool(said)
    assert all(said in text for text in lines)


async def test_one_that_cannot_write_is_away(
    tmp_path: Path, open_board: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """And back when it can."""
    with RedisServer(tmp_path, "--min-replicas-to-write", "1") as server:
        board = await open_board(server.url)
        with pytest.raises(BoardAway, match="NOREPLICAS"):
            await board.read(KEPT)

        server.ask("CONFIG", "SET", "min-replicas-to-write", "0")

        await written(board, "a")
    assert sum("is away" in record.message for record in caplog.records) <= 2


async def test_redis_away_is_told_at_once(tmp_path: Path, open_board: Opened) -> None:
    with RedisServer(tmp_path) as server:
        board = await open_board(server.url)
        await written(board, "a")
        server.kill()

        async def ask_on() -> None:
            while True:
                await board.revision(KEPT)
                await asyncio.sleep(0.01)

        with pytest.raises(BoardAway):
            await ask_on()
        began = time.monotonic()
        for ask in (board.read(KEPT), board.write(KEPT, "a", b""), board.lease("a", "b", 1.0)):
            with pytest.raises(BoardAway):
                await ask
        assert time.monotonic() - began < 0.5
        server.start()
        await written(board, "b")


async def test_scripts_that_were_flushed_are_sent_again(tmp_path: Path, open_board: Opened) -> None:
    with RedisServer(tmp_path) as server:
        board = await open_board(server.url)
        server.ask("SCRIPT", "FLUSH")
        assert await board.write(KEPT, "a", b"x", expected=0)
        assert [*await board.read(KEPT)] == ["a"]
