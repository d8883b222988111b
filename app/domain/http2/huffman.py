"""The Huffman code of field values: RFC 7541 section 5.2 and appendix B."""

from __future__ import annotations

from functools import cache
from typing import Final

SYMBOLS: Final = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b"!\x22()?",
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\x5c\xc3\xd0",
    20: b"\x80\x82\x83\xa2\xb8\xc2\xe0\xe2",
    21: b"\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6",
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: (
        b"\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf"
        b"\xc5\xe7\xef"
    ),
    24: b"\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed",
    25: b"\xc7\xcf\xea\xeb",
    26: b"\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff",
    27: b"\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe",
    28: (
        b"\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
        b"\x7f\xdc\xf9"
    ),
    30: b"\x0a\x0d\x16",
}
"""Length in bits -> the octets whose codes are that long, in the order of their codes: it is canonical, that is,
a code is the one before it plus one, with zeros behind it where it is longer. The end of string is the last."""
END_BITS: Final = 30

Step = tuple[int, int, bool]
"""The node after four more bits, the octet that ended with one of them or -1, whether a string may end there."""


class NotHuffman(ValueError):
    """It is no string of this code: it has the end of string in it, or ends in the middle of an octet's code."""


def decode(data: bytes) -> bytes:
    """The string. Raises NotHuffman."""
    steps = _steps()
    out = bytearray()
    node, ends = 0, True
    for byte in data:
        node, symbol, ends = steps[node << 4 | byte >> 4]
        if symbol >= 0:
            out.append(symbol)
        if node >= 0:
            node, symbol, ends = steps[node << 4 | byte & 15]
            if symbol >= 0:
                out.append(symbol)
        if node < 0:
            raise NotHuffman("the end of string in a string")
    if not ends:
        raise NotHuffman("a string that ends in the middle of a code")
    return bytes(out)


def _tree() -> tuple[list[list[int]], list[bool]]:
    """Inner nodes as [with 0, with 1]: an inner node from 0, or ~octet; and which of them padding may lead to."""
    nodes: list[list[int]] = [[0, 0]]
    padding = [True]
    code = length = 0
    for bits, octets in (*SYMBOLS.items(), (END_BITS, b"\x00")):
        for octet in octets:
            code <<= bits - length
            length = bits
            node = 0
            for place in range(bits - 1, 0, -1):
                bit = code >> place & 1
                if not nodes[node][bit]:
                    nodes[node][bit] = len(nodes)
                    nodes.append([0, 0])
                    padding.append(padding[node] and bit == 1 and bits - place < 8)
                node = nodes[node][bit]
            nodes[node][code & 1] = ~octet
            code += 1
    return nodes, padding


@cache
def _steps() -> tuple[Step, ...]:
    """By node and four bits. The last code, all ones, is that of the end of string, which leads to -1."""
    nodes, padding = _tree()
    last = 0
    while nodes[last][1] > 0:
        last = nodes[last][1]
    nodes[last][1] = ~256
    steps: list[Step] = []
    for start in range(len(nodes)):
        for bits in range(16):
            node, symbol = start, -1
            for place in (3, 2, 1, 0):
                node = nodes[node][bits >> place & 1]
                if node < 0:
                    if node == ~256:
                        break
                    symbol, node = ~node, 0
            steps.append((-1, -1, False) if node < 0 else (node, symbol, padding[node]))
    return tuple(steps)
