"""HTTP/2 against real backends: what is shared, what waits for whom, what ends what, and what is not believed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from math import inf
from time import monotonic
from typing import Any, cast

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from app.domain.errors import (
    ClientGone,
    ConnectFailed,
    ConnectionTerminated,
    ProxyError,
    ResponseHeadTooLarge,
    ResponseIdle,
    ResponseIncomplete,
    ResponseInvalid,
    ResponseTimeout,
    StaleConnection,
    StreamRefused,
)
from app.engine.body import Body
from app.engine.client import UpstreamRequest, UpstreamResponse
from app.engine.transport.session import CALM
from app.engine.transport.sessions import Sessions
from tests.engine.transport.test_transport import Line
from tests.support.backend import Backend, Gate, close, read_head, reply, send, stall
from tests.support.h2 import (
    H2Backend,
    Peer,
    data,
    goaway,
    listen,
    ping,
    reset,
    said,
    serve,
    settings,
    window,
)
from tests.support.until import until

Lines = Callable[..., Line]
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, REFUSED_STREAM, CANCEL, CALM_DOWN = 1, 3, 7, 8, 11


@pytest.fixture
async def line() -> AsyncIterator[Lines]:
    made: list[Line] = []

    def make(backend: Backend, **options: Any) -> Line:
        made.append(Line(backend.url, **options))
        return made[-1]

    yield make
    for each in made:
        await each.client.aclose()


def ask(line: Line, path: str = "/", method: str = "GET", *fields: str) -> UpstreamRequest:
    head = "\r\n".join([f"{method} {path} HTTP/1.1", "host: a.example", *fields, "", ""])
    return line.request(head.encode(), method)


async def get(line: Line, path: str = "/") -> tuple[int, bytes]:
    return await line.get(ask(line, path))


async def response(line: Line, request: UpstreamRequest | None = None) -> UpstreamResponse:
    return cast(UpstreamResponse, await line.client.send(request or ask(line)))


def upload(line: Line, *pieces: bytes, gate: asyncio.Event | None = None) -> UpstreamRequest:
    """A POST whose body comes piece by piece, the last of them behind *gate*."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if len(left) == 1 and gate is not None:
            await gate.wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    from app.domain.exchange import Exchange

    request = ask(line, "/up", "POST", "transfer-encoding: chunked")
    request.length = -1
    request.body = Body(receive, Exchange(0.0, "c", "http", "POST", "h", "/up"), limit=0, keep=1 << 20)
    return request


async def eventually(condition: Callable[[], Any]) -> None:
    await asyncio.to_thread(until, condition)


async def error_of(line: Line, request: UpstreamRequest | None = None) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await line.get(request or ask(line))
    return caught.value


# What is asked and answered...


