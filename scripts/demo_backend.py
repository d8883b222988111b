#!/usr/bin/env python3
"""A small HTTP/1.1 backend to balance over: says who it is, and is slow or broken on purpose when asked.

Use: BACKEND_RESPONSE="Hello from backend 1" scripts/demo_backend.py --port 9101 [--host 127.0.0.1]

    GET  /health                  200, or 503 after POST /fail until POST /recover
    GET  /slow?seconds=2          the answer, that much later
    GET  /status/503              that status
    GET  /reset                   the connection is reset without an answer
    ANY  /echo                    the request as JSON
    GET  /bytes/1000000           that many bytes
    GET  /stream?count=5&seconds=1   that many chunks, one every so often
    ANY  anything else            BACKEND_RESPONSE

A prefix in front of these is ignored (/apiA/slow is /slow), so they work through a group that keeps its prefix.
Needs nothing but Python, and is one process: stop it with SIGTERM, or kill it to see what the balancer does.
"""

from __future__ import annotations

import argparse
import asyncio
import http
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 64 * 1024 * 1024  # only /echo keeps a body at all; nobody demonstrates with more
GRACE = 5.0  # seconds that answers under way may take after SIGTERM
PIECE = b"x" * 65536
NAMES = frozenset({"health", "fail", "recover", "slow", "status", "reset", "echo", "bytes", "stream"})


class Malformed(Exception):
    """This is no request: answer 400 and close."""


class Request(NamedTuple):
    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name).lower()

    @property
    def path(self) -> list[str]:
        """The segments from the first that we know, or none."""
        segments = [segment for segment in urlsplit(self.target).path.split("/") if segment]
        return next((segments[at:] for at, name in enumerate(segments) if name in NAMES), [])

    def number(self, name: str, default: float, most: float) -> float:
        """Raises Malformed when the query says something else than a number."""
        try:
            return min(max(float(parse_qs(urlsplit(self.target).query).get(name, [default])[0]), 0.0), most)
        except ValueError as error:
            raise Malformed(f"{name} is not a number") from error


class Answer(NamedTuple):
    status: int
    body: bytes | AsyncIterator[bytes]
    length: int | None = None  # of a body that comes in pieces; None: chunked
    content_type: str = "text/plain; charset=utf-8"


