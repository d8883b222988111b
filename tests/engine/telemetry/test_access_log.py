"""The log never stops or slows the traffic, and never tears a line."""

import asyncio
import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.domain.exchange import Exchange
from app.engine.telemetry import access_log as module
from app.engine.telemetry.access_log import AccessLog, packed
from app.engine.telemetry.lines import LONGEST
from tests.support.until import until

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Reading and writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def line(exchange: Exchange, wall: float) -> str:
    return exchange.path + "\n"


def exchanges(*paths: str) -> list[Exchange]:
    return [Exchange(1.0, "192.0.2.1", "https", "GET", "h", path) for path in paths]


def test_lines_go_together_as_far_as_one_write_takes() -> None:
    """Whole ones, in their order, at most 4096 bytes."""
    lines = [f"{n:<1000}\n" for n in range(10)] + ["x" * (LONGEST - 1) + "\n", "y\n"]

    chunks = packed(lines)

    assert b"".join(chunks) == "".join(lines).encode()
    assert [text.count(b"\n") for text in chunks] == [4, 4, 2, 1, 1]
    assert all(len(text) <= LONGEST and text.endswith(b"\n") for text in chunks)
    assert packed([]) == []


async def test_stopping_writes_what_waits(pipe: Pipe) -> None:
    """And may be done twice, and before starting."""
    log = AccessLog(line, pipe[1])
    await log.stop()
    log.start()
    log.observe(exchanges("/a", "/b"), 0.0)
    log.observe(exchanges("/c"), 0.0)
    await log.stop()
    await log.stop()

    assert os.read(pipe[0], 100) == b"/a\n/b\n/c\n"
    assert log.dropped == 0


async def test_it_can_be_started_again(pipe: Pipe) -> None:
    """As a lifespan can."""
    log = AccessLog(line, pipe[1])
    for path in ("/a", "/b"):
        log.start()
        log.observe(exchanges(path), 0.0)
        await log.stop()

    assert os.read(pipe[0], 100) == b"/a\n/b\n"


async def test_before_and_after_lines_are_dropped_and_counted(pipe: Pipe) -> None:
    """They are not kept for a thread that does not come."""
    log = AccessLog(line, pipe[1])
    log.observe(exchanges("/a"), 0.0)
    log.start()
    await log.stop()
    log.observe(exchanges("/b", "/c"), 0.0)

    assert log.dropped == 3


async def test_workers_never_mix_their_lines(pipe: Pipe) -> None:
    """Two logs on one pipe, both with more than goes into one write: every line comes whole."""
    logs = [AccessLog(line, pipe[1]) for _ in range(2)]
    for log in logs:
        log.start()
    for _ in range(20):
        for letter, log in zip("ab", logs, strict=True):
            log.observe(exchanges(*[letter * 500] * 20), 0.0)

    text = b""
    while text.count(b"\n") < 800:
        text += await asyncio.to_thread(os.read, pipe[0], 65536)
    for log in logs:
        await log.stop()

    assert set(text.splitlines()) == {b"a" * 500, b"b" * 500}


async def test_a_reader_that_has_gone_costs_lines_only(pipe: Pipe) -> None:
    """EPIPE is counted, and nothing is raised."""
    log = AccessLog(line, pipe[1])
    log.start()
    os.close(pipe[0])
    log.observe(exchanges("/a", "/b"), 0.0)
    await log.stop()

    assert log.dropped == 2


async def test_a_closed_descriptor_is_never_written_to_again(pipe: Pipe) -> None:
    """Its number may be a client's connection by now: the log keeps its own, opened at the start."""
    log = AccessLog(line, pipe[1])
    log.start()
    number = pipe[1]
    os.close(number)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.dup2(ours.fileno(), number)
        log.observe(exchanges("/a"), 0.0)
        await log.stop()
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)

    assert os.read(pipe[0], 100) == b"/a\n"


async def test_without_a_descriptor_every_line_is_dropped(pipe: Pipe) -> None:
    """Closed before we came: EBADF."""
    os.close(pipe[1])
    log = AccessLog(line, pipe[1])
    log.start()
    log.observe(exchanges("/a"), 0.0)
    await log.stop()

    assert log.dropped == 1