async def test_the_head_of_a_request(line: Lines) -> None:
    """Pseudo-fields first, the target as it is, nothing of the connection; secrets are for no table."""
    with H2Backend() as backend:
        here = line(backend)
        request = ask(
            here, "/a%2Fb/../c?d=%20", "GET", "accept: x", "te: trailers", "connection: te", "cookie: a=b",
            "x-long: " + "v" * 300, "x-empty: ",
        )  # fmt: skip

        assert await here.get(request) == (200, b"/a%2Fb/../c?d=%20")
        assert backend.peers[0].requests[0].fields == [
            (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/a%2Fb/../c?d=%20"),
            (b":authority", b"a.example"), (b"accept", b"x"),
            (b"te", b"trailers"), (b"cookie", b"a=b"), (b"x-long", b"v" * 300), (b"x-empty", b""),
        ]  # fmt: skip


async def test_one_connection_for_all(line: Lines) -> None:
    """At the same time, and one after the other."""
    with H2Backend() as backend:
        here = line(backend)
        answers = await asyncio.gather(*[get(here, f"/{i}") for i in range(50)])
        answers.append(await get(here, "/50"))

        assert answers == [(200, b"/%d" % i) for i in range(51)]
        assert len(backend.connections) == 1


async def test_no_more_streams_than_the_backend_allows(line: Lines) -> None:
    """Whoever comes then has another connection."""
    gate = Gate()
    most = []

    async def play(peer: Peer) -> None:
        asked = [await peer.request() for _ in range(2)]
        most.append(len(asked))
        await gate.passed()
        for one in asked:
            await peer.answer(one.stream, b"x")
        await serve(peer)

    with H2Backend(play, max_concurrent_streams=2) as backend:
        here = line(backend)
        waiting = asyncio.gather(*[get(here) for _ in range(6)])
        await eventually(lambda: len(most) == 3)
        gate.open()

        assert await waiting == [(200, b"x")] * 6
        assert len(backend.connections) == 3


async def test_our_own_limit_of_streams(line: Lines) -> None:
    with H2Backend() as backend:
        here = line(backend, http2={"max_streams": 1})
        assert await asyncio.gather(get(here), get(here)) == [(200, b"/")] * 2

        assert len(backend.connections) == 2


async def test_a_backend_that_allows_none(line: Lines) -> None:
    """It is not asked over and over again."""
    with H2Backend(max_concurrent_streams=0) as backend:
        error = await error_of(line(backend))

        assert (type(error), error.sent) == (ConnectFailed, False)
        assert len(backend.connections) == 1


@pytest.mark.parametrize(
    ("status", "method", "fields"),
    [
        (200, "HEAD", [(b"content-length", b"5")]),
        (304, "GET", [(b"content-length", b"5")]),
        (204, "GET", []),
        (200, "GET", [(b"content-length", b"0")]),
        (200, "GET", []),
    ],
)
async def test_responses_without_a_body(
    line: Lines, status: int, method: str, fields: list[tuple[bytes, bytes]]
) -> None:
    async def play(peer: Peer) -> None:
        await peer.answer((await peer.request()).stream, b"", *fields, status=status)
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        one = await response(here, ask(here, "/", method))

        assert (one.status_code, one.connection.fields, one.connection.done) == (status, fields, True)
        one.release()
        assert await get(here) == (200, b"/")
        assert len(backend.connections) == 1


async def test_what_goes_with_a_response(line: Lines) -> None:
    """Early hints, fields twice, padding, priority, a body in pieces, trailers; what never may be one is none."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        head = peer.head(n, 200, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"date", b"now"))
        assert isinstance(head, HeadersFrame)
        head.flags |= {"PADDED", "PRIORITY"}
        head.pad_length, head.depends_on, head.stream_weight = 7, 0, 3
        padded = DataFrame(n, b"one", flags=["PADDED"], pad_length=100)
        await peer.send(
            peer.head(n, 103, (b"link", b"</a>")), peer.head(n, 100), head, padded, data(n, b"two", end=False)
        )
        await peer.send(DataFrame(n, b"", flags=["PADDED"], pad_length=9))
        await peer.send(peer.headers(n, (b"grpc-status", b"0"), (b"set-cookie", b"c=3"), end=True))
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        hints: list[Any] = []
        request = ask(here)
        request.hint = hints.extend  # type: ignore[method-assign]
        one = await response(here, request)

        body = b"".join([piece async for piece in one.aiter_raw()])
        assert body == b"onetwo"
        assert one.connection.fields == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"date", b"now")]
        assert one.connection.trailers == ((b"grpc-status", b"0"),)
        assert hints == [(103, [(b"link", b"</a>")])]


async def test_a_whole_small_response_is_there_at_once(line: Lines) -> None:
    """Who listens is told when all that came in one read has been looked at: the direct driver lives by it."""
    with H2Backend() as backend:
        here = line(backend)
        await get(here)
        stream = cast(Sessions, here.transport.connections[here.backend]).take()
        assert stream is not None
        seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        stream.listener = lambda: seen.set_result(stream.done) if not seen.done() else None
        stream.start(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n", False, inf, inf)

        assert await seen
        assert stream.take() == b"/x"


# Bodies of requests...


@pytest.mark.parametrize("window_", [65_535, 10, 1_000_000])
async def test_an_upload(line: Lines, window_: int) -> None:
    """Whatever window the backend begins with, and whatever it is cut into; the end comes with the last piece."""

    pieces = b"a" * 300, b"b" * (100 if window_ == 10 else 300_000), b"c"

    async def play(peer: Peer) -> None:
        asked = await peer.request()
        body = await peer.body(asked)
        await peer.answer(asked.stream, b"all of it" if body == b"".join(pieces) else body[:100])
        await listen(peer)

    with H2Backend(play, initial_window_size=window_) as backend:
        here = line(backend)
        request = upload(here, *pieces)

        assert await here.get(request) == (200, b"all of it")
        frames = said(backend.peers[0], DataFrame)
        assert "END_STREAM" in frames[-1].flags
        assert max(len(frame.data) for frame in frames) <= 16_384
        assert all(name != b"transfer-encoding" for name, _ in backend.peers[0].requests[0].fields)


async def test_a_backend_that_takes_nothing_holds_nobody_else_up(line: Lines) -> None:
    """Its client waits, with a piece in our memory; others go by; a window that is opened lets it go on."""
    gate = Gate()

    async def play(peer: Peer) -> None:
        first = await peer.request()
        other = await peer.request()
        await peer.answer(other.stream, b"other")
        await gate.passed()
        await peer.send(settings(initial_window_size=1000))
        await peer.answer(first.stream, await peer.body(first))
        await listen(peer)

    with H2Backend(play, initial_window_size=0) as backend:
        here = line(backend)
        taken = 0
        request = upload(here, b"x" * 1000, b"y" * 1000, b"z")
        assert request.body is not None
        slow = asyncio.create_task(here.get(request))
        await eventually(lambda: len(backend.peers) == 1 and len(backend.peers[0].requests) == 1)

        assert await get(here) == (200, b"other")
        taken = len(request.body.taken or b"")
        assert taken == 1000
        assert not said(backend.peers[0], DataFrame)
        gate.open()
        assert await slow == (200, b"x" * 1000 + b"y" * 1000 + b"z")


async def test_a_window_that_becomes_negative(line: Lines) -> None:
    """RFC 9113 section 6.9.2: what was sent under the old one counts."""

    async def play(peer: Peer) -> None:
        asked = await peer.request()
        await peer.until(lambda frame: isinstance(frame, DataFrame))
        await peer.send(settings(initial_window_size=10), window(asked.stream, 110))
        await peer.until(lambda frame: isinstance(frame, DataFrame) and "END_STREAM" in frame.flags)
        await peer.answer(asked.stream, b"done")
        await listen(peer)

    with H2Backend(play, initial_window_size=100) as backend:
        here = line(backend)

        assert await here.get(upload(here, b"x" * 120)) == (200, b"done")
        assert [len(frame.data) for frame in said(backend.peers[0], DataFrame)] == [100, 20]


async def test_trailers_of_a_request(line: Lines) -> None:
    async def play(peer: Peer) -> None:
        asked = await peer.request()
        body = await peer.body(asked)
        await peer.answer(asked.stream, body + b" %b: %b" % peer.trailers[0])
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        request = ask(here, "/", "POST")
        request.first, request.trailers, request.length = b"body", [(b"x-sum", b"1")], -1

        assert await here.get(request) == (200, b"body x-sum: 1")


async def test_both_ways_at_once(line: Lines) -> None:
    """A response begins and goes on while the request does: what a stream of gRPC is."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(peer.head(n))
        ended = False
        while not ended:
            frame = await peer.next()
            if isinstance(frame, DataFrame):
                ended = "END_STREAM" in frame.flags
                await peer.send(data(n, frame.data.upper(), end=False))
        await peer.send(peer.headers(n, (b"grpc-status", b"0"), end=True))
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        gate = asyncio.Event()
        one = await response(here, upload(here, b"one", b"two", gate=gate))

        assert await one.connection.more(monotonic()) == b"ONE"
        gate.set()
        assert await one.connection.more(monotonic()) == b"TWO"
        assert await one.connection.more(monotonic()) == b""
        assert one.connection.trailers == ((b"grpc-status", b"0"),)


async def test_a_response_before_the_end_of_the_request(line: Lines) -> None:
    """It is passed on; nobody wants the rest, the stream is reset, and the connection serves on."""

    async def play(peer: Peer) -> None:
        await peer.answer((await peer.request()).stream, b"no", status=403)
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        assert await here.get(upload(here, b"one", b"two", gate=asyncio.Event())) == (403, b"no")

        assert await get(here, "/next") == (200, b"/next")
        assert [frame.error_code for frame in said(backend.peers[0], RstStreamFrame)] == [CANCEL]
        assert len(backend.connections) == 1


async def test_expect_is_asked_for(line: Lines) -> None:
    """Nothing of the body leaves before the backend wants it."""

    async def play(peer: Peer) -> None:
        asked = await peer.request()
        await peer.send(peer.head(asked.stream, 100))
        await peer.answer(asked.stream, await peer.body(asked))
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        request = upload(here, b"one")
        request.expects = True

        assert await here.get(request) == (200, b"one")


# A client that is slow, or goes...


async def test_a_slow_client_stops_its_own_stream_only(line: Lines) -> None:
    """The backend may send a window of it, and what it sends to others goes by."""
    sent: list[int] = []

    async def play(peer: Peer) -> None:
        slow = (await peer.request()).stream
        await peer.send(peer.head(slow))
        for _ in range(4):
            await peer.send(data(slow, b"x" * 16_384, end=False))
        other = await peer.request()
        await peer.answer(other.stream, b"o" * 40_000)
        for _ in range(2):
            frame = await peer.until(lambda frame: isinstance(frame, WindowUpdateFrame) and frame.stream_id == slow)
            sent.append(frame.window_increment)
            await peer.send(data(slow, b"y" * 16_384, end=False))
            await peer.send(data(slow, b"z" * 16_384, end=False))
        await peer.send(data(slow))
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend, http2={"window": 65_536})
        one = await response(here)
        await eventually(lambda: one.connection.waiting == 65_536)

        assert await get(here) == (200, b"o" * 40_000)
        assert not [f for f in said(backend.peers[0], WindowUpdateFrame) if f.stream_id == 1]
        body = b"".join([piece async for piece in one.aiter_raw()])
        assert body == b"x" * 65_536 + (b"y" * 16_384 + b"z" * 16_384) * 2
        assert sent == [65_536, 32_768]


