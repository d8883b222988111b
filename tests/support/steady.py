"""Clients that ask at a steady rate in the background, while a test does something to the backends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Self

from tests.support.load import load
from tests.support.until import until


class Steady:
    """
    GETs at *rate* a second from *clients* connections, until it is left.

    When they all wait for an answer, requests that are due are made as soon as one has it: none is left out.
    With *again*, they try once more what broke, as `load` does.
    """

    def __init__(self, port: int, *, rate: int, clients: int = 40, target: str = "/", again: bool = False) -> None:
        self.counts: Counter[int | str] = Counter()
        self.begun = 0
        self._port = port
        self._rate = rate
        self._clients = clients
        self._target = target
        self._again = again
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="clients")

    def _run(self) -> None:
        started = time.monotonic()

        async def pause() -> None:
            due = started + self.begun / self._rate
            self.begun += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))

        asyncio.run(self._load(pause))

    async def _load(self, pause: object) -> None:
        self.counts = await load(
            self._port,
            clients=self._clients,
            requests=1_000_000,
            target=self._target,
            pause=pause,  # type: ignore[arg-type]
            stop=lambda: self._stopped,
            again=self._again,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped = True
        self._thread.join()

    def pass_by(self, count: int) -> None:
        """Wait until so many more requests have begun."""
        wanted = self.begun + count
        until(lambda: self.begun >= wanted, f"{count} requests", within=30)
