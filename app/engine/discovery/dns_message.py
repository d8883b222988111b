"""DNS messages, as far as it takes to look up A, AAAA and SRV records.

Source: RFC 1035 section 4, RFC 2782 (SRV), RFC 3596 (AAAA), RFC 6891 (EDNS).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

A, CNAME, AAAA, SRV, OPT = 1, 5, 28, 33, 41
PAYLOAD = 1232
"""Bytes of a UDP answer that we take: what goes through every network in one piece (DNS flag day 2020)."""
_IN = 1
_HEADER = struct.Struct("!6H")
_FIELDS = struct.Struct("!HHIH")
_SRV = struct.Struct("!3H")
_RECURSE, _ANSWER, _TRUNCATED = 0x0100, 0x8000, 0x0200


class Srv(NamedTuple):
    """What an SRV record says."""

    priority: int
    weight: int
    port: int
    target: str


class Record(NamedTuple):
    """One record: of whom, of what kind, for how many seconds; an address, the name of a CNAME, or a service."""

    name: str
    kind: int
    ttl: int
    value: str | Srv


class Answer(NamedTuple):
    """What a name server answers.

    Attributes:
        number: that of the question.

        question: name in lower case without the dot at its end, and kind.

        code: 0 is well, 3 there is no such name.

        truncated: there is more, by TCP.

        records: of the answer, of the kinds that are known here.

        additional: that came along.
    """

    number: int
    question: tuple[str, int]
    code: int
    truncated: bool
    records: tuple[Record, ...]
    additional: tuple[Record, ...]


def question(number: int, name: str, kind: int, *, extended: bool = True) -> bytes:
    """Ask for the records of *kind* of *name*, which is in ASCII; *extended* says how long an answer may be."""
    header = _HEADER.pack(number, _RECURSE, 1, 0, 0, int(extended))
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split("."))
    option = b"\0" + _FIELDS.pack(OPT, PAYLOAD, 0, 0) if extended else b""
    return header + labels + b"\0" + struct.pack("!HH", kind, _IN) + option


def answer(message: bytes) -> Answer:
    """Read an answer. Raises ValueError for what is none."""
    try:
        return _answer(message)
    except (struct.error, IndexError):
        raise ValueError("cut short") from None


def _answer(message: bytes) -> Answer:
    number, flags, questions, *counts = _HEADER.unpack_from(message)
    if not flags & _ANSWER or questions != 1:
        raise ValueError("not an answer to one question")
    asked, at = _name(message, _HEADER.size)
    kind, _ = struct.unpack_from("!HH", message, at)
    at += 4
    sections: list[tuple[Record, ...]] = []
    truncated = bool(flags & _TRUNCATED)
    for count in counts if not truncated else ():
        records, at = _records(message, at, count)
        sections.append(records)
    records, _, additional = sections or ((), (), ())
    return Answer(number, (asked, kind), flags & 15, truncated, records, additional)


def _records(message: bytes, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    found = []
    for _ in range(count):
        name, at = _name(message, at)
        kind, space, ttl, length = _FIELDS.unpack_from(message, at)
        at += _FIELDS.size
        if at + length > len(message):
            raise ValueError("cut short")
        if space == _IN and (value := _value(message, kind, at, length)) is not None:
            found.append(Record(name, kind, ttl if ttl < 2**31 else 0, value))  # RFC 2181 section 8
        at += length
    return tuple(found), at


def _value(message: bytes, kind: int, at: int, length: int) -> str | Srv | None:
    data = message[at : at + length]
    if kind == A and length == 4:
        return str(IPv4Address(data))
    if kind == AAAA and length == 16:
        return str(IPv6Address(data))
    if kind == CNAME:
        return _name(message, at)[0]
    if kind == SRV:
        priority, weight, port = _SRV.unpack_from(data)
        return Srv(priority, weight, port, _name(message, at + _SRV.size)[0])
    return None


def _name(message: bytes, at: int) -> tuple[str, int]:
    """The name at *at* in lower case, and what is behind it; pointers lead backwards, so they come to an end."""
    labels: list[str] = []
    behind = -1
    first = at
    length = 0
    while size := message[at]:
        if size >= 0xC0:
            if behind < 0:
                behind = at + 2
            at = (size & 0x3F) << 8 | message[at + 1]
            if at >= first:
                raise ValueError("a name that does not end")
            first = at
            continue
        label = message[at + 1 : at + 1 + size]
        length += size + 1
        if size > 63 or len(label) < size or length > 254 or b"." in label:
            raise ValueError("not a name")
        labels.append(label.decode("latin-1").lower())
        at += 1 + size
    return ".".join(labels), behind if behind >= 0 else at + 1