async def test_the_window_of_the_connection_waits_for_nobody(line: Lines) -> None:
    """More than all of it is waiting for slow clients, and it is credited all the same."""

    async def play(peer: Peer) -> None:
        credit, streams = 65_535, [(await peer.request()).stream for _ in range(4)]
        for n in streams:
            await peer.send(peer.head(n))
        for n in streams:
            for _ in range(4):
                while credit < 16_000:
                    frame = await peer.until(lambda f: isinstance(f, WindowUpdateFrame) and not f.stream_id)
                    credit += frame.window_increment
                credit -= 16_000
                await peer.send(data(n, b"x" * 16_000, end=False))
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend, http2={"window": 65_535, "connection_window": 65_535})
        slow = await asyncio.gather(*[response(here) for _ in range(4)])
        await eventually(lambda: all(one.connection.waiting == 64_000 for one in slow))

        assert await get(here, "/quick") == (200, b"/quick")
        for one in slow:
            one.release()


@pytest.mark.parametrize("when", ["before the head", "in the body"])
async def test_the_client_goes(line: Lines, when: str) -> None:
    """Its stream is cancelled, the others live on, and what was on its way is nobody's."""
    gate = Gate()

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        if when == "in the body":
            await peer.send(peer.head(n), data(n, b"x", end=False))
        await peer.until(lambda frame: isinstance(frame, RstStreamFrame))
        if when == "before the head":
            await peer.send(peer.head(n, 200, (b"x-a", b"b")))
        await peer.send(data(n, b"late" * 1000, end=False), peer.headers(n, (b"x-b", b"c"), end=True))
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        request = ask(here)
        going = asyncio.create_task(here.get(request))
        await eventually(lambda: backend.peers and backend.peers[0].requests)
        request.fail(ClientGone("gone"))
        with pytest.raises(ClientGone):
            await going
        gate.open()

        assert await get(here, "/next") == (200, b"/next")
        assert [frame.error_code for frame in said(backend.peers[0], RstStreamFrame)] == [CANCEL]
        assert len(backend.connections) == 1


