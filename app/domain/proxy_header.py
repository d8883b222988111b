r"""What a proxy in front of us says of a connection before it begins: the PROXY protocol, version 1 and 2.

    version 1    PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n
    version 2    12 bytes of signature, version and command, family, length; addresses; what else there may be (TLVs)

Source: The PROXY protocol, versions 1 & 2, of HAProxy's documentation (2020/03/05), sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from struct import unpack
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST_1 = 107
"""Bytes of a version 1 header, its line end included."""
LONGEST_2 = 4096
"""Bytes of a version 2 header that we read; TLVs of those who send any take a few hundred."""

Address = tuple[str, int]

_V1 = b"PROXY "
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


class Malformed(ValueError):
    """Not a PROXY header."""


class Ends(NamedTuple):
    """Both ends of the connection that the proxy took."""

    client: Address
    server: Address


def length(data: bytes) -> int:
    """How long the header is that *data* begins with; while that cannot be seen yet, how much it has at least.

    Never less than what may be taken for it: a header is read to its end, and no byte further.

    Raises:
        Malformed: no header begins so, or it is too long.
    """
    if data[:12] == SIGNATURE[: len(data)]:
        if len(data) < 16:
            return 16
        whole = 16 + int.from_bytes(data[14:16], "big")
        if whole > LONGEST_2:
            raise Malformed(f"a header of {whole} bytes; {LONGEST_2} is the limit")
        return whole
    if data[:6] == _V1[: len(data)]:
        end = data.find(b"\r\n", 0, LONGEST_1)
        if end >= 0:
            return end + 2
        if len(data) < LONGEST_1:
            return len(data) + 1
        raise Malformed(f"a line of over {LONGEST_1} bytes")
    raise Malformed("no header")


def ends(header: bytes) -> Ends | None:
    """What a whole header says; None where the connection is the proxy's own, or nothing is known of it.

    Raises:
        Malformed: it cannot be understood.
    """
    return _second(header) if header.startswith(SIGNATURE) else _first(header)


def _first(line: bytes) -> Ends | None:
    if _UNKNOWN.fullmatch(line):
        return None
    found = _LINE.fullmatch(line)
    if found is None:
        raise Malformed("not a line of version 1")
    family, client, server, client_port, server_port = (part.decode("ascii") for part in found.groups())
    kind = IPv4Address if family == "4" else IPv6Address
    try:
        both = str(kind(client)), str(kind(server))
    except ValueError:
        raise Malformed("not an address") from None
    ports = int(client_port), int(server_port)
    if max(ports) > 65535:
        raise Malformed("not a port")
    return Ends((both[0], ports[0]), (both[1], ports[1]))


def _second(header: bytes) -> Ends | None:
    command, family = header[12], header[13]
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise Malformed("neither of version 2, nor LOCAL or PROXY")
    said = header[16:]
    if family == _TCP4 and len(said) >= 12:
        client, server, *ports = unpack("!4s4sHH", said[:12])
        return Ends((str(IPv4Address(client)), ports[0]), (str(IPv4Address(server)), ports[1]))
    if family == _TCP6 and len(said) >= 36:
        client, server, *ports = unpack("!16s16sHH", said[:36])
        return Ends((str(IPv6Address(client)), ports[0]), (str(IPv6Address(server)), ports[1]))
    if family in (_TCP4, _TCP6):
        raise Malformed("too short for its addresses")
    return None  # of a Unix socket, of datagrams, or not said
