"""A client that sends the bytes it is given and reads responses strictly, by its own little parser."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import NamedTuple, Self

Fields = list[tuple[bytes, bytes]]
Address = tuple[str, int] | str

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n]*?)[ \t]*")


class Malformed(Exception):
    """What came is not HTTP/1.1, or can be read in two ways."""


class Truncated(Exception):
    """The connection ended inside a response; `partial` is what had come of its body."""

    def __init__(self, partial: bytes, status: int = 0) -> None:
        super().__init__(f"cut after {len(partial)} body bytes of a {status or 'missing'} response")
        self.partial = partial
        self.status = status


class Response(NamedTuple):
    """One response; `interim` are the 1xx before it."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes
    trailers: Fields
    interim: tuple[Response, ...] = ()

    def all(self, name: str) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower().encode()]

    def get(self, name: str) -> str | None:
        """The value of a field that may be there once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0].decode("latin-1") if values else None


def request(
    target: str | bytes = "/", *fields: str | bytes, method: str = "GET", host: str | None = "lb.test",
    body: bytes | None = None, version: str = "1.1",
) -> bytes:  # fmt: skip
    """A request as bytes: Host first, then *fields* as they are, Content-Length when there is a body."""
    lines = [f"{method} ".encode() + _bytes(target) + f" HTTP/{version}".encode()]
    if host is not None:
        lines.append(f"Host: {host}".encode())
    lines += [_bytes(field) for field in fields]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body of *pieces*, with its end."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


class Client:
    """One connection; every wait ends after *timeout* seconds. *before* is sent before TLS, piece by piece."""

    def __init__(
        self, address: Address, *, tls: ssl.SSLContext | None = None, name: str = "localhost",
        timeout: float = 15.0, receive_buffer: int = 0, source: str = "", before: Sequence[bytes] = (),
    ) -> None:  # fmt: skip
        raw = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            if receive_buffer:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                raw.bind((source, 0))
            raw.settimeout(timeout)
            raw.connect(address)
            if before:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in before:
                raw.sendall(piece)
            self.socket = tls.wrap_socket(raw, server_hostname=name) if tls else raw
        except BaseException:
            raw.close()
            raise
        self.buffer = b""
        self._status = 0
        self._body: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self.socket.sendall(data)

    def ask(self, data: bytes, *, bodiless: bool = False) -> Response:
        """Send *data*; the next response."""
        self.send(data)
        return self.response(bodiless=bodiless or data.startswith(b"HEAD "))

    def finish(self) -> None:
        """Close the sending side."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away at once, with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def more(self) -> bool:
        """Read once into the buffer; False at the end of the connection, however it ended."""
        try:
            data = self.socket.recv(1 << 18)
        except (ConnectionError, ssl.SSLError):
            return False
        self.buffer += data
        return bool(data)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while self.more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def response(self, *, bodiless: bool = False) -> Response:
        """The next final response with its 1xx; *bodiless* after HEAD. Raises Malformed or Truncated."""
        interim: list[Response] = []
        while True:
            self._status, self._body = 0, []
            self._status, reason, fields = self.head()
            if 100 <= self._status < 200 and self._status != 101:
                interim.append(Response(self._status, reason, fields, b"", []))
                continue
            trailers = [] if bodiless or self._status in (101, 204, 304) else self._read_body(fields)
            return Response(self._status, reason, fields, b"".join(self._body), trailers, tuple(interim))

    def head(self) -> tuple[int, bytes, Fields]:
        """Status, reason and fields of the next head."""
        while b"\r\n\r\n" not in self.buffer:
            self._need()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        found = _STATUS_LINE.fullmatch(first)
        if not found:
            raise Malformed(first)
        return int(found[1]), found[2], _fields(lines)

    def _read_body(self, fields: Fields) -> Fields:
        codings = [value for name, value in fields if name.lower() == b"transfer-encoding"]
        lengths = [value for name, value in fields if name.lower() == b"content-length"]
        if codings and (codings != [b"chunked"] or lengths):
            raise Malformed(fields)
        if codings:
            return self._read_chunks()
        if not lengths:
            self._body.append(self.rest())
        elif len(lengths) > 1 or not re.fullmatch(rb"\d+", lengths[0]):
            raise Malformed(lengths)
        else:
            self._take(int(lengths[0]), self._body)
        return []

    def _read_chunks(self) -> Fields:
        while size := self._size():
            self._take(size, self._body)
            if self._line():
                raise Malformed(b"a chunk longer than it says")
        trailers: list[bytes] = []
        while line := self._line():
            trailers.append(line)
        return _fields(trailers)

    def _size(self) -> int:
        line = self._line()
        if not re.fullmatch(rb"[0-9A-Fa-f]+", line):
            raise Malformed(line)
        return int(line, 16)

    def _line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self._need()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def _take(self, count: int, into: list[bytes]) -> None:
        while count:
            if not self.buffer:
                self._need()
            into.append(self.buffer[:count])
            count, self.buffer = count - len(into[-1]), self.buffer[count:]

    def _need(self) -> None:
        if not self.more():
            raise Truncated(b"".join(self._body), self._status)


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _fields(lines: list[bytes]) -> Fields:
    fields: Fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise Malformed(line)
        fields.append((found[1], found[2]))
    return fields
