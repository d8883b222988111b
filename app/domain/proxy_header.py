r"""What a proxy says of a connection before it begins, one in front of us or we: the PROXY protocol, version 1 and 2.

    version 1    PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n
    version 2    12 bytes of signature, version and command, family, length; addresses; what else there may be (TLVs)

Source: The PROXY protocol, versions 1 & 2, of HAProxy's documentation (2020/03/05), sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack, unpack
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
_TLS, _TLS_VERSION, _TLS_NAME, _TLS_CIPHER = 0x20, 0x21, 0x22, 0x23
_AUTHORITY = 0x02
_OVER_TLS, _CERTIFIED = 0x01, 0x02 | 0x04

LOCAL = {1: b"PROXY UNKNOWN\r\n", 2: SIGNATURE + bytes((_LOCAL, 0, 0, 0))}
"""By version, what begins a connection of our own."""


class Malformed(ValueError):
    """Not a PROXY header."""


class Ends(NamedTuple):
    """Both ends of the connection that the proxy took."""

    client: Address
    server: Address


class Tls(NamedTuple):
    """What is told of a client's TLS.

    Attributes:
        version, cipher: as OpenSSL names them: `TLSv1.3`.

        certified: it has shown a certificate, which was verified.

        name: the common name in that; "" for none.
    """

    version: str
    cipher: str
    certified: bool
    name: str


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


def between(client: str, client_port: int, server: str, server_port: int) -> Ends | None:
    """Both ends as a header can name them: of one family, an IPv4 address among IPv6 ones mapped.

    What *server* is not an address for, is told as none and port 0. None where *client* is not an address, as on a Unix
    socket.
    """
    near = _parsed(client)
    if near is None:
        return None
    far = _parsed(server)
    if far is None:
        far, server_port = type(near)(0), 0
    if near.version != far.version:
        near, far = _mapped(near), _mapped(far)
    return Ends((str(near), client_port), (str(far), server_port))


def header_1(both: Ends | None) -> bytes:
    """The line of version 1; None is told as not known. *both* are as `between` has them."""
    if both is None:
        return LOCAL[1]
    (client, client_port), (server, server_port) = both
    family = 6 if ":" in client else 4
    return f"PROXY TCP{family} {client} {server} {client_port} {server_port}\r\n".encode("ascii")


def header_2(both: Ends | None, authority: str = "", tls: Tls | None = None) -> bytes:
    """The header of version 2; None is told as LOCAL: HAProxy closes what is not, and has no address.

    Args:
        both: as `between` has them.

        authority: the name that the client has asked for in TLS (SNI); "" for none.

        tls: None is not told.
    """
    if both is None:
        return LOCAL[2]
    (client, client_port), (server, server_port) = both
    said = ip_address(client).packed + ip_address(server).packed + pack("!HH", client_port, server_port)
    if authority:
        said += _told(_AUTHORITY, authority.encode(errors="replace"))
    if tls is not None:
        flags = _OVER_TLS | (_CERTIFIED if tls.certified else 0)
        about = _told(_TLS_VERSION, tls.version.encode()) + _told(_TLS_CIPHER, tls.cipher.encode())
        if tls.name:
            about += _told(_TLS_NAME, tls.name.encode(errors="replace"))
        said += _told(_TLS, pack("!BI", flags, not tls.certified) + about)
    return SIGNATURE + bytes((_PROXY, _TCP6 if ":" in client else _TCP4)) + pack("!H", len(said)) + said


def _told(kind: int, value: bytes) -> bytes:
    """A TLV (section 2.2)."""
    return pack("!BH", kind, len(value)) + value


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """An address, a mapped one as IPv4, and none has a zone; None when *text* is none."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        return parsed.ipv4_mapped or IPv6Address(int(parsed))
    return parsed


def _mapped(address: IPv4Address | IPv6Address) -> IPv6Address:
    return IPv6Address(0xFFFF << 32 | int(address)) if address.version == 4 else IPv6Address(int(address))


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
