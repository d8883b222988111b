"""Which server names a certificate is for, and for how long, read from its DER (RFC 5280 sections 4.1.2 and 4.2.1.6).

Python's `ssl` tells them of a peer's certificate only, after a handshake. Only so much is read here as leads to them;
whether it is a good certificate, OpenSSL says.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Iterator
from typing import NamedTuple

_SEQUENCE, _OCTETS, _OID, _VERSION, _EXTENSIONS, _DNS, _UTC_TIME = 0x30, 0x04, 0x06, 0xA0, 0xA3, 0x82, 0x17
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z")
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


class Issued(NamedTuple):
    """From when to when, in wall-clock seconds, a certificate is valid; and whether it has issued itself."""

    begins: float
    ends: float
    by_itself: bool


def issued(der: bytes) -> Issued:
    """What the certificate *der* says of how it was issued. Raises ValueError for what is no certificate."""
    ((_, certificate),) = _parts(der)
    fields = [content for tag, content in _parts(_first(_SEQUENCE, certificate)) if tag != _VERSION]
    if len(fields) < 5:  # serial number, algorithm, issuer, validity, subject
        raise ValueError("not a certificate")
    begins, ends = (_seconds(tag, content) for tag, content in _parts(fields[3]))
    return Issued(begins, ends, fields[2] == fields[4])


def _seconds(tag: int, content: bytes) -> float:
    """Of a UTCTime or a GeneralizedTime; of the former, years from 50 on are of the last century (section 4.1.2.5)."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("not a time")
    return timegm(tuple(map(int, found.groups())))


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
