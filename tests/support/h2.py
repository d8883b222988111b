"""Backends of HTTP/2 that do as a script says, frame by frame; they lie where a test wants it.

A script is a coroutine function over the `Peer`, played on each connection once the client's preface has come and our
SETTINGS have gone. Frames are made and read by hyperframe, fields by hpack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.backend import Backend, Connection, Gone

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Fields = Sequence[tuple[bytes, bytes]]


class Asked(NamedTuple):
    """One request head as it came in."""

    stream: int
    fields: list[tuple[bytes, bytes]]
    ended: bool

    def all(self, name: str) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for key, value in self.fields if key == name.encode()]


class Peer:
    """One connection as the backend sees it.

    Attributes:
        frames: everything that came, in order.
    """

    def __init__(self, c: Connection) -> None:
        self.c = c
        self.frames: list[Frame] = []
        self.requests: list[Asked] = []
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._unread: list[Frame] = []

    async def send(self, *frames: Frame | bytes) -> None:
        """Send, all in one write."""
        await self.c.send(b"".join(one if isinstance(one, bytes) else one.serialize() for one in frames))

    async def next(self) -> Frame:
        """The next frame. SETTINGS are answered."""
        frame, length = Frame.parse_frame_header(memoryview(await self.c.take(9)))
        frame.parse_body(memoryview(await self.c.take(length)))
        self.frames.append(frame)
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            await self.send(SettingsFrame(0, flags=["ACK"]))
        return frame

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The next frame that is *wanted*; those before it are passed over."""
        while not wanted(frame := await self.next()):
            pass
        return frame

    async def request(self) -> Asked:
        """The next request head; other frames before it are passed over."""
        frame = await self.until(lambda frame: isinstance(frame, HeadersFrame))
        ended, block = "END_STREAM" in frame.flags, frame.data
        while "END_HEADERS" not in frame.flags:
            frame = await self.next()
            assert isinstance(frame, ContinuationFrame)
            block += frame.data
        fields = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        self.requests.append(Asked(frame.stream_id, fields, ended))
        return self.requests[-1]

    async def body(self, asked: Asked) -> bytes:
        """The body of *asked*, which is credited as it comes; nothing else may come meanwhile."""
        pieces, ended = [], asked.ended
        while not ended:
            frame = await self.next()
            if isinstance(frame, DataFrame):
                pieces.append(frame.data)
                ended = "END_STREAM" in frame.flags
                if frame.data and not ended:
                    size = frame.flow_controlled_length
                    await self.send(window(0, size), window(frame.stream_id, size))
            elif isinstance(frame, HeadersFrame):
                ended = True
                self.trailers = [(bytes(n), bytes(v)) for n, v in self._decoder.decode(frame.data, raw=True)]
        return b"".join(pieces)

    def head(self, stream: int, status: int | str = 200, *fields: tuple[bytes, bytes], end: bool = False) -> Frame:
        """HEADERS of a response."""
        return self.headers(stream, (b":status", str(status).encode()), *fields, end=end)

    def headers(self, stream: int, *fields: tuple[bytes, bytes], end: bool = False) -> Frame:
        """HEADERS of any fields: trailers, or what is none."""
        frame = HeadersFrame(stream, self._encoder.encode(fields), flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame

    async def answer(self, stream: int, body: bytes = b"", *fields: tuple[bytes, bytes], status: int = 200) -> None:
        """A whole response."""
        pieces = [data(stream, body[i : i + 16_384], end=i + 16_384 >= len(body)) for i in range(0, len(body), 16_384)]
        await self.send(self.head(stream, status, *fields, end=not body), *pieces)


Script = Callable[[Peer], Awaitable[Any]]


def data(stream: int, body: bytes = b"", *, end: bool = True) -> Frame:
    """DATA."""
    return DataFrame(stream, body, flags=["END_STREAM"] if end else [])


def window(stream: int, more: int) -> Frame:
    """WINDOW_UPDATE."""
    return WindowUpdateFrame(stream, window_increment=more)


def reset(stream: int, code: int) -> Frame:
    """RST_STREAM."""
    return RstStreamFrame(stream, error_code=code)


def goaway(last: int, code: int = 0) -> Frame:
    """GOAWAY."""
    return GoAwayFrame(0, last_stream_id=last, error_code=code)


def ping() -> Frame:
    """PING."""
    return PingFrame(0, opaque_data=b"whoareu?")


def settings(**values: int) -> Frame:
    """SETTINGS; the names are those of hyperframe in lower case."""
    return SettingsFrame(0, settings={getattr(SettingsFrame, name.upper()): value for name, value in values.items()})


def said(peer: Peer, kind: type[Frame]) -> list[Any]:
    """All frames of a kind that have come."""
    return [frame for frame in peer.frames if isinstance(frame, kind)]


async def serve(peer: Peer) -> None:
    """The well-behaved one: each request is answered with its path, once its body has come."""
    while True:
        asked = await peer.request()
        await peer.body(asked)
        await peer.answer(asked.stream, asked.all(":path")[0])


async def listen(peer: Peer) -> None:
    """Read to the end of the connection."""
    while True:
        await peer.next()


class H2Backend(Backend):
    """A backend of HTTP/2 that plays *script* on each connection, or the one that it has for that one.

    Args:
        settings: what it says of itself in the beginning.
    """

    def __init__(self, *scripts: Script, tls: Any = None, **settings_: int) -> None:
        self.peers: list[Peer] = []
        self.scripts = scripts or (serve,)
        self.settings = settings_
        super().__init__(self._play, tls=tls)
        if not tls:
            self.url = self.url.replace("http://", "h2c://")

    async def _play(self, c: Connection) -> None:
        peer = Peer(c)
        script = self.scripts[min(len(self.peers), len(self.scripts) - 1)]
        self.peers.append(peer)
        if await c.take(len(PREFACE)) != PREFACE:
            raise Gone
        await peer.send(settings(**self.settings))
        await script(peer)
        await asyncio.sleep(0)
