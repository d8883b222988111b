"""Servers that read requests, by h11 and by zttp: two opinions on where each of them ends."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

import h11
import zttp

BACKEND = b"127.0.0.1:9"
"""Where the backend is: the Host of a request of HTTP/1.0 that has none."""

TRAILER = b"x"
"""A field that may go on as a trailer."""

_REFUSED_TRAILERS = frozenset(
    {
        b"connection", b"content-encoding", b"content-length", b"content-range", b"content-type", b"host", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""By zttp."""

_SPACES = re.compile(rb" +")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL)


class Read(NamedTuple):
    """A request as somebody has read it, in origin form."""

    method: bytes
    target: bytes
    host: bytes
    body: bytes
    trailers: tuple[bytes, ...]
    """Values of that which may go on; of another name nothing may."""


class Reader(Protocol):
    """A server that answers each request at once.

    Attributes:
        requests: what it has read.

        refused: why nothing more is read; None as long as it is.
    """

    requests: list[Read]
    refused: str | None

    def welcome(self) -> bool:
        """Whether a client waits for a Continue; asked once, it does so no more."""

    def feed(self, data: bytes) -> list[Read]:
        """The requests that have come to their end by that."""


class ByH11:
    """Reads by h11.

    Args:
        lenient: read what llhttp reads and h11 refuses, where no backend gets to see it: empty lines before
            a request (RFC 9112 section 2.2), and more than one space between the parts of its line (section 3).

    Attributes:
        taken: all of what it has read, without what it is lenient about.

        agreed: the number of requests before the first one that only zttp refuses, though nobody can see its end in
            another place: with a quotation mark in its target, or with a trailer that is no field for a trailer
            and goes no further (RFC 9110 section 6.5.1). None without one.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self.requests: list[Read] = []
        self.refused: str | None = None
        self.taken = b""
        self.agreed: int | None = None
        self._closed = False
        self._begin(b"")

    def _begin(self, data: bytes) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self._head: h11.Request | None = None
        self._body: list[bytes] = []
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._lenient and self.between:
            line, end, rest = data.lstrip(b"\r\n").partition(b"\r\n")
            data = _SPACES.sub(b" ", line) + end + rest
        if data:
            self.taken += data
            self._h11.receive_data(data)

    def feed(self, data: bytes) -> list[Read]:
        """The requests that have come to their end by that."""
        before = len(self.requests)
        if self.refused is None and not self._closed:
            self._receive(data)
            try:
                while not self._closed and self._next():
                    pass
            except h11.RemoteProtocolError as error:
                self.refused = str(error)
        return self.requests[before:]

    @property
    def between(self) -> bool:
        """Whether another request may come, and nothing of it has."""
        return self._head is None and not self._closed and not self._h11.trailing_data[0]

    def welcome(self) -> bool:
        """Whether a client waits for a Continue; asked once, it does so no more."""
        waits = self._h11.they_are_waiting_for_100_continue
        if waits:
            self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
        return waits

    def _next(self) -> bool:
        event = self._h11.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return False
        if isinstance(event, h11.Request):
            self._head = event
            if b'"' in event.target:
                self._alone()
        elif isinstance(event, h11.Data):
            self._body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            head = self._head
            assert head is not None
            headers = [(bytes(name), bytes(value)) for name, value in head.headers]
            trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            if not _REFUSED_TRAILERS.isdisjoint(name for name, _ in trailers):
                self._alone()
            self.requests.append(_read(head.method, head.target, headers, self._body, trailers))
            if head.method == b"CONNECT":
                self._closed = True
                return False
            rest = self._h11.trailing_data[0]
            self._h11.send(h11.Response(status_code=200, headers=[(b"Content-Length", b"0")]))
            self._h11.send(h11.EndOfMessage())
            self._closed = self._h11.our_state is not h11.DONE
            if not self._closed:
                self.taken = self.taken[: len(self.taken) - len(rest)]
                self._begin(rest)
        return True

    def _alone(self) -> None:
        if self.agreed is None:
            self.agreed = len(self.requests)


class ByZttp:
    """Reads by zttp, which is never lenient."""

    def __init__(self) -> None:
        self.requests: list[Read] = []
        self.refused: str | None = None
        self._closed = False
        self._zttp = zttp.Connection(zttp.SERVER)
        self._head: zttp.Request | None = None
        self._body: list[bytes] = []
        self._waiting = False

    def feed(self, data: bytes) -> list[Read]:
        """The requests that have come to their end by that."""
        before = len(self.requests)
        if self.refused is None and not self._closed:
            try:
                self._zttp.receive_data(data)
                while not self._closed and self._next():
                    pass
            except zttp.RemoteProtocolError as error:
                self.refused = str(error)
        return self.requests[before:]

    def welcome(self) -> bool:
        """Whether a client waits for a Continue; asked once, it does so no more."""
        waits, self._waiting = self._waiting, False
        return waits

    def _next(self) -> bool:
        event = self._zttp.next_event()
        if isinstance(event, zttp.Request):
            self._head = event
            self._body = []
            self._waiting = event.expect_continue
            if event.end_stream:
                self._end([])
        elif isinstance(event, zttp.Data):
            self._body.append(event.data)
        elif isinstance(event, zttp.EndOfMessage):
            self._end(event.trailers)
        else:
            return False
        return True

    def _end(self, trailers: list[tuple[bytes, bytes]]) -> None:
        head = self._head
        assert head is not None
        headers = [(name.lower(), value) for name, value in head.headers]
        trailers = [(name.lower(), value) for name, value in trailers]
        self.requests.append(_read(head.method, head.target, headers, self._body, trailers))
        self._head, self._waiting = None, False
        self._closed = self._zttp.should_close() or head.method == b"CONNECT"
        self._zttp.start_next_cycle()


def _read(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: list[bytes],
    trailers: list[tuple[bytes, bytes]],
) -> Read:  # fmt: skip
    host = next((value for name, value in headers if name == b"host"), BACKEND)
    if absolute := _ABSOLUTE.fullmatch(target):
        host, target = absolute[1], absolute[2]
        if not target:
            target = b"*" if method == b"OPTIONS" else b"/"
        elif target[:1] == b"?":
            target = b"/" + target
    on = tuple(value for name, value in trailers if name == TRAILER)
    return Read(method, target, host, b"".join(body), on)
