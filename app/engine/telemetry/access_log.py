"""Writes the latency log: lines are made on the loop, in batches, and written by a thread, which may wait."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread

from app.domain.exchange import Exchange
from app.engine.telemetry.lines import LONGEST, Line

_MAX_WAITING = 4 * 2**20
"""Bytes that may wait to be written; what is over is dropped and counted."""

_GATHER = 0.05
"""Seconds that lines wait for others: each time that the thread wakes or writes, the loop has to give way to it."""

_PATIENCE = 2.0
"""Seconds that stopping waits for what is not yet written."""


class AccessLog:
    """Whole lines to a file descriptor, so that workers never mix theirs; a pipe gets at most 4096 bytes a write.

    Nothing that becomes of the descriptor reaches the traffic: who does not read, reads late or has gone, and a
    disk that is full, cost lines, which are counted. A closed descriptor stays closed for us, for we
    write to a duplicate: its number may by then be a client's connection.
    """

    def __init__(self, line: Line, fd: int = 1) -> None:
        self._line = line
        self._source = fd
        self._fd = -1
        self._queue: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopping = False
        self._torn = False
        # Each of these has one writing thread, so that none needs a lock.
        self._queued = 0
        self._refused = 0
        self._handled = 0
        self._lost = 0

    @property
    def dropped(self) -> int:
        """Lines that were never written."""
        return self._refused + self._lost

    def start(self) -> None:
        """Open the descriptor and start the thread. Before that, and without a descriptor, every line is dropped."""
        self._stopping = False
        try:
            # Where Python was started without standard output, the number 1 went to whatever was opened next.
            self._fd = -1 if self._source == 1 and sys.__stdout__ is None else os.dup(self._source)
        except OSError:
            self._fd = -1
        self._thread = Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def observe(self, batch: Sequence[Exchange], wall: float) -> None:
        """Make the lines of *batch* and leave them to the thread."""
        if self._thread is None or self._queued - self._handled > _MAX_WAITING:
            self._refused += len(batch)
            return
        line = self._line
        chunks = packed([line(exchange, wall) for exchange in batch])
        self._queued += sum(map(len, chunks))
        self._queue.put(chunks)

    async def stop(self) -> None:
        """Write what waits, for two seconds at most; then give it up."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, thread.join, _PATIENCE)
        self._stopping = True

    def _run(self) -> None:
        fd = self._fd
        whole = fd >= 0 and stat.S_ISREG(os.fstat(fd).st_mode)  # a write to a file is never mixed with another's
        going = True
        while going:
            going, chunks = self._gathered()
            for text in [b"".join(chunks)] if whole else chunks:
                self._lost += self._write(fd, text)
                self._handled += len(text)
        if fd >= 0:
            os.close(fd)

    def _gathered(self) -> tuple[bool, list[bytes]]:
        """What has come up to a moment after the first of it; False when nothing follows."""
        chunks = self._queue.get()
        if chunks is None:
            return False, []
        time.sleep(_GATHER)
        while not self._queue.empty():
            more = self._queue.get()
            if more is None:
                return False, chunks
            chunks = chunks + more
        return True, chunks

    def _write(self, fd: int, text: bytes) -> int:
        """Write it, and return how many lines of it were not written."""
        left = text
        try:
            if self._torn:  # the disk was full in the middle of a line: the next ones begin on their own
                os.write(fd, b"\n")
                self._torn = False
            while left and not self._stopping:
                try:
                    left = left[os.write(fd, left) :]
                except BlockingIOError:  # somebody else made the descriptor non-blocking
                    poll = select.poll()
                    poll.register(fd, select.POLLOUT)
                    poll.poll(100)
        except OSError:
            pass
        self._torn = self._torn or 0 < len(left) < len(text)
        return left.count(b"\n")


def packed(lines: Sequence[str]) -> list[bytes]:
    """*lines* in their order, as many together as go into one write."""
    chunks: list[bytes] = []
    start = size = 0
    for end, line in enumerate(lines):
        if size + len(line) > LONGEST and size:
            chunks.append("".join(lines[start:end]).encode("ascii"))
            start, size = end, 0
        size += len(line)
    if size:
        chunks.append("".join(lines[start:]).encode("ascii"))
    return chunks
