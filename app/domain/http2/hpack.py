"""Field compression: a decoder with its table, and literals for what we say ourselves. RFC 7541.

What we send is never put into a table: a connection carries the requests of many clients, and one that could make its
own fields longer and shorter by those of others could guess what they are (RFC 7541 section 7.1).
"""

from __future__ import annotations

from typing import Final

from app.domain.headers import Field, Fields
from app.domain.http2.huffman import NotHuffman
from app.domain.http2.huffman import decode as unhuffman

TABLE_SIZE: Final = 4096
"""Bytes of the decoder's table: what SETTINGS_HEADER_TABLE_SIZE is when nobody says so."""
OVERHEAD: Final = 32
"""Bytes that a field counts beside its name and its value (section 4.1)."""

STATIC: Final[tuple[Field, ...]] = (
    (b"", b""),
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b""),
    (b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b""),
    (b"cache-control", b""), (b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b""),
    (b"content-length", b""), (b"content-location", b""), (b"content-range", b""), (b"content-type", b""),
    (b"cookie", b""), (b"date", b""), (b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b""),
    (b"host", b""), (b"if-match", b""), (b"if-modified-since", b""), (b"if-none-match", b""), (b"if-range", b""),
    (b"if-unmodified-since", b""), (b"last-modified", b""), (b"link", b""), (b"location", b""),
    (b"max-forwards", b""), (b"proxy-authenticate", b""), (b"proxy-authorization", b""), (b"range", b""),
    (b"referer", b""), (b"refresh", b""), (b"retry-after", b""), (b"server", b""), (b"set-cookie", b""),
    (b"strict-transport-security", b""), (b"transfer-encoding", b""), (b"user-agent", b""), (b"vary", b""),
    (b"via", b""), (b"www-authenticate", b""),
)  # fmt: skip
"""Appendix A, from index 1."""

NO_TABLE: Final = b"\x20"
"""What the first block of ours begins with: our table has no room, whatever the other side allows (section 6.3)."""


class BadBlock(ValueError):
    """It cannot be decoded, and neither can what follows it."""


class Decoder:
    """Decodes the blocks of one connection, in their order."""

    __slots__ = ("_max", "_size", "_table")

    def __init__(self) -> None:
        self._table: Fields = []  # the newest is the last
        self._size = 0
        self._max = TABLE_SIZE

    def decode(self, block: bytes, most: int) -> Fields:
        """The fields of *block*. Raises BadBlock, also for more than *most* bytes with OVERHEAD for each field."""
        try:
            return self._decode(block, most)
        except IndexError:
            raise BadBlock("a block that ends too early, or a field that is not in the table") from None
        except NotHuffman as fault:
            raise BadBlock(str(fault)) from None

    def _decode(self, block: bytes, most: int) -> Fields:
        fields: Fields = []
        at, end = 0, len(block)
        while at < end:
            byte = block[at]
            if byte & 0x80:
                index, at = _integer(block, at, 0x7F)
                field = self._field(index)
            elif byte & 0xE0 == 0x20:
                size, at = _integer(block, at, 0x1F)
                if fields or size > TABLE_SIZE:
                    raise BadBlock("a table size that is not ours to have, or not at the beginning")
                self._max = size
                self._evict()
                continue
            else:
                index, at = _integer(block, at, 0x3F if byte & 0x40 else 0x0F)
                if index:
                    name = self._field(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = name, value
                if byte & 0x40:
                    self._table.append(field)
                    self._size += len(name) + len(value) + OVERHEAD
                    self._evict()
            fields.append(field)
            most -= len(field[0]) + len(field[1]) + OVERHEAD
            if most < 0:
                raise BadBlock("too many fields, or too long ones")
        return fields

    def _field(self, index: int) -> Field:
        if 0 < index < 62:
            return STATIC[index]
        if index == 0 or index - 61 > len(self._table):
            raise IndexError
        return self._table[61 - index]

    def _evict(self) -> None:
        table = self._table
        while self._size > self._max:
            name, value = table.pop(0)
            self._size -= len(name) + len(value) + OVERHEAD


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """The integer whose first byte is at *at*, and where the next thing is (section 5.1)."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise BadBlock("an integer beyond all sizes")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """The string that begins at *at*, and where the next thing is (section 5.2)."""
    coded = block[at] & 0x80
    length, at = _integer(block, at, 0x7F)
    end = at + length
    if end > len(block):
        raise IndexError
    value = block[at:end]
    return (unhuffman(value) if coded else value), end


def string(value: bytes) -> bytes:
    """*value* as a string, as it is (section 5.2)."""
    length = len(value)
    return (_SHORT[length] if length < 127 else integer(length, 0x7F, 0)) + value


def integer(value: int, mask: int, above: int) -> bytes:
    """*value* in the bits of *mask* and as many bytes more as it takes, below the bits of *above* (section 5.1)."""
    if value < mask:
        return bytes((above | value,))
    out = bytearray((above | mask,))
    value -= mask
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SHORT: Final = tuple(bytes((length,)) for length in range(127))
SECRET: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})
"""Names of fields that nobody on the way may put into a table either (section 7.1.3)."""


def _named() -> dict[bytes, bytes]:
    """Name -> what a literal that is put into no table begins with, for the names of STATIC."""
    first: dict[bytes, bytes] = {}
    for index, (name, _) in enumerate(STATIC):
        if index and name not in first:
            first[name] = integer(index, 0x0F, 0x10 if name in SECRET else 0)
    return first


NAMED: Final = _named()


def literal(name: bytes, value: bytes) -> bytes:
    """One field that is put into no table (sections 6.2.2 and 6.2.3)."""
    return (NAMED.get(name) or b"\x00" + string(name)) + string(value)
