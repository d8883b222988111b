"""Bytes become the frames that another library has written, however they come; and what may not come."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, SettingsFrame

from app.domain.http2 import frames
from app.domain.http2.frames import Broken
from app.domain.http2.reader import MOST_PIECES, Reader

Frames = list[tuple[int, int, int, bytes]]
SETTINGS = SettingsFrame(0, settings={3: 100}).serialize()
BEGUN = (frames.SETTINGS, 0, 0, b"\0\3\0\0\0\x64")
FIRST = HeadersFrame(1, b"abc", flags=["END_STREAM"]).serialize()
"""Of a block: END_HEADERS is yet to come."""


def reader(most: int = 1000) -> Reader:
    """One that has seen the first SETTINGS."""
    begun = Reader(most)
    assert fed(begun, SETTINGS) == [BEGUN]
    return begun


def fed(to: Reader, data: bytes) -> Frames:
    """What comes of *data*, on whatever stream."""
    return list(to.feed(data, lambda stream: None))


def last(data: bytes, stream: int = 1) -> bytes:
    """A CONTINUATION that ends a block."""
    return bytes(ContinuationFrame(stream, data, flags=["END_HEADERS"]).serialize())


STREAM = b"".join(
    (
        SETTINGS,
        FIRST,
        ContinuationFrame(1, b"def").serialize(),
        last(b"ghi"),
        HeadersFrame(
            3, b"whole", flags=["END_HEADERS", "PADDED", "PRIORITY"], pad_length=7, stream_weight=9
        ).serialize(),
        DataFrame(3, b"data", flags=["PADDED", "END_STREAM"], pad_length=2).serialize(),
        PingFrame(0, b"12345678").serialize(),
        b"\0\0\1\x77\x01\x80\0\0\x05x",  # of a type that nobody knows, with the bit set that means nothing
    )
)
COMES: Frames = [
    BEGUN,
    (frames.HEADERS, frames.END_STREAM, 1, b"abcdefghi"),
    (frames.HEADERS, frames.END_HEADERS | frames.PADDED | frames.PRIORITIZED, 3, b"whole"),
    (frames.DATA, frames.PADDED | frames.END_STREAM, 3, b"\x02data\0\0"),
    (frames.PING, 0, 0, b"12345678"),
    (0x77, 1, 5, b"x"),
]


@pytest.mark.parametrize("size", [*range(1, 12), len(STREAM)])
def test_frames_come_when_they_are_whole(size: int) -> None:
    begun = Reader(1000)
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]

    assert [frame for piece in pieces for frame in fed(begun, piece)] == COMES


def test_what_comes_before_something_broken() -> None:
    found = reader().feed(PingFrame(0, b"12345678").serialize() + last(b""), print)

    assert next(found) == (frames.PING, 0, 0, b"12345678")


@pytest.mark.parametrize(
    "data",
    [
        PingFrame(0, b"12345678").serialize(),
        SettingsFrame(0, flags=["ACK"]).serialize(),
        b"\0\0\0\x04\0\0\0\0\x01",  # SETTINGS of a stream
        b"\0\x40\x01\x04\0\0\0\0\0",  # 16 385 bytes of them
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_the_first_frame_is_settings(data: bytes) -> None:
    with pytest.raises(Broken, match="no SETTINGS in the beginning") as broken:
        fed(Reader(1000), data)

    assert broken.value.code == frames.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("data", "code", "detail"),
    [
        (b"\0\x40\x01\x00\0\0\0\0\1", frames.FRAME_SIZE_ERROR, "too long"),
        (last(b"x"), frames.PROTOCOL_ERROR, "CONTINUATION of nothing"),
        (FIRST + last(b"x") + last(b"x"), frames.PROTOCOL_ERROR, "CONTINUATION of nothing"),
        (FIRST + last(b"x", 3), frames.PROTOCOL_ERROR, "in the middle"),
        (FIRST + DataFrame(1, b"x").serialize(), frames.PROTOCOL_ERROR, "in the middle"),
        (FIRST + FIRST, frames.PROTOCOL_ERROR, "in the middle"),
        (b"\0\0\1\x01\x0c\0\0\0\1\1", frames.PROTOCOL_ERROR, "more padding"),
        (b"\0\0\4\x01\x24\0\0\0\1\0\0\0\0", frames.FRAME_SIZE_ERROR, "priority"),
    ],
)
def test_what_may_not_come(data: bytes, code: int, detail: str) -> None:
    with pytest.raises(Broken, match=detail) as broken:
        fed(reader(), data)

    assert broken.value.code == code


def test_a_frame_of_16_384_bytes_is_the_longest() -> None:
    assert fed(reader(), b"\0\x40\0\x00\0\0\0\0\1" + bytes(16_384)) == [(frames.DATA, 0, 1, bytes(16_384))]


def test_a_priority_and_no_block() -> None:
    assert fed(reader(), b"\0\0\5\x01\x24\0\0\0\1\0\0\0\0\0") == [(frames.HEADERS, 0x24, 1, b"")]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(10, [8]), (1000, [0] * MOST_PIECES)],
    ids=["bytes", "pieces"],
)
def test_a_block_that_does_not_end(most: int, sizes: list[int]) -> None:
    """Three bytes and eight are more than ten; and empty pieces are pieces."""
    pieces = [ContinuationFrame(1, bytes(size)).serialize() for size in sizes]
    begun = reader(most)
    assert fed(begun, FIRST + b"".join(pieces[:-1])) == []
    with pytest.raises(Broken, match="does not end") as broken:
        fed(begun, pieces[-1])

    assert broken.value.code == frames.ENHANCE_YOUR_CALM


def test_a_block_may_be_as_long_as_is_allowed() -> None:
    assert [payload for *_, payload in fed(reader(10), FIRST + last(b"defghij"))] == [b"abcdefghij"]
    assert len(fed(reader(), FIRST + ContinuationFrame(1).serialize() * (MOST_PIECES - 2) + last(b""))) == 1


def test_the_stream_of_a_block_in_pieces_is_told_with_the_first() -> None:
    """So that nobody waits for the rest of what may not be."""
    told: list[int] = []
    whole = HeadersFrame(5, b"x", flags=["END_HEADERS"]).serialize()
    begun = reader()
    assert list(begun.feed(whole + FIRST, told.append)) == [(frames.HEADERS, frames.END_HEADERS, 5, b"x")]
    assert told == [1]
    assert len(list(begun.feed(last(b"x"), told.append))) == 1
    assert told == [1]
