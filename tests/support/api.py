"""An HTTP API on the loopback or on a unix socket, played byte by byte on the test's own loop."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

T = TypeVar("T")


class Call(NamedTuple):
    """One request as it came in, with *write*, which sends bytes and waits until they are away."""

    method: str
    target: str
    fields: dict[str, str]
    body: bytes
    write: Callable[[bytes], Awaitable[None]]

    @property
    def path(self) -> str:
        """Without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The first value of each."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    async def say(self, status: int, body: Any = b"", **fields: str) -> None:
        """A whole response; what is no bytes is written as JSON."""
        await self.write(response(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **fields))

    async def stream(self, **fields: str) -> None:
        """The head of a response that comes in chunks."""
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
        await self.write(f"HTTP/1.1 200 OK\r\n{''.join(lines)}transfer-encoding: chunked\r\n\r\n".encode())

    async def chunk(self, data: Any) -> None:
        """One chunk of it; what is no bytes is a line of JSON."""
        data = data if isinstance(data, bytes) else json.dumps(data).encode() + b"\n"
        await self.write(b"%x\r\n%b\r\n" % (len(data), data))


Serve = Callable[[Call], Awaitable[None]]


class Api(NamedTuple):
    """Where it is, and the calls there were."""

    url: str
    calls: list[Call]


def response(status: int, body: bytes = b"", **fields: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    return f"HTTP/1.1 {status} X\r\n{''.join(lines)}content-length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def api(serve: Serve, *, path: Path | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    """Serve one request a connection, and close it; on a unix socket where *path* is given."""
    calls: list[Call] = []
    tasks = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")[:-2]
            method, target, _ = first.split(" ")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(fields.get("content-length", 0)))
            calls.append(Call(method, target, fields, body, write))
            await serve(calls[-1])
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # who asked went away, as it may; or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    if path is not None:
        server: asyncio.Server = await asyncio.start_unix_server(run, path)
        url = f"unix://{path}"
    else:
        server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield Api(url, calls)
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        while tasks:
            await asyncio.sleep(0)


async def first(source: AsyncIterable[T], count: int = 1, *, within: float = 10.0) -> list[T]:
    """The first answers of a source."""
    found: list[T] = []
    iterator: Any = aiter(source)
    async with asyncio.timeout(within), aclosing(iterator):
        async for answer in iterator:
            found.append(answer)
            if len(found) == count:
                break
    return found


async def eventually(condition: Callable[[], T], *, within: float = 10.0) -> T:
    """What *condition* returns as soon as it is true."""
    async with asyncio.timeout(within):
        while not (found := condition()):
            await asyncio.sleep(0.005)
    return found


def urls(members: Any) -> list[str]:
    """The URLs of backends, sorted."""
    return sorted(member.url for member in members)
