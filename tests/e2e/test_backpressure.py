"""Bodies stream with bounded memory: whoever is slow slows the other side, and the balancer holds next to nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.support.backend import Backend, Connection, Gate, reply
from tests.support.raw import request
from tests.support.server import Balancer
from tests.support.until import settled, until

MIB = 1 << 20
GIB = 1 << 30
pytestmark = pytest.mark.slow


@pytest.fixture
def measured(balancer: Balancer, backend: Backend) -> Iterator[None]:
    """The peak of resident memory may rise by 16 MiB during the test, after a warm-up."""
    for _ in range(20):
        balancer.get("/")
    before = balancer.rss()
    balancer.forget_peak()
    yield
    assert balancer.rss("VmHWM") - before <= 16 * MIB


def pouring(size: int, piece: bytes, pause: float = 0.0):
    """A backend's script: a response of *size* bytes, as fast as it is read, or with a pause between two pieces."""

    async def play(c: Connection) -> None:
        await c.head()
        await c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            await c.send(piece)
            if pause:
                await asyncio.sleep(pause)

    return play


def drink(balancer: Balancer, client, size: int) -> int:
    """Read a body of *size* bytes, keeping none of it."""
    buffer, count = bytearray(4 * MIB), len(client.buffer)
    while count < size and (n := client.socket.recv_into(buffer)):
        count += n
    return count


@pytest.mark.usefixtures("measured")
def test_a_gibibyte_to_a_slow_reader(balancer: Balancer, backend: Backend) -> None:
    """It reads nothing until the backend is stuck, then by fits and starts, then all."""
    backend.play(pouring(GIB, b"x" * MIB))
    with balancer.client(receive_buffer=65536) as client:
        client.send(request("/"))
        client.head()
        stuck = settled(lambda: backend.connections[0].sent)
        assert stuck < 64 * MIB, "the backend is held back while nobody reads"

        count = len(client.buffer)
        client.buffer = b""
        for _ in range(3):
            count += drink(balancer, client, 4 * MIB)
            settled(lambda: backend.connections[0].sent, calm=0.2)
        assert count + drink(balancer, client, GIB - count) == GIB


@pytest.mark.usefixtures("measured")
def test_a_gibibyte_from_a_slow_backend(balancer: Balancer, backend: Backend) -> None:
    """A piece now and then: it is passed on when it comes, and nothing is gathered."""
    backend.play(pouring(GIB, b"x" * MIB, pause=0.002))
    with balancer.client() as client:
        client.send(request("/"))
        client.head()
        assert drink(balancer, client, GIB) == GIB


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_to_a_slow_backend(balancer: Balancer, backend: Backend, chunked: bool) -> None:
    """The client is held back while the backend does not read."""
    gate, size, piece = Gate(), 256 * MIB, b"x" * MIB

    async def slow(c: Connection) -> None:
        await c.head()
        c.transport.pause_reading()
        await gate.passed()
        c.transport.resume_reading()
        while c.count < size:
            c._unread.clear()
            await c._more()
        await asyncio.sleep(0)
        await c.send(reply(b"got it", "Connection: close"))

    backend.play(slow)
    sent = [0]
    with balancer.client() as client:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        client.send(request("/", framing, method="POST"))

        def upload() -> None:
            for _ in range(size // len(piece)):
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                sent[0] += len(piece)
            client.send(b"0\r\n\r\n" if chunked else b"")

        thread = threading.Thread(target=upload)
        thread.start()
        until(lambda: backend.connections, "the attempt to begin")
        assert settled(lambda: sent[0]) < 64 * MIB, "the client is held back while the backend does not read"
        gate.open()
        thread.join(60)
        assert client.response().body == b"got it"


def test_many_slow_readers(balancer: Balancer, backend: Backend) -> None:
    """Fifty of them, each with a response of 20 MiB waiting: at most 2 MiB of it is here, whatever its size."""
    backend.play(pouring(20 * MIB, b"x" * MIB))
    before = balancer.rss()
    balancer.forget_peak()
    clients = [balancer.client(receive_buffer=4096) for _ in range(50)]
    for client in clients:
        client.send(request("/"))
    until(lambda: len(backend.connections) == 50, "all attempts to begin")
    settled(lambda: sum(c.sent for c in backend.connections))
    for client in clients:
        client.socket.close()

    assert balancer.rss("VmHWM") - before <= 50 * 2 * MIB
