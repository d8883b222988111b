"""Which server names a certificate is for, and until when, read from its DER (RFC 5280 section 4.1).

Python's `ssl` tells them of a peer's certificate only, after a handshake. Only so much is read here as leads to them;
whether it is a good certificate, OpenSSL says.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator
from datetime import datetime

_SEQUENCE, _OCTETS, _OID, _EXTENSIONS, _DNS, _UTC = 0x30, 0x04, 0x06, 0xA3, 0x82, 0x17
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"


def dns_names(der: bytes) -> tuple[str, ...]:
    """The DNS names of the certificate *der*, in lower case, wildcards as `*.example.org`.

    The common name is none (RFC 9525 section 2). Raises ValueError for what is no certificate.
    """
    ((_, certificate),) = _parts(der)
    for tag, extensions in _parts(_first(_SEQUENCE, certificate)):
        if tag == _EXTENSIONS:
            for _, extension in _parts(_first(_SEQUENCE, extensions)):
                if _first(_OID, extension) == _SUBJECT_ALT_NAME:
                    names = _parts(_first(_SEQUENCE, _first(_OCTETS, extension)))
                    return tuple(name.decode("ascii").lower() for kind, name in names if kind == _DNS)
    return ()


def expires(der: bytes) -> float:
    """Wall-clock seconds from when on the certificate *der* is no good any more; section 4.1.2.5.

    Raises ValueError for what is no certificate.
    """
    ((_, certificate),) = _parts(der)
    sequences = [content for tag, content in _parts(_first(_SEQUENCE, certificate)) if tag == _SEQUENCE]
    if len(sequences) < 3:  # how it is signed, by whom, when it is good
        raise ValueError("not a certificate")
    _, (tag, end) = _parts(sequences[2])
    text = end.decode("ascii")
    if tag == _UTC:  # with two digits of the year, from 1950 on
        text = ("20" if text < "5" else "19") + text
    return timegm(datetime.strptime(text, "%Y%m%d%H%M%SZ").timetuple())  # timegm takes it as UTC


def _first(wanted: int, data: bytes) -> bytes:
    for tag, content in _parts(data):
        if tag == wanted:
            return content
    raise ValueError("not a certificate")


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of what stands in *data*, one after the other (X.690 section 8.1)."""
    at = 0
    while at < len(data):
        header = data[at : at + 2]
        if len(header) < 2:
            raise ValueError("not a certificate")
        tag, size = header
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        content = data[at : at + size]
        if len(content) < size:
            raise ValueError("not a certificate")
        at += size
        yield tag, content
