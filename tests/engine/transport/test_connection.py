"""One connection to a backend, driven in memory: what comes in is bytes, what comes out is a response or an error."""

import asyncio
from math import inf
from typing import cast

import pytest

from app.domain.backend import Backend
from app.domain.errors import (
    ClientGone,
    ConnectionTerminated,
    ProxyError,
    ResponseHeadTooLarge,
    ResponseIdle,
    ResponseIncomplete,
    ResponseInvalid,
    ResponseTimeout,
    StaleConnection,
    TotalTimeout,
)
from app.engine.transport.connection import HIGH_WATER, MAX_INTERIM, Connection
from app.engine.transport.connections import Connections
from settings.pools import BackendSettings, PoolSettings
from settings.resilience import HealthSettings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire:
    """A transport that remembers what was done to it."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = self.aborted = False
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Peer:
    """A connection with the backend's end in our hand."""

    def __init__(self) -> None:
        self.wire = Wire()
        backend = Backend("p", BackendSettings(url="http://h", id="b"), HealthSettings())
        pool = PoolSettings(backends=(backend.spec,))
        self.connection = Connection(Connections(backend, pool, set()), asyncio.get_running_loop())
        self.connection.connection_made(cast(asyncio.BaseTransport, self.wire))

    def start(self, *, head_only: bool = False, uploading: bool = False, until: float = inf) -> "Peer":
        self.connection.start(b"GET / HTTP/1.1\r\n\r\n", head_only, 15.0, until, end=None if uploading else ())
        return self

    async def answer(self, *pieces: bytes) -> tuple[int, bytes]:
        """Feed *pieces*, and take the response as far as it is there."""
        for piece in pieces:
            self.connection.data_received(piece)
        await self.connection.responded()
        body = b""
        while not self.connection.finished:
            body += await self.connection.more(0.0)
        return self.connection.status, body


async def error_of(peer: Peer, *pieces: bytes) -> type[ProxyError]:
    with pytest.raises(ProxyError) as caught:
        await peer.answer(*pieces)
    assert peer.wire.closed
    assert not peer.connection.reusable
    return caught.type


async def test_a_response_and_then_another_over_the_same_connection() -> None:
    """Kept alive as HTTP/1.1 is by default."""
    peer = Peer()
    for _ in range(3):
        assert await peer.start().answer(OK) == (200, b"ok")
        assert peer.connection.reusable


async def test_a_response_byte_by_byte() -> None:
    """However the network cuts it."""
    peer = Peer().start()

    assert await peer.answer(*[OK[i : i + 1] for i in range(len(OK))]) == (200, b"ok")


@pytest.mark.parametrize(
    ("response", "reusable"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Trailer: 1\r\n\r\n",
            True,
        ),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, True),
    ],
)
async def test_framings(response: bytes, reusable: bool) -> None:
    """Chunked (trailers dropped), closing, old, and after interim responses."""
    peer = Peer().start()

    assert await peer.answer(response) == (200, b"ok")
    assert peer.connection.reusable is reusable
    assert (b"x-trailer", b"1") not in peer.connection.fields


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body_whatever_the_length_says(status: int) -> None:
    """RFC 9112 section 6.3."""
    peer = Peer().start()

    assert await peer.answer(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status) == (status, b"")
    assert await peer.start().answer(OK) == (200, b"ok")


async def test_head_has_no_body_and_keeps_its_length() -> None:
    """And the connection serves on."""
    peer = Peer().start(head_only=True)

    assert await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") == (200, b"")
    assert peer.connection.fields == [(b"content-length", b"5")]
    assert await peer.start().answer(OK) == (200, b"ok")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_head_on_a_closing_connection(head: bytes) -> None:
    """It is not kept."""
    peer = Peer().start(head_only=True)

    assert await peer.answer(head) == (200, b"")
    assert not peer.connection.reusable


async def test_the_end_of_the_connection_ends_a_response_that_says_nothing_else() -> None:
    """RFC 9112 section 6.3 rule 8."""
    peer = Peer().start()
    peer.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nok")
    peer.connection.eof_received()

    assert await peer.answer() == (200, b"ok")
    assert not peer.connection.reusable


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", ResponseInvalid),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", ResponseInvalid),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", ResponseInvalid),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", ResponseInvalid),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n", ResponseInvalid),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ResponseInvalid),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ResponseInvalid),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1), ResponseInvalid),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, ResponseHeadTooLarge),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", ResponseHeadTooLarge),
        (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 201 + b"\r\n", ResponseHeadTooLarge),
    ],
)
async def test_what_is_no_response(response: bytes, error: type[ProxyError]) -> None:
    """It is refused whole, and the connection is cut."""
    assert await error_of(Peer().start(), response) is error