async def test_what_is_cancelled_makes_room(line: Lines) -> None:
    with H2Backend(listen, max_concurrent_streams=1) as backend:
        here = line(backend)
        for _ in range(3):
            request = ask(here)
            going = asyncio.create_task(here.get(request))
            await eventually(lambda request=request: request.connection is not None)
            request.fail(ClientGone("gone"))
            with pytest.raises(ClientGone):
                await going

        assert len(backend.connections) == 1


# Deadlines...


async def test_a_response_that_does_not_come_in_time(line: Lines) -> None:
    """The stream is reset; a connection on which nothing came at all takes no other."""

    async def play(peer: Peer) -> None:
        await peer.answer((await peer.request()).stream, b"x")
        await listen(peer)

    with H2Backend(play, serve) as backend:
        here = line(backend, timeouts={"response": "100ms"})
        await get(here)
        assert isinstance(await error_of(here), ResponseTimeout)

        assert await get(here) == (200, b"/")
        await eventually(lambda: said(backend.peers[0], RstStreamFrame))
        assert len(backend.connections) == 2


async def test_a_response_that_stops(line: Lines) -> None:
    """Where something else came meanwhile, the connection is a good one."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(peer.head(n), data(n, b"x", end=False))
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend, timeouts={"idle": "100ms"})
        assert isinstance(await error_of(here), ResponseIdle)

        assert await get(here) == (200, b"/")
        assert len(backend.connections) == 1


async def test_a_backend_that_stops_reading(line: Lines) -> None:
    with H2Backend(listen, initial_window_size=5) as backend:
        here = line(backend, timeouts={"write": "100ms"})

        assert isinstance(await error_of(here, upload(here, b"too much", b"x")), ResponseIdle)


async def test_a_backend_that_neither_reads_nor_answers(line: Lines) -> None:
    """Whoever waits for its next word does so as long as ever, whatever the request waits for meanwhile."""
    gate = Gate()

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(peer.head(n), data(n, b"x", end=False))
        await gate.passed()
        await peer.send(window(n, 100))
        await listen(peer)

    with H2Backend(play, initial_window_size=5) as backend:
        here = line(backend, timeouts={"idle": "300ms", "write": "1h"})
        one = await response(here, upload(here, b"ten octets", b"y", gate=asyncio.Event()))
        assert await one.connection.more(monotonic()) == b"x"
        waiting = asyncio.create_task(one.connection.more(monotonic()))
        gate.open()

        with pytest.raises(ResponseIdle):
            await waiting
        one.release()


async def test_an_idle_connection_says_goodbye(line: Lines) -> None:
    with H2Backend() as backend:
        here = line(backend, timeouts={"keep_alive": "100ms"})
        await get(here)

        await eventually(lambda: said(backend.peers[0], GoAwayFrame) and backend.connections[0].closed)
        assert await get(here) == (200, b"/")


async def test_a_silent_connection_is_asked(line: Lines) -> None:
    """By PING; where nobody answers it is given up with everything on it."""

    async def play(peer: Peer) -> None:
        await peer.request()
        asked = await peer.until(lambda frame: isinstance(frame, PingFrame))
        await peer.send(PingFrame(0, opaque_data=asked.opaque_data, flags=["ACK"]))
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend, http2={"ping": "100ms", "ping_timeout": "100ms"})

        error = await error_of(here)
        assert isinstance(error, ResponseIdle)
        assert "PING" in error.detail
        assert len(said(backend.peers[0], PingFrame)) == 2


# The end of a connection...


async def test_goaway_before_a_stream_was_looked_at(line: Lines) -> None:
    """What it was is asked again elsewhere, whatever the method; what was begun comes to its end where it is."""
    gate = Gate()

    async def play(peer: Peer) -> None:
        first, second = await peer.request(), await peer.request()
        await peer.send(goaway(first.stream))
        await gate.passed()
        await peer.answer(first.stream, b"first")
        assert second.all(":method") == [b"POST"]
        await listen(peer)

    with H2Backend(play, serve) as backend:
        here = line(backend)
        first = asyncio.create_task(get(here, "/1"))
        await eventually(lambda: backend.peers and backend.peers[0].requests)

        assert await here.get(upload(here, b"one", b"two")) == (200, b"/up")
        gate.open()
        assert await first == (200, b"first")
        await eventually(lambda: backend.connections[0].closed)
        assert len(backend.connections) == 2


async def test_goaway_in_the_beginning(line: Lines) -> None:
    """Such a backend is not asked over and over again."""

    async def play(peer: Peer) -> None:
        await peer.send(goaway(0))
        await listen(peer)

    with H2Backend(play) as backend:
        error = await error_of(line(backend))

        assert error.sent is False
        assert len(backend.connections) <= 2  # the word may come behind the SETTINGS, when a request is on its way


async def test_connections_that_are_not_kept(line: Lines) -> None:
    """Each carries what it was opened for."""
    with H2Backend() as backend:
        here = line(backend, timeouts={"keep_alive": "0s"})

        assert [await get(here, f"/{i}") for i in range(3)] == [(200, b"/%d" % i) for i in range(3)]
        assert len(backend.connections) == 3


async def test_a_stream_that_is_refused(line: Lines) -> None:
    """Once more at the same backend; then it is for the pool to say, to which it is safe."""

    async def play(peer: Peer) -> None:
        while True:
            await peer.send(reset((await peer.request()).stream, REFUSED_STREAM))

    with H2Backend(play) as backend:
        here = line(backend)
        error = await error_of(here, ask(here, "/", "POST"))

        assert (type(error), error.sent, error.begun) == (StreamRefused, False, False)
        assert len(backend.peers[0].requests) == 2


@pytest.mark.parametrize(
    ("came", "error"),
    [("nothing", ConnectionTerminated), ("interim", ConnectionTerminated), ("head", ResponseIncomplete)],
)
async def test_a_stream_that_is_reset(line: Lines, came: str, error: type[ProxyError]) -> None:
    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        if came != "nothing":
            await peer.send(peer.head(n, 103 if came == "interim" else 200))
        await peer.send(reset(n, REFUSED_STREAM if came == "interim" else 2))
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        found = await error_of(here)

        assert (type(found), found.sent, found.begun) == (error, True, came != "nothing")
        assert await get(here) == (200, b"/")
        assert len(backend.connections) == 1


async def test_a_reset_behind_a_whole_response(line: Lines) -> None:
    """It says that the rest of the request is not wanted (RFC 9113 section 8.1)."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(peer.head(n), data(n, b"enough"), reset(n, 0))
        await serve(peer)

    with H2Backend(play) as backend:
        here = line(backend)

        assert await here.get(upload(here, b"x", b"y", gate=asyncio.Event())) == (200, b"enough")
        assert await get(here) == (200, b"/")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_ends(line: Lines, method: str) -> None:
    """A kept one is replaced where that is safe; else each says how far it had got."""

    async def play(peer: Peer) -> None:
        await peer.answer((await peer.request()).stream, b"x")
        await peer.request()

    with H2Backend(play, serve) as backend:
        here = line(backend)
        await get(here)
        request = ask(here, "/again", method)

        if method == "GET":
            assert await here.get(request) == (200, b"/again")
        else:
            assert isinstance(await error_of(here, request), StaleConnection)


