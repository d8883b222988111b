"""Frames of a WebSocket are followed however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode

from app.domain.frames import Frames, close_frame

LENGTHS = (0, 1, 125, 126, 127, 65535, 65536, 70_000)


def encoded(length: int, *, mask: bool = False, opcode: Opcode = Opcode.BINARY, fin: bool = True) -> bytes:
    """A frame as the `websockets` library writes it."""
    return bytes(Frame(opcode, b"\x88" * length, fin=fin).serialize(mask=mask))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("mask", [False, True])
def test_one_frame_byte_by_byte(length: int, mask: bool) -> None:
    """It ends with its last byte, and not before."""
    frames, frame = Frames(), encoded(length, mask=mask)
    assert frames.between
    for byte in frame[:-1]:
        frames.follow(bytes((byte,)))
        assert not frames.between
    frames.follow(frame[-1:])
    assert frames.between
    assert not frames.closed


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(LENGTHS), st.booleans()), max_size=5),
    st.lists(st.floats(0, 1), max_size=20),
)
def test_a_step_ends_at_the_end_of_its_frame(specs: list[tuple[int, bool]], cuts: list[float]) -> None:
    """Whatever was cut before, and whatever follows in the same piece."""
    whole = [encoded(length, mask=mask) for length, mask in specs]
    rest = b"".join(whole)
    ends = {sum(map(len, whole[:n])) for n in range(len(whole) + 1)}
    places = sorted({0, len(rest), *(int(cut * len(rest)) for cut in cuts)})
    frames = Frames()
    for start, end in pairwise(places):
        here = 0
        while here < end - start:
            here = frames.step(rest[start:end], here)
            assert frames.between == (start + here in ends)
    assert frames.between


def test_a_fragment_ends_as_a_frame() -> None:
    """A close frame may stand between two fragments of a message (RFC 6455 section 5.4)."""
    frames = Frames()
    frames.follow(encoded(3, opcode=Opcode.TEXT, fin=False))
    assert frames.between


def test_a_close_frame_is_the_last() -> None:
    frames = Frames()
    frames.follow(encoded(3) + encoded(2, opcode=Opcode.PING))
    assert not frames.closed
    frames.follow(encoded(2, opcode=Opcode.CLOSE)[:3])
    assert frames.closed
    assert not frames.between
    frames.follow(b"x" + encoded(1))
    assert frames.closed


@pytest.mark.parametrize("reason", ["", "the server is stopping", "ü" * 61])
def test_our_close_frame_is_one(reason: str) -> None:
    """As the library writes it."""
    theirs = Frame(Opcode.CLOSE, Close(1001, reason).serialize()).serialize(mask=False)
    assert close_frame(1001, reason) == bytes(theirs)
