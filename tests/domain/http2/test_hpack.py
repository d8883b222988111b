"""Field compression: what another library encodes is decoded, what we encode is decoded by it, and what is neither."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.http2 import huffman
from app.domain.http2.hpack import NO_TABLE, STATIC, BadBlock, Decoder, integer, literal, string

MOST = 1 << 20
NAMES = st.sampled_from([name for name, _ in STATIC[1:]]) | st.from_regex(rb"[a-z-]{1,40}", fullmatch=True)
VALUES = st.sampled_from([b"", b"gzip, deflate", b"200"]) | st.binary(max_size=200)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.none() | st.sampled_from([0, 100, 4096])), max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_another_library_encodes(blocks: list[tuple[list[tuple[bytes, bytes]], bool, int | None]]) -> None:
    """A connection's blocks, with and without Huffman, in tables that are grown and shrunk."""
    encoder, decoder = hpack.Encoder(), Decoder()
    for fields, coded, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        assert decoder.decode(encoder.encode(fields, huffman=coded), MOST) == fields


@given(FIELDS)
@settings(max_examples=60, deadline=None)
def test_what_we_encode(fields: list[tuple[bytes, bytes]]) -> None:
    """In no table, whatever it is; secrets nowhere on the way either."""
    decoder = hpack.Decoder()
    block = NO_TABLE + b"".join(literal(name, value) for name, value in fields)

    found = decoder.decode(block, raw=True)
    assert [tuple(field) for field in found] == fields
    assert not decoder.header_table.dynamic_entries
    for field in found:
        never = isinstance(field, hpack.NeverIndexedHeaderTuple)
        assert never is (field[0] in (b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))


@pytest.mark.parametrize(
    ("block", "fields"),
    [  # RFC 7541 appendix C.4 and C.6.1
        ("828684418cf1e3c2e5f23a6ba0ab90f4ff", [(b":authority", b"www.example.com")]),
        ("488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff", [(b":status", b"302")]),
    ],
)
def test_the_examples_of_the_standard(block: str, fields: list[tuple[bytes, bytes]]) -> None:
    found = Decoder().decode(bytes.fromhex(block), MOST)

    assert set(fields) <= set(found)


@pytest.mark.parametrize("value", [0, 9, 10, 1337, 126, 127, 128, 254, 255, 2**20])
@pytest.mark.parametrize("mask", [0x0F, 0x1F, 0x7F])
def test_integers(value: int, mask: int) -> None:
    """RFC 7541 section 5.1, as the other library has it."""
    bits = mask.bit_length()
    assert hpack.hpack.decode_integer(integer(value, mask, 0), bits) == (value, len(integer(value, mask, 0)))


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 300])
def test_strings(length: int) -> None:
    block = b"\x00" + string(b"n") + string(b"v" * length)

    assert Decoder().decode(block, MOST) == [(b"n", b"v" * length)]


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xbe",  # a table with nothing in it
        b"\x7f\xff\xff\xff\xff\xff",  # an integer beyond all sizes
        b"\x40\x05ab",  # a string that is cut off
        b"\x40",
        b"\x40\x01a",
        b"\x88\x20",  # a table size behind a field
        b"\x3f\xe2\x1f",  # of 4097
        b"\x00\x01a\x84\xff\xff\xff\xff",  # the end of string in a string
        b"\x00\x01a\x81\xfe",  # padding that is no beginning of it
        b"\x00\x01a\x82\x1f\xff",  # padding of more than seven bits
    ],
)
def test_what_cannot_be_decoded(block: bytes) -> None:
    with pytest.raises(BadBlock):
        Decoder().decode(block, MOST)


def test_more_than_it_may_be() -> None:
    """However short it is in the table."""
    decoder = Decoder()
    decoder.decode(literal(b"x", b"y") + b"\x40\x01a" + string(b"v" * 1000), MOST)

    with pytest.raises(BadBlock, match="too many fields"):
        decoder.decode(b"\xbe" * 100, 100 * 1000)


@pytest.mark.parametrize("octet", range(256))
def test_every_octet_of_the_code(octet: int) -> None:
    """By its code in the other library's table."""
    coded = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    ).encode(bytes((octet,)) * 3)

    assert huffman.decode(coded) == bytes((octet,)) * 3


@pytest.mark.parametrize(
    "coded", [b"\xff\xff\xff\xfc", b"\xff\xff\xff\xff", b"\x3f\xff\xff\xff\xff", b"\x00\xff\xff", b"\x1e"]
)
def test_what_is_not_in_the_code(coded: bytes) -> None:
    """The end of string, too much padding, padding that is none."""
    with pytest.raises(huffman.NotHuffman):
        huffman.decode(coded)
