"""SIGTERM: let those who send us requests see that we go, before uvicorn closes its listeners."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

from uvicorn import Server

from app.edge.connection import Connection
from app.edge.link import Link

ECHO = 1.0
"""Seconds in which a worker takes a second SIGTERM for the first: service manager and supervisor may each send one."""

log = logging.getLogger("l7lb")


class Drain:
    """Stands before uvicorn's own answer to SIGTERM.

        serving --SIGTERM--> draining --delay--> uvicorn's own exit: no new connections, grace time, exit status 0
                                |
                                +----SIGTERM, SIGINT--> at once, with what is in flight

    Args:
        server: whose exit it is.

        link: told that we drain; the app's readiness and the edge's `connection: close` follow from it.

        delay: seconds in which we still accept.
    """

    def __init__(self, server: Server, link: Link, delay: float) -> None:
        self._server = server
        self._link = link
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._began: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._theirs: dict[signal.Signals, Any] = {}
        self._answer(signal.SIGTERM)

    def _answer(self, number: signal.Signals) -> None:
        self._theirs[number] = signal.getsignal(number)
        self._loop.add_signal_handler(number, self.signalled)

    def signalled(self) -> None:
        """SIGTERM has come; or, while draining, SIGINT."""
        now = self._loop.time()
        if self._began is None:
            self._began = now
            self._link.draining = True
            log.info("draining: still accepting for %g s", self._delay)
            self._timer = self._loop.call_later(self._delay, self._exit)
            self._answer(signal.SIGINT)
        elif multiprocessing.parent_process() is None or now - self._began > ECHO:
            self._cut()

    def _exit(self) -> None:
        # not by uvicorn's handler, which would raise the signal again at the end and make 143 of our exit status
        self._server.should_exit = True

    def _cut(self) -> None:
        # not by uvicorn's `force_exit`, which leaves out the lifespan's end, and with it the last log lines
        self._server.config.timeout_graceful_shutdown = 0
        for task in self._server.server_state.tasks:
            task.cancel()
        for connection in self._server.server_state.connections:
            if isinstance(connection, Connection):
                connection.transport.abort()
        self._exit()

    def release(self) -> None:
        """Give the signals back."""
        if self._timer is not None:
            self._timer.cancel()
        for number, theirs in self._theirs.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, theirs)


def running_server() -> Server | None:
    """The uvicorn server that handles this process's signals; None in a thread, or under something else."""
    handler: Callable[..., Any] | int | None = signal.getsignal(signal.SIGTERM)
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, Server) else None
