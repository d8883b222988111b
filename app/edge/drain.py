"""SIGTERM: let those who send us requests see that we go, before uvicorn closes its listeners."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

from uvicorn import Server

from app.edge.link import Link

ECHO = 1.0
"""Seconds in which a worker takes a second SIGTERM for the first: the service manager and its supervisor both send one."""

log = logging.getLogger("l7lb")


class Drain:
    """Stands before uvicorn's own answer to SIGTERM.

        serving --SIGTERM--> draining --delay--> uvicorn's own exit: no new connections, grace time, exit status 0
                                |
                                +----SIGTERM, SIGINT--> the same, at once; SIGTERM does not wait for requests either

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
        self._theirs: Any = signal.getsignal(signal.SIGTERM)
        self._loop.add_signal_handler(signal.SIGTERM, self.signalled)

    def signalled(self) -> None:
        """SIGTERM has come."""
        now = self._loop.time()
        if self._began is None:
            self._began = now
            self._link.draining = True
            log.info("draining: still accepting for %g s", self._delay)
            self._timer = self._loop.call_later(self._delay, self._exit)
        elif multiprocessing.parent_process() is None or now - self._began > ECHO:
            self._server.force_exit = True
            self._exit()

    def _exit(self) -> None:
        # not by uvicorn's handler, which would raise the signal again at the end and make 143 of our exit status
        self._server.should_exit = True

    def release(self) -> None:
        """Give the signal back."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, self._theirs)


def running_server() -> Server | None:
    """The uvicorn server that handles this process's signals; None in a thread, or under something else."""
    handler: Callable[..., Any] | int | None = signal.getsignal(signal.SIGTERM)
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, Server) else None