async def test_a_connection_that_ends_in_the_middle(line: Lines) -> None:
    """Of all of them."""

    async def play(peer: Peer) -> None:
        asked = [await peer.request() for _ in range(3)]
        for one in asked:
            await peer.send(peer.head(one.stream), data(one.stream, b"x", end=False))

    with H2Backend(play) as backend:
        here = line(backend)
        errors = await asyncio.gather(*[error_of(here) for _ in range(3)])

        assert [type(error) for error in errors] == [ResponseIncomplete] * 3


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((read_head, send(reply(b"x"))), "does not speak HTTP/2"),
        ((close,), "before its SETTINGS"),
        ((send(b"\0\0\0\x06\0\0\0\0\0"), stall), "does not speak HTTP/2"),
    ],
)
async def test_a_backend_that_speaks_something_else(line: Lines, steps: Any, why: str) -> None:
    """Nothing was asked, so anything may be asked elsewhere."""
    with Backend(*steps) as backend:
        backend.url = backend.url.replace("http:", "h2c:")
        error = await error_of(line(backend))

        assert (type(error), error.sent) == (ConnectFailed, False)
        assert why in error.detail


# What is not believed...


def bad(*frames: Any) -> Any:
    """Frames of functions of the peer and the stream."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(*[frame(peer, n) if callable(frame) else frame for frame in frames])
        await serve(peer)

    return play


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([lambda p, n: p.headers(n, (b"x", b"y"), end=True)], ResponseInvalid),
        ([lambda p, n: p.headers(n, (b"x", b"y"), (b":status", b"200"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b":status", b"200"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b":path", b"/"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, "20", end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, "2e2", end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, "099", end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 101, end=False)], ResponseInvalid),
        ([lambda p, n: p.head(n, 103, end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"X-Capital", b"y"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"x y", b"y"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"x", b"y\r\nset-cookie: a=b"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"x", b"y\0"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"connection", b"close"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"transfer-encoding", b"chunked"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"content-length", b"-1"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"content-length", b"1"), (b"content-length", b"1"))], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"content-length", b"1"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"content-length", b"1")), lambda _, n: data(n, b"xx")], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, (b"content-length", b"3")), lambda _, n: data(n, b"xx")], ResponseInvalid),
        ([lambda p, n: p.head(n, 204), lambda _, n: data(n, b"x")], ResponseInvalid),
        ([lambda p, n: p.head(n), lambda p, n: p.headers(n, (b"x", b"y"))], ResponseInvalid),
        ([lambda p, n: p.head(n), lambda p, n: p.headers(n, (b":status", b"200"), end=True)], ResponseInvalid),
        ([lambda p, n: p.head(n), lambda p, n: p.headers(n, (b"x", b"\n"), end=True)], ResponseInvalid),
        ([lambda _, n: data(n, b"x")], ResponseInvalid),
        ([lambda p, n: p.head(n, 200, *[(b"x", b"y")] * 201, end=True)], ResponseHeadTooLarge),
        ([lambda p, n: p.head(n), lambda p, n: p.headers(n, *[(b"x", b"y")] * 201, end=True)], ResponseHeadTooLarge),
        ([lambda p, n: p.head(n, 103)] * 33, ResponseInvalid),
        ([lambda _, n: window(n, 2**31 - 1)], ResponseInvalid),
    ],
)
async def test_a_response_that_is_none(line: Lines, frames: Any, error: type[ProxyError]) -> None:
    """It is refused, its stream reset, and the connection serves on."""
    with H2Backend(bad(*frames)) as backend:
        here = line(backend)

        assert type(await error_of(here)) is error
        assert await get(here, "/next") == (200, b"/next")
        assert [frame.error_code for frame in said(backend.peers[0], RstStreamFrame)] == [PROTOCOL_ERROR]
        assert len(backend.connections) == 1


def raw(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def block(n: int, payload: bytes) -> bytes:
    return raw(1, payload, n, 4 | 1)


@pytest.mark.parametrize(
    "frames",
    [
        [raw(0, b"", 0)],
        [raw(0, b"x", 5)],
        [raw(0, b"x", 2)],
        [lambda _, n: raw(0, b"\x05x", n, 8)],
        [lambda _, n: raw(0, b"", n, 8)],
        [raw(0, b"", 1, 0, 16_385)],
        [lambda _, n: raw(1, b"\0\0", n, 4 | 32)],
        [lambda _, n: block(n, b"\xff\xff\xff\xff\xff\xff")],
        [lambda _, n: block(n, b"\x80")],
        [lambda _, n: block(n, b"\xbe")],
        [lambda _, n: block(n, b"\x40\x05ab")],
        [lambda _, n: block(n, b"\x88\x20")],
        [lambda _, n: block(n, b"\x3f\xe2\x1f")],
        [lambda _, n: block(n, b"\x00\x81\x00\x00")],
        [lambda _, n: block(n, b"\x00\x84\xff\xff\xff\xff\x00")],
        [lambda _, n: raw(1, b"\x88", n, 1), ping()],
        [lambda _, n: raw(1, b"\x88", n, 1), lambda _, n: raw(9, b"", n + 2, 4)],
        [lambda _, n: raw(9, b"", n, 4)],
        [lambda _, n: raw(1, b"\x88", 7, 1)],
        [lambda _, n: raw(5, b"\0\0\0\2\x88", n, 4)],
        [raw(3, b"\0\0\0\0", 7)],
        [lambda _, n: raw(3, b"\0", n)],
        [raw(4, b"\0", 0)],
        [raw(4, b"", 1)],
        [raw(4, b"\0\0\0\0\0\0", 0, 1)],
        [raw(4, b"\0\x04\xff\xff\xff\xff")],
        [raw(4, b"\0\x05\0\0\0\1")],
        [raw(4, b"\0\x02\0\0\0\1")],
        [raw(6, b"\0")],
        [raw(6, b"\0" * 8, 1)],
        [raw(7, b"\0")],
        [raw(8, b"\0")],
        [raw(8, b"\0\0\0\0")],
        [raw(8, b"\x7f\xff\xff\xff")],
        [lambda _, n: window(n, 100), settings(initial_window_size=2**31 - 1)],
        [lambda _, n: raw(1, b"\x88", n, 1), *[lambda _, n: raw(9, b"", n)] * 129],
        [lambda _, n: raw(1, b"\x88", n, 1), *[lambda _, n: raw(9, b"\x88" * 16_384, n)] * 17],
        [lambda _, n: block(n, b"\x40\x01a\x7f\x81\x1f" + b"b" * 4096 + b"\xbe" * 300)],
        [ping()] * (CALM + 1),
        [settings()] * (CALM + 1),
        [raw(99)] * (CALM + 1),
        [raw(2, b"\0\0\0\0\0", 1)] * (CALM + 1),
        [window(0, 1)] * (CALM + 1),
        [lambda p, n: p.head(n), *[lambda _, n: data(n, end=False)] * (CALM + 1)],
    ],
)  # fmt: skip
async def test_a_connection_that_is_none(line: Lines, frames: Any) -> None:
    """It is told so, closed at once, and nobody is left waiting; the next has a new one."""
    with H2Backend(bad(*frames), serve) as backend:
        here = line(backend, http2={"window": 65_535})

        assert type(await error_of(here)) is ResponseInvalid
        assert await get(here, "/next") == (200, b"/next")
        await eventually(lambda: backend.connections[0].closed)
        assert len(backend.connections) == 2


async def test_more_than_the_window(line: Lines) -> None:
    """What a client that reads nothing may be sent is bounded, whatever the backend does."""

    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(peer.head(n), *[data(n, b"x" * 16_384, end=False)] * 5)
        await listen(peer)

    with H2Backend(play) as backend:
        one = await response(line(backend, http2={"window": 65_536}))
        await eventually(lambda: one.connection.error)

        assert isinstance(one.connection.error, ResponseInvalid)
        assert one.connection.waiting == 65_536


async def test_frames_for_streams_that_have_ended_are_bounded(line: Lines) -> None:
    """What can have been on its way, and no more."""

    async def play(peer: Peer) -> None:
        first = await peer.request()
        await peer.answer(first.stream, b"x")
        second = await peer.request()
        await peer.send(data(first.stream, b"x", end=False))
        await peer.answer(second.stream, b"never")
        await listen(peer)

    with H2Backend(play, serve) as backend:
        here = line(backend)
        assert await get(here) == (200, b"x")

        assert isinstance(await error_of(here, ask(here, "/", "POST")), ResponseInvalid)


async def test_a_head_in_many_frames(line: Lines) -> None:
    """Both ways."""

    async def play(peer: Peer) -> None:
        asked = await peer.request()
        head = peer.head(asked.stream, 200, (b"x-long", asked.all("x-long")[0]))
        assert isinstance(head, HeadersFrame)
        payload, head.data = head.data, head.data[:1]
        head.flags.discard("END_HEADERS")
        head.flags.add("END_STREAM")
        pieces = [payload[i : i + 10_000] for i in range(1, len(payload), 10_000)]
        rest = [ContinuationFrame(asked.stream, piece) for piece in pieces]
        rest[-1].flags.add("END_HEADERS")
        await peer.send(head, *rest)
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        one = await response(here, ask(here, "/", "GET", "x-long: " + "~" * 40_000))

        assert one.connection.fields == [(b"x-long", b"~" * 40_000)]
        assert len(said(backend.peers[0], ContinuationFrame)) == 2


# TLS...


async def test_a_pool_that_goes(line: Lines) -> None:
    """Idle connections close at once, busy ones with their last exchange."""
    gate = Gate()

    async def play(peer: Peer) -> None:
        asked = await peer.request()
        await gate.passed()
        await peer.answer(asked.stream, b"x")
        await listen(peer)

    with H2Backend(play) as backend:
        here = line(backend)
        going = asyncio.create_task(get(here))
        await eventually(lambda: backend.peers and backend.peers[0].requests)
        here.transport.follow(())
        gate.open()

        assert await going == (200, b"x")
        await eventually(lambda: backend.connections[0].closed)
