"""Asks name servers: by UDP, by TCP what is too long for it, one server after the other, never blocking the loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, cast

from app.engine.discovery import dns_message as dns
from app.engine.discovery.dns_message import Answer, Record
from app.engine.discovery.source import SourceFailed, reason

CODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}
NO_SUCH_NAME = 3
ROUNDS = 2
"""How often each server is asked."""
LONGEST_CHAIN = 16
"""Names behind each other, CNAME after CNAME."""
MOST_SERVERS = 3
MOST_SEARCHED = 6
"""As glibc has it."""

Server = tuple[str, int]


class Found(NamedTuple):
    """What is known of a name: nothing, where it does not exist or has no such record.

    Attributes:
        records: of the kind that was asked for.

        additional: what the server sent along.

        ttl: seconds for which that holds; 0 where it says nothing of that.
    """

    records: tuple[Record, ...]
    additional: tuple[Record, ...]
    ttl: int


class Lookup(NamedTuple):
    """What resolv.conf says."""

    servers: tuple[Server, ...]
    search: tuple[str, ...] = ()
    dots: int = 1

    def names(self, name: str) -> tuple[str, ...]:
        """What *name* may mean, in the order to be asked; with a dot at its end it means itself."""
        if name.endswith("."):
            return (name,)
        wider = tuple(f"{name}.{domain}" for domain in self.search)
        return (name, *wider) if name.count(".") >= self.dots else (*wider, name)


class Resolver:
    """Looks names up.

    Args:
        lookup: where, and in which domains.

        timeout: seconds for which a server is waited for.
    """

    def __init__(self, lookup: Lookup, timeout: float) -> None:
        self._lookup = lookup
        self._timeout = timeout

    async def find(self, name: str, kind: int) -> Found:
        """The records of *name*, or of the first name that it may mean and that has any.

        Raises:
            SourceFailed: it cannot be known now.
        """
        failure: SourceFailed | None = None
        for full in self._lookup.names(name):
            try:
                found = self._of(await self._ask(full, kind), full, kind)
            except SourceFailed as error:
                failure = error
                continue
            if found.records:
                return found
        if failure is not None:
            raise failure
        return Found((), (), 0)

    async def _ask(self, name: str, kind: int) -> Answer:
        """Ask each server until one knows; that there is no such name is knowledge. Raises SourceFailed."""
        why = "there is no name server"
        for server in self._lookup.servers * ROUNDS:
            try:
                answer = await self._ask_one(server, name, kind)
            except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
                why = f"name server {server[0]}: {error if type(error) is ValueError else reason(error)}"
                continue
            if answer.code in (0, NO_SUCH_NAME):
                return answer
            why = f"name server {server[0]}: {CODES.get(answer.code, answer.code)}"
        raise SourceFailed(f"{name}: {why}")

    async def _ask_one(self, server: Server, name: str, kind: int) -> Answer:
        answer = await self._by_udp(server, name, kind, extended=True)
        if answer.code in (1, 4):  # it does not know of EDNS
            answer = await self._by_udp(server, name, kind, extended=False)
        return await self._by_tcp(server, name, kind) if answer.truncated else answer

    async def _by_udp(self, server: Server, name: str, kind: int, *, extended: bool) -> Answer:
        number = secrets.randbelow(1 << 16)
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: cast(asyncio.DatagramProtocol, _Waiting(loop, number, (name.rstrip(".").lower(), kind))),
            remote_addr=server,  # so that the kernel drops what others send
        )
        try:
            transport.sendto(dns.question(number, name, kind, extended=extended))
            async with asyncio.timeout(self._timeout):
                return await cast(_Waiting, protocol).answered
        finally:
            transport.abort()

    async def _by_tcp(self, server: Server, name: str, kind: int) -> Answer:
        number = secrets.randbelow(1 << 16)
        async with asyncio.timeout(self._timeout):
            reader, writer = await asyncio.open_connection(*server)
            try:
                asked = dns.question(number, name, kind)
                writer.write(len(asked).to_bytes(2, "big") + asked)
                length = int.from_bytes(await reader.readexactly(2), "big")
                answer = dns.answer(await reader.readexactly(length))
            finally:
                writer.transport.abort()
        if (answer.number, answer.question) != (number, (name.rstrip(".").lower(), kind)) or answer.truncated:
            raise ValueError("another answer")
        return answer

    def _of(self, answer: Answer, name: str, kind: int) -> Found:
        """The records of *name* itself, or of what it is another name for; others did not belong in there."""
        names = {name.rstrip(".").lower()}
        used: list[Record] = []
        for _ in range(LONGEST_CHAIN):
            more = [r for r in answer.records if r.kind == dns.CNAME and r.name in names and r.value not in names]
            used += more
            names.update(str(record.value) for record in more)
            if not more:
                break
        records = tuple(record for record in answer.records if record.kind == kind and record.name in names)
        ttl = min((record.ttl for record in (*used, *records)), default=0)
        return Found(records, answer.additional, ttl)


class _Waiting(asyncio.DatagramProtocol):
    """Waits for the answer to one question; what is another is not heard."""

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int, question: tuple[str, int]) -> None:
        self.answered: asyncio.Future[Answer] = loop.create_future()
        self._number = number
        self._question = question

    def datagram_received(self, data: bytes, address: object) -> None:
        try:
            answer = dns.answer(data)
        except ValueError:
            return
        if not self.answered.done() and (answer.number, answer.question) == (self._number, self._question):
            self.answered.set_result(answer)

    def error_received(self, error: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)


def lookup(servers: Sequence[Server], conf: Path = Path("/etc/resolv.conf")) -> Lookup:
    """What *conf* says, with *servers* in the place of its own where there are any. Raises OSError."""
    try:
        lines = [line.split() for line in conf.read_text("latin-1").splitlines()]
    except FileNotFoundError:
        lines = []
    own: list[Server] = []
    search: list[str] = []
    dots = 1
    for word, *rest in (line for line in lines if line):
        if word == "nameserver" and rest and _is_address(rest[0]):
            own.append((rest[0], 53))
        elif word in ("search", "domain"):
            search = [domain.strip(".") for domain in rest if domain.strip(".")]
        elif word == "options":
            dots = next((int(n) for n in _values(rest, "ndots:") if n.isdigit()), dots)
    return Lookup(tuple(servers or own or [("127.0.0.1", 53)])[:MOST_SERVERS], tuple(search[:MOST_SEARCHED]), dots)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _values(words: Iterable[str], name: str) -> list[str]:
    return [word.removeprefix(name) for word in words if word.startswith(name)]
