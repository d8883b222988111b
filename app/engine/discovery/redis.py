"""Backends that write themselves into Redis or Valkey, for as long as they go on doing so.

Each backend does this again and again, well before its time is over:

    SADD l7lb:backends:<pool> <id>
    SET l7lb:backends:<pool>:<id> "http://10.0.0.5:8000|weight=2" EX 15

and DEL of the latter when it stops. Ids whose key has gone are taken out of the set by whoever reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from app.engine.discovery.members import Sieve, bounded, noted
from app.engine.discovery.source import Members, Source, SourceFailed
from settings.models import Frozen, Line, Listed, Network
from settings.state import redis_url
from settings.units import Duration

if TYPE_CHECKING:
    from app.engine.state.channel import Channel


class RedisOptions(Frozen):
    """Which server, and which keys."""

    url: Annotated[str, AfterValidator(redis_url)]
    """`redis://`, `rediss://` (TLS) or `unix://`."""
    key: Line = "l7lb:backends:{pool}"
    """Of the set of ids; with a colon and an id behind it, of one backend. `{pool}` is the name of the pool."""
    interval: Duration = Field(default=1.0, gt=0)
    """How long after an answer it is asked again."""
    timeout: Duration = Field(default=2.0, gt=0)
    """How long an answer may take."""
    networks: Listed[Network] = ()
    """Networks that their addresses have to be in, looked at with every connection; none is everywhere."""


class Redis(Source):
    """Asks for all that are there."""

    Options = RedisOptions

    def __init__(self, options: RedisOptions, *, pool: str, **services: object) -> None:
        self._options = options
        self._sieve = Sieve(pool)
        self._key = options.key.replace("{pool}", pool).encode()

    async def __aiter__(self) -> AsyncIterator[Members]:
        """Give each answer, over one connection."""
        try:
            from app.engine.state.channel import Channel, Closed  # noqa: PLC0415  # an extra
        except ModuleNotFoundError:
            raise SourceFailed("redis is not installed: pip install l7lb[redis]") from None
        channel = Channel(self._options.url, self._options.timeout)
        opened = asyncio.Event()

        async def when_open() -> None:
            opened.set()

        ran = asyncio.create_task(channel.run(when_open))
        waiting = asyncio.create_task(opened.wait())
        try:
            await asyncio.wait({ran, waiting}, return_when=asyncio.FIRST_COMPLETED)
            while not ran.done():
                yield await self._ask(channel)
                await asyncio.wait({ran}, timeout=self._options.interval)
            raise SourceFailed(str(ran.exception()))
        except Closed:
            raise SourceFailed("the connection ended") from None
        finally:
            for task in (ran, waiting):
                task.cancel()
            await asyncio.gather(ran, waiting, return_exceptions=True)

    async def _ask(self, channel: Channel) -> Members:
        """Raises Closed, SourceFailed."""
        names = await _said(channel, b"SMEMBERS", self._key)
        bounded(len(names))
        if not names:
            return frozenset()
        values = await _said(channel, b"MGET", *(self._key + b":" + name for name in names))
        pairs = list(zip(names, values, strict=True))
        if gone := [name for name, value in pairs if value is None]:
            await _said(channel, b"SREM", self._key, *gone)
        networks = {"networks": self._options.networks} if self._options.networks else {}
        return self._sieve.take(
            _fields(name.decode(errors="replace"), value, networks) for name, value in pairs if value
        )


def _fields(name: str, value: bytes, networks: dict[str, Any]) -> tuple[str, dict[str, Any] | str]:
    said = noted(name, value)
    return name, said if isinstance(said, str) else {**said, **networks}


async def _said(channel: Channel, *parts: bytes) -> Any:
    """Raises Closed, SourceFailed."""
    from app.engine.state.channel import Closed, packed  # noqa: PLC0415  # as above

    reply = await channel.ask(packed(*parts))
    if reply is None:
        raise Closed("no answer")
    if isinstance(reply, Exception):
        raise SourceFailed(str(reply))
    return reply
