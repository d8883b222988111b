"""Bodies are compressed so that they can be read again, each piece as it comes."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.encoders import LARGE, MAKERS, encode, missing


def decoder(name: str) -> Callable[[bytes], bytes]:
    made: Any
    if name == "gzip":
        made = zlib.decompressobj(31).decompress
    elif name == "br":
        made = brotli.Decompressor().process
    else:
        made = zstandard.ZstdDecompressor().decompressobj().decompress
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("level", [1, 4, 9])
@settings(deadline=None, max_examples=20)
@given(pieces=st.lists(st.binary(max_size=3000), max_size=5))
def test_each_piece_can_be_read_when_it_has_come(name: str, level: int, pieces: list[bytes]) -> None:
    """Nothing of it waits for the next; the end is one."""
    one, read = MAKERS[name](level), decoder(name)

    for piece in pieces:
        assert read(one(piece, False)) == piece
    assert read(one(b"the end", True)) == b"the end"


@pytest.mark.parametrize("name", MAKERS)
async def test_large_pieces_do_not_hold_up_the_loop(name: str) -> None:
    """They are compressed in another thread; small ones in this."""
    one, threads = MAKERS[name](4), []

    def noting(piece: bytes, end: bool) -> bytes:
        threads.append(threading.current_thread())
        return one(piece, end)  # type: ignore[no-any-return]

    small = await encode(noting, b"x" * LARGE, False)
    large = await encode(noting, b"y" * (LARGE + 1), True)

    assert [thread is threading.main_thread() for thread in threads] == [True, False]
    read = decoder(name)
    assert read(small) + read(large) == b"x" * LARGE + b"y" * (LARGE + 1)


def test_what_can_be_made_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [name for name in MAKERS if missing(name)] == []
    monkeypatch.setattr("app.engine.encoders.find_spec", lambda _: None)
    assert [name for name in MAKERS if missing(name)] == ["br", "zstd"]
