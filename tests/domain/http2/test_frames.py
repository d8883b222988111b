"""Frames, as another library reads and writes them."""

from __future__ import annotations

import pytest
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

from app.domain.http2 import frames


def read(data: bytes) -> list[Frame]:
    """All frames of *data*."""
    found = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        found.append(frame)
        data = data[9 + length :]
    return found


def test_what_we_write() -> None:
    said = frames.settings({frames.INITIAL_WINDOW_SIZE: 7, frames.ENABLE_PUSH: 0})
    data = frames.reset(3, frames.CANCEL) + frames.window_update(0, 9) + frames.ping(b"12345678", frames.ACK)
    found = read(said + data + frames.goaway(frames.ENHANCE_YOUR_CALM))

    assert [frame.serialize() for frame in found] == [
        SettingsFrame(0, settings={4: 7, 2: 0}).serialize(),
        RstStreamFrame(3, error_code=8).serialize(),
        WindowUpdateFrame(0, window_increment=9).serialize(),
        PingFrame(0, opaque_data=b"12345678", flags=["ACK"]).serialize(),
        GoAwayFrame(0, last_stream_id=0, error_code=11).serialize(),
    ]


def test_a_frame_is_what_the_standard_says() -> None:
    """RFC 9113 section 4.1: the length in 24 bits, and no flag that nobody has set."""
    assert frames.head(0x01_02_03, frames.DATA, frames.END_STREAM, 5) == b"\x01\x02\x03\x00\x01\x00\x00\x00\x05"
    assert frames.reset(3, frames.CANCEL) == b"\0\0\x04\x03\0\0\0\0\x03" + b"\0\0\0\x08"
    assert frames.window_update(3, 9) == b"\0\0\x04\x08\0\0\0\0\x03" + b"\0\0\0\x09"
    assert frames.goaway(frames.CANCEL) == b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\0\0\0\0\x08"


def test_what_goes_on_has_no_flag() -> None:
    """But for the last frame of a block."""
    assert frames.headers(b"abc", 5, 0, 1) == (
        b"\0\0\x01\x01\0\0\0\0\x05a" + b"\0\0\x01\x09\0\0\0\0\x05b" + b"\0\0\x01\x09\x04\0\0\0\x05c"
    )


@pytest.mark.parametrize("size", [0, 99, 100, 101, 250, 300])
def test_a_block_of_fields(size: int) -> None:
    """In as many frames as it takes; the flags of the first are those of the request, the last one says that it is."""
    first, *rest = read(frames.headers(b"x" * size, 5, frames.END_STREAM, 100))

    assert isinstance(first, HeadersFrame)
    assert all(isinstance(frame, ContinuationFrame) for frame in rest)
    assert b"".join([first.data, *[frame.data for frame in rest]]) == b"x" * size
    assert "END_STREAM" in first.flags
    assert ["END_HEADERS" in frame.flags for frame in (first, *rest)] == [False] * len(rest) + [True]


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding(padding: int) -> None:
    frame = DataFrame(1, b"data", flags=["PADDED"], pad_length=padding)

    assert frames.unpadded(frame.serialize()[9:], frames.PADDED) == b"data"
    assert frames.unpadded(b"data", frames.END_STREAM) == b"data"


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x02x"])
def test_more_padding_than_frame(payload: bytes) -> None:
    with pytest.raises(frames.Broken) as caught:
        frames.unpadded(payload, frames.PADDED)

    assert (caught.value.code, str(caught.value)) == (frames.PROTOCOL_ERROR, "more padding than frame")


def test_settings() -> None:
    """In their order, those that nobody knows among them."""
    payload = SettingsFrame(0, settings={4: 7, 3: 8, 5: 16_384, 2: 0, 99: 1}).serialize()[9:]

    assert sorted(frames.settings_of(payload)) == [(2, 0), (3, 8), (4, 7), (5, 16_384), (99, 1)]


@pytest.mark.parametrize(
    ("payload", "code", "detail"),
    [
        (b"\0", frames.FRAME_SIZE_ERROR, "a SETTINGS frame of a wrong length"),
        (b"\0\4\x80\0\0\0", frames.FLOW_CONTROL_ERROR, "an initial window beyond all windows"),
        (b"\0\5\0\0\x3f\xff", frames.PROTOCOL_ERROR, "a setting that may not be"),
        (b"\0\5\x01\0\0\0", frames.PROTOCOL_ERROR, "a setting that may not be"),
        (b"\0\2\0\0\0\1", frames.PROTOCOL_ERROR, "a setting that may not be"),
    ],
)
def test_settings_that_may_not_be(payload: bytes, code: int, detail: str) -> None:
    with pytest.raises(frames.Broken) as caught:
        frames.settings_of(payload)

    assert (caught.value.code, caught.value.detail, str(caught.value)) == (code, detail, detail)


@pytest.mark.parametrize(("key", "value"), [(4, 0), (4, 2**31 - 1), (5, 2**14), (5, 2**24 - 1), (2, 0)])
def test_settings_that_may_just_be(key: int, value: int) -> None:
    assert frames.settings_of(key.to_bytes(2, "big") + value.to_bytes(4, "big")) == [(key, value)]


def test_codes_have_names() -> None:
    assert (frames.named(7), frames.named(13), frames.named(14)) == ("REFUSED_STREAM", "HTTP_1_1_REQUIRED", "error 0xe")
