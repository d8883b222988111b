"""A name server on the loopback, by UDP and TCP on one port, that answers as it is told; it writes its own messages."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import NamedTuple, cast

KINDS = {"A": 1, "CNAME": 5, "SOA": 6, "AAAA": 28, "SRV": 33}
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5


class Row(NamedTuple):
    """One record, as a zone file has it: `Row("web.test", "A", 30, "10.0.0.1")`, `"1 5 8000 a.test"` for SRV."""

    name: str
    kind: str
    ttl: int
    value: str


class Query(NamedTuple):
    """What came in."""

    name: str
    kind: str
    tcp: bool
    extended: bool


class Reply(NamedTuple):
    """What goes out: a code, records, those that are additional; *wire* changes the message's bytes."""

    code: int = NOERROR
    rows: tuple[Row, ...] = ()
    additional: tuple[Row, ...] = ()
    wire: Callable[[bytes], bytes] = bytes


class Nameserver:
    """Answers from *zone*, by name and kind; what is not in there is NXDOMAIN. None: no answer at all.

    A UDP answer over 512 bytes, or what the query says, is sent without records, as truncated.
    """

    def __init__(self) -> None:
        self.zone: dict[tuple[str, str], Reply | None] = {}
        self.queries: list[Query] = []
        self.plain = False
        self.port = 0

    def say(self, *rows: Row, additional: tuple[Row, ...] = ()) -> None:
        """Have these records, and no other of the name and kind of the first."""
        self.zone[rows[0].name, rows[0].kind] = Reply(rows=rows, additional=additional)

    def addresses(self, name: str, *addresses: str, ttl: int = 30) -> None:
        """Have *name* at these IPv4 addresses; without any: the name, but no record."""
        self.zone[name, "A"] = Reply(rows=tuple(Row(name, "A", ttl, address) for address in addresses))

    def answer(self, message: bytes, *, tcp: bool) -> bytes | None:
        number, _, _, _, _, extra = struct.unpack_from("!6H", message)
        at, labels = 12, []
        while message[at]:
            labels.append(message[at + 1 : at + 1 + message[at]].decode())
            at += 1 + message[at]
        name, (number_of_kind, _) = ".".join(labels).lower(), struct.unpack_from("!HH", message, at + 1)
        kind = next((word for word, n in KINDS.items() if n == number_of_kind), str(number_of_kind))
        self.queries.append(Query(name, kind, tcp, bool(extra)))
        asked = message[12 : at + 5]
        if self.plain and extra:
            return struct.pack("!6H", number, 0x8180 | FORMERR, 1, 0, 0, 0) + asked
        reply = self.zone.get((name, kind), Reply(NXDOMAIN))
        if reply is None:
            return None
        body = b"".join(encoded(row) for row in (*reply.rows, *reply.additional))
        counts = len(reply.rows), 0, len(reply.additional)
        room = struct.unpack_from("!BHH", message, at + 5)[2] if extra else 512
        if not tcp and 12 + len(asked) + len(body) > room:
            return struct.pack("!6H", number, 0x8180 | 0x0200, 1, 0, 0, 0) + asked
        return reply.wire(struct.pack("!6H", number, 0x8180 | reply.code, 1, *counts) + asked + body)


def named(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def encoded(row: Row) -> bytes:
    match row.kind:
        case "A" | "AAAA":
            data = ip_address(row.value).packed
        case "SRV":
            priority, weight, port, target = row.value.split()
            data = struct.pack("!3H", int(priority), int(weight), int(port)) + named(target)
        case _:
            data = named(row.value)
    return named(row.name) + struct.pack("!HHIH", KINDS[row.kind], 1, row.ttl, len(data)) + data


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if (answer := self._server.answer(data, tcp=False)) is not None:
            self._transport.sendto(answer, address)


@asynccontextmanager
async def nameserver() -> AsyncIterator[Nameserver]:
    """One that runs on the test's loop."""
    server = Nameserver()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = server.answer(await reader.readexactly(length), tcp=True)
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = tcp.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    udp, _ = await loop.create_datagram_endpoint(
        lambda: _Udp(server), local_addr=("127.0.0.1", server.port), family=socket.AF_INET
    )
    try:
        yield server
    finally:
        udp.abort()
        tcp.close()
        await asyncio.sleep(0)
