"""Backends that are processes of their own: uvicorn with a small app, which may be killed and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.server import ROOT
from tests.support.until import until


async def app(scope: dict[str, object], receive: object, send: object) -> None:
    """Answers after 5 ms with the id of its process, so that there is always a request on its way."""
    import asyncio

    await asyncio.sleep(0.005)
    body = b"%d" % os.getpid()
    fields = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": body})  # type: ignore[operator]


class Worker:
    """One process, which keeps its port over restarts."""

    def __init__(self) -> None:
        self.port = 0
        self.begin()

    def begin(self) -> None:
        """Start it; it may not listen yet."""
        flags = ["--port", str(self.port), "--lifespan", "off", "--no-access-log"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "tests.support.workers:app", *flags],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stderr.readline, "")))  # type: ignore[union-attr]
        self._reader.start()

    def listens(self) -> bool:
        """Whether it has said so."""
        assert self.process.poll() is None, self.lines
        for line in self.lines:
            if found := re.search(r"running on http://[^:]+:(\d+)", line):
                self.port = int(found[1])
                return True
        return False

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """SIGKILL: whatever it does now remains undone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """SIGTERM, the end, and the beginning, up to the moment in which it listens."""
        self._end(signal.SIGTERM)
        self.begin()
        until(self.listens, "a worker to listen", within=20)

    def _end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(20)
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextmanager
def workers(count: int) -> Iterator[list[Worker]]:
    """So many, all of which listen."""
    started = [Worker() for _ in range(count)]
    try:
        for worker in started:
            until(worker.listens, "a worker to listen", within=20)
        yield started
    finally:
        for worker in started:
            if worker.process.poll() is None:
                worker.kill()
