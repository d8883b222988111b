"""Scripts run in Redis over one connection; while it is away there is no answer, and nobody waits."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha1
from random import Random
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from app.engine.state.channel import Channel, Closed, Reply, packed

_FIRST, _LAST = 0.1, 2.0
"""Seconds between one attempt to come back and the next: the first, and the longest."""

_log = logging.getLogger("l7lb")


class Script:
    """A Lua script, by its digest once the server has it."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.digest = sha1(text, usedforsecurity=False).hexdigest().encode()


class Link:
    """A connection to *url* that is made again for as long as `run` runs.

    Args:
        timeout: seconds after which Redis is away when it does not answer.

        scripts: that will be run.
    """

    def __init__(self, url: str, timeout: float, scripts: list[Script], rng: Random) -> None:
        self._channel = Channel(url, timeout)
        self._scripts = scripts
        self._rng = rng
        self._said = False

    @property
    def open(self) -> bool:
        """Whether Redis is there."""
        return self._channel.open

    def send(self, *parts: bytes) -> asyncio.Future[Reply] | None:
        """Ask by a command; None while Redis is away."""
        if not self._channel.open:
            return None
        try:
            return self._channel.ask(packed(*parts))
        except Closed:
            return None

    async def ask(self, *parts: bytes) -> Any:
        """What Redis says to a command; None when it does not."""
        future = self.send(*parts)
        return await future if future is not None else None

    async def run_script(self, script: Script, *arguments: bytes) -> Any:
        """What *script* returns; None when Redis is away, or refuses, which is logged."""
        reply = await self.ask(b"EVALSHA", script.digest, b"0", *arguments)
        if isinstance(reply, NoScriptError):  # somebody has emptied the server's cache
            reply = await self.ask(b"EVAL", script.text, b"0", *arguments)
        if isinstance(reply, ResponseError):
            _log.warning("cache: redis at %s: %s", self._channel.where, reply)
            return None
        return reply

    async def run(self) -> None:
        """The job: be connected, for ever."""
        wait = _FIRST
        while True:
            try:
                await self._channel.run(self._opened)
            except Closed as error:
                if not self._said:
                    self._said = True
                    wait = _FIRST
                    _log.warning("cache: redis at %s is away (%s); meanwhile it is empty", self._channel.where, error)
            await asyncio.sleep(wait * self._rng.uniform(0.5, 1.0))
            wait = min(wait * 2, _LAST)

    async def _opened(self) -> None:
        """Leave the scripts there."""
        for script in self._scripts:
            reply = await self._channel.ask(packed(b"SCRIPT", b"LOAD", script.text))
            if isinstance(reply, ResponseError):
                raise reply
            if reply is None:  # the channel says why
                return
        if self._said:
            self._said = False
            _log.info("cache: redis at %s is back", self._channel.where)
