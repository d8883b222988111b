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


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 255, 300, 20_000, 3_000_000])
def test_strings(length: int) -> None:
    block = b"\x00" + string(b"n") + string(b"v" * length)

    assert Decoder().decode(block, 4 * MOST) == [(b"n", b"v" * length)]


def test_what_we_encode_is_short() -> None:
    """No more bytes than it takes, and the names of the static table by their number."""
    assert (integer(253, 0x7F, 0), integer(254, 0x7F, 0), integer(255, 0x7F, 0)) == (
        b"\x7f\x7e", b"\x7f\x7f", b"\x7f\x80\x01",
    )  # fmt: skip
    assert literal(b"accept", b"x") == b"\x0f\x04\x01x"
    assert literal(b"cookie", b"x") == b"\x1f\x11\x01x"


@pytest.mark.parametrize("begins", [b"\x0f\x00", b"\x1f\x00", b"\x00\x0eaccept-charset", b"\x10\x0eaccept-charset"])
def test_what_is_not_to_be_put_into_the_table_is_not(begins: bytes) -> None:
    """RFC 7541 sections 6.2.2 and 6.2.3: by its number, the 15th here, and by its name."""
    decoder = Decoder()

    assert decoder.decode(begins + b"\x01v", MOST) == [(b"accept-charset", b"v")]
    with pytest.raises(BadBlock):
        decoder.decode(b"\xbe", MOST)


def test_nor_is_one_with_an_odd_number() -> None:
    decoder = Decoder()

    assert decoder.decode(b"\x01\x01v", MOST) == [(b":authority", b"v")]
    with pytest.raises(BadBlock):
        decoder.decode(b"\xbe", MOST)


def test_the_oldest_leave_a_table_that_is_full() -> None:
    """Each counts 32 beside its name and its value (section 4.1): 63, 34, 34 bytes, in a table of 100."""
    decoder = Decoder()
    long = b"\x40\x01a\x1e" + b"v" * 30
    assert len(decoder.decode(b"\x3f\x45" + long + b"\x40\x01b\x01x", MOST)) == 2
    assert decoder.decode(b"\xbe\xbf", MOST) == [(b"b", b"x"), (b"a", b"v" * 30)]

    decoder.decode(b"\x40\x01c\x01x", MOST)

    assert decoder.decode(b"\xbe\xbf", MOST) == [(b"c", b"x"), (b"b", b"x")]
    with pytest.raises(BadBlock):
        decoder.decode(b"\xc0", MOST)


def test_nothing_has_the_number_0_however_full_the_table() -> None:
    decoder = Decoder()
    decoder.decode(b"\x40\x01a\x00" * 70, MOST)

    with pytest.raises(BadBlock):
        decoder.decode(b"\x80", MOST)


def test_as_much_as_it_may_be() -> None:
    """Two fields of 34 bytes."""
    block = b"\x00\x01a\x01b" * 2

    assert len(Decoder().decode(block, 68)) == 2
    with pytest.raises(BadBlock, match=r"^too many fields, or too long ones$"):
        Decoder().decode(block, 67)


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "a block that ends too early, or a field that is not in the table"),
        (b"\x7f\xff\xff\xff\xff\xff", "an integer beyond all sizes"),
        (b"\x88\x20", "a table size that is not ours to have, or not at the beginning"),
        (b"\x00\x01a\x84\xff\xff\xff\xff", "the end of string in a string"),
        (b"\x00\x01a\x81\xfe", "a string that ends in the middle of a code"),
    ],
)
def test_the_log_says_why(block: bytes, why: str) -> None:
    with pytest.raises(BadBlock) as caught:
        Decoder().decode(block, MOST)

    assert str(caught.value) == why


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
    "coded", [b"\xff\xff\xff\xfc", b"\xff\xff\xff\xff", b"\x3f\xff\xff\xff\xff", b"\x00\xff\xff", b"\xf8\xff", b"\x1e"]
)
def test_what_is_not_in_the_code(coded: bytes) -> None:
    """The end of string, too much padding, padding that is none."""
    with pytest.raises(huffman.NotHuffman):
        huffman.decode(coded)