class Reset(Exception):
    """The client asked for its connection to be reset."""


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request of a connection; None when the client has closed it. Raises Malformed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise Malformed("head too large") from error
    try:
        line, *fields = head[:-4].decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        pairs = [(name, value.strip()) for name, value in (field.split(":", 1) for field in fields)]
        request = Request(method, target, version, pairs, b"")
        length = int(request.header("content-length") or 0)
    except ValueError as error:
        raise Malformed("not a request head") from error
    if request.header("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if request.header("transfer-encoding") == "chunked":
        return request._replace(body=await read_chunks(reader))
    if not 0 <= length <= BODY_LIMIT:
        raise Malformed("body too large")
    return request._replace(body=await reader.readexactly(length))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        try:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        except ValueError as error:
            raise Malformed("not a chunk size") from error
        if len(body) + size > BODY_LIMIT:
            raise Malformed("body too large")
        if size == 0:
            while await reader.readuntil(b"\r\n") != b"\r\n":  # trailers
                pass
            return bytes(body)
        body += (await reader.readexactly(size + 2))[:-2]


class DemoBackend:
    """What all connections share: what we answer, whether we are well, and who is being served."""

    def __init__(self, response: str) -> None:
        self.response = response.encode()
        self.healthy = True
        self.stopping = False
        self.idle: set[asyncio.StreamWriter] = set()
        self.connections: set[asyncio.Task[None]] = set()

    async def answer(self, request: Request) -> Answer:
        """Raises Reset, and Malformed for what we cannot make sense of."""
        match request.path:
            case ["health"]:
                return Answer(200, b"OK\n") if self.healthy else Answer(503, b"failing on purpose\n")
            case ["fail" | "recover" as order]:
                if request.method != "POST":
                    return Answer(405, b"POST it\n")
                self.healthy = order == "recover"
                return Answer(200, b"healthy\n" if self.healthy else b"/health answers 503 from now on\n")
            case ["slow"]:
                await asyncio.sleep(request.number("seconds", 1.0, 3600.0))
            case ["status", code] if code.isdecimal() and 200 <= int(code) <= 599:
                return Answer(int(code), f"{code} as asked for\n".encode())
            case ["reset"]:
                raise Reset
            case ["echo"]:
                seen = request._asdict() | {"body": request.body.decode("latin-1")}
                return Answer(200, json.dumps(seen, indent=2).encode() + b"\n", content_type="application/json")
            case ["bytes", count] if count.isdecimal():
                return Answer(200, pieces(int(count)), int(count), "application/octet-stream")
            case ["stream"]:
                return Answer(200, ticks(int(request.number("count", 5, 1e6)), request.number("seconds", 1.0, 3600.0)))
        return Answer(200, self.response)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its first byte to its last."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while not self.stopping:
                self.idle.add(writer)
                request = await read_request(reader, writer)
                self.idle.discard(writer)
                if request is None or not await self.reply(request, writer):
                    break
        except Malformed as error:
            why = f"{error}\n".encode()
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(why)
            writer.write(head + why)
        except Reset:
            writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone, which is its right
        finally:
            self.idle.discard(writer)
            self.connections.discard(task)
            writer.close()

    async def reply(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Sends the answer; whether the connection may be used again."""
        answer = await self.answer(request)
        keep = request.version == "HTTP/1.1" and "close" not in request.header("connection") and not self.stopping
        length = len(answer.body) if isinstance(answer.body, bytes) else answer.length
        chunked = length is None and request.version == "HTTP/1.1"
        bodiless = request.method == "HEAD" or answer.status in (204, 304)
        phrase = http.HTTPStatus(answer.status).phrase if answer.status in set(http.HTTPStatus) else ""
        head = [f"HTTP/1.1 {answer.status} {phrase}", f"content-type: {answer.content_type}"]
        if chunked:
            head.append("transfer-encoding: chunked")
        elif length is not None and answer.status != 204:
            head.append(f"content-length: {length}")
        else:
            keep = keep and bodiless
        if not keep:
            head.append("connection: close")
        start = "\r\n".join([*head, "", ""]).encode()
        if bodiless or isinstance(answer.body, bytes):
            writer.write(start if bodiless else start + bytes(answer.body))  # type: ignore[arg-type]
        else:
            writer.write(start)
            async for piece in answer.body:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                await writer.drain()
            writer.write(b"0\r\n\r\n" if chunked else b"")
        await writer.drain()
        return keep

    async def stop(self) -> None:
        """Idle connections are closed at once, answers under way get GRACE seconds."""
        self.stopping = True
        for writer in list(self.idle):
            writer.close()
        if self.connections:
            await asyncio.wait(self.connections, timeout=GRACE)


async def pieces(count: int) -> AsyncIterator[bytes]:
    while count > 0:
        yield PIECE[:count]
        count -= len(PIECE)


async def ticks(count: int, seconds: float) -> AsyncIterator[bytes]:
    for number in range(1, count + 1):
        yield f"tick {number}\n".encode()
        await asyncio.sleep(seconds if number < count else 0)


async def run(host: str, port: int, response: str) -> None:
    backend = DemoBackend(response)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(backend.serve, host, port, limit=HEAD_LIMIT)
    print(f"demo backend on http://{host}:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()
    await backend.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9101, help="0 lets the kernel choose; the port is printed")
    asked = parser.parse_args()
    try:
        asyncio.run(run(asked.host, asked.port, os.environ.get("BACKEND_RESPONSE", "Hello from a backend\n")))
    except OSError as error:
        sys.exit(f"demo backend: cannot listen on {asked.host}:{asked.port}: {error.strerror}")


if __name__ == "__main__":
    main()