def test_started_without_standard_output_it_takes_no_other_descriptor_for_it() -> None:
    """`l7lb serve >&-`: the number 1 is then the next file or socket that is opened, and stays clean."""
    program = """
import asyncio, socket
from app.domain.exchange import Exchange
from app.engine.telemetry.access_log import AccessLog
from app.engine.telemetry.lines import json_line

async def main():
    log = AccessLog(json_line)
    log.start()
    log.observe([Exchange(1.0, "c", "https", "GET", "h", "/")], 0.0)
    await log.stop()
    assert log.dropped == 1

ours, theirs = socket.socketpair()
assert 1 in (ours.fileno(), theirs.fileno())
asyncio.run(main())
for end in (ours, theirs):
    end.setblocking(False)
    try:
        end.recv(1)
    except BlockingIOError:
        continue
    raise AssertionError("the log went to a socket")
"""
    shell = 'exec "$0" -c "$1" >&-'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, program],
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")


async def test_a_full_pipe_holds_nobody_up(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may wait is bounded, the rest is dropped and counted, and stopping waits no longer than it says."""
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    log = AccessLog(line, pipe[1])
    log.start()

    for _ in range(120):
        log.observe(exchanges(*["x" * 4000] * 64), 0.0)
    dropped = log.dropped
    assert 0 < dropped < 120 * 64
    waiting = log._queued - log._handled
    assert waiting < module._MAX_WAITING + 64 * LONGEST
    until(lambda: select.select([pipe[0]], [], [], 0)[0], "the thread to write")
    await log.stop()  # it is stuck in a write

    os.set_blocking(pipe[0], False)
    text = b""
    while log.dropped * 4001 + len(text) < 120 * 64 * 4001:
        with suppress(BlockingIOError):
            text += os.read(pipe[0], 65536)
    assert set(text.splitlines()) == {b"x" * 4000}


async def test_a_pipe_made_non_blocking_by_others_is_waited_for(pipe: Pipe) -> None:
    """EAGAIN is no reason to drop a line."""
    os.set_blocking(pipe[1], False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe[1], b"." * 4095 + b"\n")
    log = AccessLog(line, pipe[1])
    log.start()
    log.observe(exchanges("/a"), 0.0)

    text = b""
    while b"/a\n" not in text:
        text += await asyncio.to_thread(os.read, pipe[0], 65536)
    await log.stop()

    assert log.dropped == 0


async def test_a_full_pipe_that_does_not_block_is_given_up_too(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping ends the wait for room."""
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    os.set_blocking(pipe[1], False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe[1], b"." * 4096)
    log = AccessLog(line, pipe[1])
    log.start()
    log.observe(exchanges("/a", "/b"), 0.0)
    await log.stop()

    await asyncio.to_thread(until, lambda: log.dropped == 2, "the lines to be given up")


async def test_a_full_disk_tears_no_line_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle of a line: what is written when there is room again stands on its own."""
    room, write = [10], os.write

    def short_of_room(fd: int, data: bytes) -> int:
        if not room[0]:
            room[0] = 1000
            raise OSError(errno.ENOSPC, "full")
        written = write(fd, data[: room[0]])
        room[0] -= written
        return written

    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(line, file.fileno())
        monkeypatch.setattr(os, "write", short_of_room)
        log.start()
        log.observe(exchanges("/aaaa", "/bbbbbbbbbb", "/c"), 0.0)
        await asyncio.to_thread(until, lambda: log.dropped == 2, "the lines to be given up")
        log.observe(exchanges("/d"), 0.0)
        await log.stop()

    assert (tmp_path / "log").read_bytes() == b"/aaaa\n/bbb\n/d\n"
    assert log.dropped == 2


async def test_a_file_gets_all_that_waits_in_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write lets the loop's thread wait for its turn; a pipe has to bear it, for the sake of other writers."""
    sizes, write = [], os.write

    def counted(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(fd, data)

    with (tmp_path / "log").open("wb") as file:
        log = AccessLog(line, file.fileno())
        monkeypatch.setattr(os, "write", counted)
        log.start()
        log.observe(exchanges(*["/" + "a" * 498] * 20), 0.0)
        await log.stop()

    assert sizes == [20 * 500]
    assert log.dropped == 0
