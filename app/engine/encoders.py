"""Compressing bodies: gzip of the standard library; zstd and br where their package is there."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from app.domain.coding import Coding

LARGE = 16_384
"""Bytes of a piece, over which it is compressed in a thread: that takes longer than going there."""


class Encoder(Protocol):
    """Compresses one body."""

    def __call__(self, piece: bytes, end: bool) -> bytes:
        """What *piece* comes to, all of it, so that nothing waits for the next; at the *end*, with what closes it."""


def encoder(coding: Coding) -> Encoder:
    """One for the next body."""
    made: Encoder = MAKERS[coding.name.decode()](coding.level)
    return made


async def encode(encoder: Encoder, piece: bytes, end: bool) -> bytes:
    """The same, beside the event loop where *piece* is large."""
    if len(piece) > LARGE:
        return await asyncio.to_thread(encoder, piece, end)
    return encoder(piece, end)


def gzip(level: int) -> Encoder:
    """RFC 1952."""
    made = zlib.compressobj(level, wbits=31)
    return lambda piece, end: made.compress(piece) + made.flush(zlib.Z_FINISH if end else zlib.Z_SYNC_FLUSH)


def brotli(level: int) -> Encoder:
    """RFC 7932."""
    import brotli  # noqa: PLC0415  # an extra

    made = brotli.Compressor(quality=level)

    def encode(piece: bytes, end: bool) -> bytes:
        text: bytes = made.process(piece)
        text += made.finish() if end else made.flush()
        return text

    return encode


def zstd(level: int) -> Encoder:
    """RFC 8878; up to level 9 the window stays below the 8 MiB that every client has to bear (RFC 9659)."""
    import zstandard  # noqa: PLC0415  # an extra

    made = zstandard.ZstdCompressor(level=level).compressobj()

    def encode(piece: bytes, end: bool) -> bytes:
        text: bytes = made.compress(piece)
        return text + made.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH if end else zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    return encode


MAKERS: dict[str, Callable[[int], Any]] = {"gzip": gzip, "br": brotli, "zstd": zstd}
_PACKAGES = {"br": "brotli", "zstd": "zstandard"}


def missing(name: str) -> bool:
    """Whether the coding cannot be made here."""
    return name in _PACKAGES and find_spec(_PACKAGES[name]) is None