async def test_a_broken_chunk_in_the_middle() -> None:
    """What came before has gone on; the end is an error."""
    peer = Peer().start()

    assert (
        await error_of(peer, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n")
        is ResponseInvalid
    )


@pytest.mark.parametrize(
    ("came", "error"),
    [
        (b"", StaleConnection),
        (b"HTTP/1.1 2", ConnectionTerminated),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", ResponseIncomplete),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", ResponseIncomplete),
    ],
)
async def test_the_backend_closes_too_early(came: bytes, error: type[ProxyError]) -> None:
    """How far it had got decides whether another attempt may follow."""
    peer = Peer().start()
    if came:
        peer.connection.data_received(came)
    peer.connection.eof_received()
    peer.wire.closed = True
    peer.connection.connection_lost(None)

    assert await error_of(peer) is error
    assert peer.connection.error is not None
    assert peer.connection.error.begun is bool(came)


@pytest.mark.parametrize("extra", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", b"garbage"])
async def test_bytes_behind_a_response_reach_nobody(extra: bytes) -> None:
    """In the same segment: the response is good, the connection is not used again."""
    peer = Peer().start()

    assert await peer.answer(OK + extra) == (200, b"ok")
    assert not peer.connection.reusable


async def test_bytes_on_an_idle_connection_close_it() -> None:
    """Response queue poisoning: nobody asked for them."""
    peer = Peer().start()
    await peer.answer(OK)
    peer.connection.data_received(OK)

    assert peer.wire.closed
    assert not peer.connection.reusable


async def test_a_body_behind_head_makes_the_connection_unfit() -> None:
    """The next client would read it as its response."""
    peer = Peer().start(head_only=True)

    await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    assert not peer.connection.reusable


async def test_a_response_before_the_request_is_whole() -> None:
    """Passed on; but the connection still waits for the rest of the request."""
    peer = Peer().start(uploading=True)

    assert await peer.answer(OK) == (200, b"ok")
    assert not peer.connection.reusable


@pytest.mark.parametrize(
    ("came", "uploading", "until", "error"),
    [
        (b"", False, inf, ResponseTimeout),
        (b"", True, inf, ResponseIdle),
        (b"HTTP/1.1 2", False, inf, ResponseTimeout),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", False, inf, ResponseIdle),
        (b"", False, 20.0, TotalTimeout),
    ],
)
async def test_deadlines(came: bytes, uploading: bool, until: float, error: type[ProxyError]) -> None:
    """What was waited for names the error."""
    peer = Peer().start(uploading=uploading, until=until)
    if came:
        peer.connection.data_received(came)
    peer.connection.expire(20.0)

    assert await error_of(peer) is error
    assert peer.connection.error is not None
    assert peer.connection.error.begun is bool(came)


async def test_an_idle_connection_expires_quietly() -> None:
    """Nobody waits for it."""
    peer = Peer().start()
    await peer.answer(OK)
    peer.connection.expire(20.0)

    assert peer.wire.closed
    assert peer.connection.error is None


async def test_the_client_leaves() -> None:
    """Whoever waits is told, and the backend sees its connection cut."""
    peer = Peer().start()
    waiting = asyncio.ensure_future(peer.answer())
    await asyncio.sleep(0)
    peer.connection.fail(ClientGone())

    with pytest.raises(ClientGone):
        await waiting
    assert peer.wire.aborted


async def test_a_backend_that_is_quicker_than_the_client_is_paused() -> None:
    """And read from again when the client has taken what waits, and wants more."""
    peer = Peer().start()
    peer.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while peer.wire.reading:
        peer.connection.data_received(b"x" * 65536)

    assert HIGH_WATER < len(await peer.connection.more(0.0)) <= HIGH_WATER + 65536
    assert not peer.wire.reading
    waiting = asyncio.ensure_future(peer.connection.more(0.0))
    await asyncio.sleep(0)
    assert peer.wire.reading
    waiting.cancel()


async def test_a_client_that_is_quicker_than_the_backend_waits() -> None:
    """Until the backend has read, on the write clock."""
    peer = Peer().start(uploading=True)
    peer.connection.write_timeout = 60.0
    peer.connection.pause_writing()
    writing = asyncio.ensure_future(peer.connection.write(b"piece", None, 5.0))
    await asyncio.sleep(0)

    assert not writing.done()
    assert peer.connection.deadline == 65.0
    peer.connection.resume_writing()
    await writing
    assert peer.connection.deadline == inf
    peer.connection.uploaded(30.0)
    assert peer.connection.deadline == 30.0


async def test_nothing_is_written_to_a_connection_that_has_failed() -> None:
    """The upload is told by the response's error."""
    peer = Peer().start(uploading=True)
    peer.connection.fail(ClientGone())
    before = peer.wire.written
    await peer.connection.write(b"piece", None, 5.0)

    assert peer.wire.written == before
