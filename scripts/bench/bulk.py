"""Large bodies: the backend that gives and takes them (as a program), and the client that checks every byte."""

from __future__ import annotations

import hashlib
import http.client
import http.server
import sys
import time
from collections.abc import Iterator

BLOCK = hashlib.shake_256(b"l7lb").digest(1 << 20)  # 1 MiB that neither compresses nor repeats


class Backend(http.server.BaseHTTPRequestHandler):
    """GET ?blocks=N: N blocks. POST: 200 when the body was made of blocks, otherwise 400."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        blocks = int(self.path.partition("?blocks=")[2] or 0)
        self.start(200, blocks * len(BLOCK))
        for _ in range(blocks):
            self.wfile.write(BLOCK)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        piece = memoryview(bytearray(len(BLOCK)))
        right = True
        for _ in range(length // len(BLOCK)):
            right = right and self.rfile.readinto(piece) == len(BLOCK) and piece == BLOCK
        self.start(200 if right and length % len(BLOCK) == 0 else 400, 0)

    def start(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def download(port: int, target: str, blocks: int) -> tuple[float, bool]:
    """Seconds, and whether every byte was right."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.monotonic()
    client.request("GET", f"{target}?blocks={blocks}")
    answer = client.getresponse()
    right = answer.status == 200
    piece = memoryview(bytearray(len(BLOCK)))
    filled = received = 0
    while count := answer.readinto(piece[filled:]):
        filled, received = filled + count, received + count
        if filled == len(BLOCK):
            right, filled = right and piece == BLOCK, 0
    client.close()
    return time.monotonic() - began, right and received == blocks * len(BLOCK)


def upload(port: int, target: str, blocks: int) -> tuple[float, bool]:
    """Seconds until the answer, and whether it was 200."""

    def body() -> Iterator[bytes]:
        for _ in range(blocks):
            yield BLOCK

    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.monotonic()
    client.request("POST", target, body(), {"Content-Length": str(blocks * len(BLOCK))})
    right = client.getresponse().status == 200
    client.close()
    return time.monotonic() - began, right


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Backend).serve_forever()
