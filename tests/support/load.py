"""Many clients at once, each asking one request after the other; counts what they get."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

Pause = Callable[[], Awaitable[None]]


async def load(
    port: int,
    *,
    clients: int,
    requests: int,
    target: str = "/",
    pause: Pause | None = None,
    stop: Callable[[], bool] = lambda: False,
    again: bool = False,
) -> Counter[int | str]:
    """
    GET *target* from *clients* connections until there have been *requests*, or *stop* says so between two of them.

    A connection is kept until a response closes it. Returns how often each status came; an exchange that broke is
    counted as `failed`. With *again*, it is made once more on a new connection, and counted as `again`; only when that
    breaks as well it has failed.
    """
    left, counts = iter(range(requests)), Counter[int | str]()
    asked = f"GET {target} HTTP/1.1\r\nHost: lb.test\r\n\r\n".encode()

    async def client() -> None:
        connection, tried = None, False
        while tried or (not stop() and next(left, None) is not None):
            if pause and not tried:
                await pause()
            try:
                reader, writer = connection = connection or await asyncio.open_connection("127.0.0.1", port)
                writer.write(asked)
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                await reader.readexactly(int(fields[b"content-length"]))
            except (OSError, EOFError) as error:
                if connection:
                    connection[1].close()
                connection, tried = None, again and not tried
                counts["again" if tried else "failed"] += 1
                if not tried:
                    counts[repr(error)] += 1
                continue
            tried = False
            counts[int(head[9:12])] += 1
            if fields.get(b"connection") == b"close":
                writer.close()
                connection = None
        if connection:
            connection[1].close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return counts
