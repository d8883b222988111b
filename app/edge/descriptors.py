"""File descriptors: as many as the system gives us, and what happens when they are used up."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from typing import Any

from app.domain.seldom import Seldom

RESERVE = 64
"""Descriptors for what is neither a client nor a backend: files, listeners, shared state, name servers."""
USED_UP = frozenset((errno.EMFILE, errno.ENFILE))

log = logging.getLogger("l7lb.edge")


def room() -> int:
    """For how many clients there are descriptors, if each needs another to a backend; 0 is without limit.

    The soft limit is raised to the hard one first: it is low for the sake of programs that use select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # not everywhere may it be infinite
            hard = soft
    return 0 if hard == resource.RLIM_INFINITY else max(1, (hard - RESERVE) // 2)


class Shortage:
    """What an asyncio loop says of `accept` without a descriptor, and what is done about it.

    The loop asks for as many connections as its backlog has room for, and says it of each: 2048 tracebacks, and as
    many timers, a second. One descriptor that is kept for that takes all that wait, and closes them, so that it is said
    once; uvloop does the same by itself.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._kept = _any_descriptor()
        self._seldom = Seldom()

    def __call__(self, loop: asyncio.AbstractEventLoop, said: dict[str, Any]) -> None:
        """The loop's exception handler."""
        error, listener = said.get("exception"), said.get("socket")
        if isinstance(error, OSError) and error.errno in USED_UP and listener is not None:
            self._clear(listener.fileno())
        elif isinstance(error, ValueError) and "_start_serving" in said["message"]:
            pass  # its timer, and the listener was closed meanwhile
        else:
            loop.default_exception_handler(said)

    def _clear(self, listener: int) -> None:
        if self._seldom.now(self._loop.time()):
            log.error("there is no file descriptor left: connections are closed as they come")
        if self._kept < 0:
            self._kept = _any_descriptor()
        if self._kept < 0:
            return
        os.close(self._kept)
        self._kept = -1
        waiting = socket.socket(fileno=listener)
        try:
            while True:
                waiting.accept()[0].close()
        except OSError:
            self._kept = _any_descriptor()
        finally:
            waiting.detach()  # it is the loop's


def watch(loop: asyncio.AbstractEventLoop) -> None:
    """Have shortage said once, on a loop of asyncio's where nobody else listens to it."""
    if isinstance(loop, asyncio.BaseEventLoop) and loop.get_exception_handler() is None:
        loop.set_exception_handler(Shortage(loop))


def _any_descriptor() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return -1
