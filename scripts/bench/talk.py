"""WebSocket messages of one size: the backend that answers them (as a program), and the client that counts them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import time
from typing import cast

SIZE = 125  # bytes of a message, either way
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
ASKED = bytes((0x82, 0x80 | SIZE)) + b"\0\0\0\0" + b"q" * SIZE  # masked with nothing
ANSWER = bytes((0x82, SIZE)) + b"a" * SIZE


class Backend(asyncio.Protocol):
    """Answers each message, and any other request with 200."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pending = b""
        self.counted = -1  # bytes of messages, once it is a WebSocket

    def data_received(self, data: bytes) -> None:
        if self.counted < 0:
            self.pending += data
            head, end, data = self.pending.partition(b"\r\n\r\n")
            if not end:
                return
            self.pending = data
            self.answer(head)
            if self.counted < 0:
                return
        self.counted += len(data)
        messages, self.counted = divmod(self.counted, len(ASKED))
        if messages:
            self.transport.write(ANSWER * messages)

    def answer(self, head: bytes) -> None:
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        if b"upgrade" not in fields:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        self.counted = 0
        at = head.lower().index(b"sec-websocket-key: ") + len(b"sec-websocket-key: ")
        key = head[at:].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        lines = (b"HTTP/1.1 101 X", b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Accept: " + accept)
        self.transport.write(b"\r\n".join((*lines, b"", b"")))


def talk(port: int, target: str, messages: int, connections: int) -> tuple[float, float, int]:
    """Have each of *connections* ask one message after the other, *messages* in all.

    Returns seconds, without those of the handshakes; the median of the milliseconds that an answer took; and how many
    answers were wrong or did not come.
    """
    return asyncio.run(asyncio.wait_for(_talk(port, target, messages // connections, connections), 180))


async def _talk(port: int, target: str, each: int, connections: int) -> tuple[float, float, int]:
    took: list[float] = []

    async def begin() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{fields}{key}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise RuntimeError(f"answers {head[:100]!r} to a handshake")
        return reader, writer

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        right = 0
        for _ in range(each):
            began = time.monotonic()
            writer.write(ASKED)
            right += await reader.readexactly(len(ANSWER)) == ANSWER
            took.append(time.monotonic() - began)
        return right

    ends = [await begin() for _ in range(connections)]
    began = time.monotonic()
    right = sum(await asyncio.gather(*(ask(*end) for end in ends)))
    seconds = time.monotonic() - began
    for _, writer in ends:
        writer.close()
    return seconds, sorted(took)[len(took) // 2] * 1000, each * connections - right


async def serve(port: int) -> None:
    """For ever."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
