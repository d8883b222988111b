"""One HTTP/1.1 connection to a backend: one exchange at a time, parsed as the bytes come.

    idle --start()--> waiting --head--> body --end--> idle (given back) | closed
                             --101--> switched --hand_over()--> somebody else's       (after ask_switch() only)
      any byte while idle, a parse error, a deadline, fail(): closed

It is long because the callbacks of asyncio and of the parser are one state machine, which has to be read in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Final, cast

import httptools

from app.domain.errors import (
    ProxyError,
    ResponseHeadTooLarge,
    ResponseInvalid,
)
from app.domain.headers import Field, Fields, listed, response_head
from app.engine.transport.carrier import MAX_INTERIM, Carrier

if TYPE_CHECKING:
    from app.engine.transport.connections import Connections

HIGH_WATER: Final = 128 * 1024
"""Response bytes that may wait for the client before the backend is paused; one read can bring 256 KiB."""

_NOBODYS: Final = httptools.HttpResponseParser(object())


class Connection(Carrier):
    """A connection, owned by the `Connections` of its backend: an `asyncio.Protocol` by its methods.

    It does not inherit from it, which has nothing to give and would keep the class from being compiled.

    Args:
        header: the PROXY header that it began with; b"" for none.

    Attributes:
        header: the same.

        upgrade: the protocol that was asked for; b"" for none.

        switched: the response is the 101 that answers it; nothing more is read until `hand_over`.
    """

    __slots__ = (
        "_chunked", "_drained", "_eof_ends", "_fed", "_head_only", "_headers", "_owner", "_parser", "_paused",
        "_writable", "header", "switched", "transport", "upgrade",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, owner: Connections, loop: asyncio.AbstractEventLoop, header: bytes = b"") -> None:
        super().__init__(loop)
        self.header = header
        self._owner = owner
        self._parser = httptools.HttpResponseParser(self)
        self._drained: asyncio.Future[None] | None = None
        self._writable = True
        self._paused = False
        self._chunked = False
        self._head_only = False
        self._headers: Fields = []
        self.upgrade = b""
        self.switched = False

    # One exchange...

    def ask_switch(self, upgrade: bytes) -> None:
        """The request that follows asks for another protocol; whatever comes of it, it is the last one here."""
        self.upgrade = upgrade
        self.reusable = False

    def start(
        self,
        head: bytes,
        head_only: bool,
        deadline: float,
        until: float,
        body: bytes = b"",
        end: Sequence[Field] | None = (),
        chunked: bool = False,
    ) -> None:
        """See `Carrier.start`."""
        self._headers = []
        self.trailers = ()
        self._trailed = 0
        self._chunks = []
        self._size = 0
        self._fed = 0
        self._interim = 0
        self._received = False
        self._head_only = head_only
        self.head_done = False
        self.done = False
        self.uploading = end is None
        self._chunked = chunked
        self._until = self._quiet = until
        self.deadline = min(until, deadline)
        self.transport.write(head + (_chunk(body, end) if chunked else body))

    def hand_over(self, heir: asyncio.BaseProtocol) -> tuple[bytes, bool]:
        """Give the transport away to *heir*, which has to pass `connection_lost` on.

        Returns what has come of the other protocol already, and whether the backend takes more now.
        """
        self.transport.set_protocol(heir)
        self._parser = _NOBODYS  # an upgraded connection may stay for long: what it began with need not
        self._headers = []
        self.fields = []
        self._need()
        return self.take(), self._writable

    async def write(self, piece: bytes, end: Sequence[Field] | None, now: float) -> None:
        """See `Carrier.write`."""
        if self.error is not None or self.done:
            return
        self.transport.write(_chunk(piece, end) if self._chunked else piece)
        if not self._writable:
            self._drained = self.loop.create_future()
            await self._drain(self._drained, now)

    @property
    def buffered(self) -> int:
        """See `Swept`."""
        return self.waiting + self.transport.get_write_buffer_size()

    def cut(self) -> None:
        """Close the connection at once."""
        self.reusable = False
        self.transport.abort()

    def close(self) -> None:
        """Close without an exchange."""
        self.reusable = False
        self.deadline = inf
        if not self.transport.is_closing():  # closed twice, that of TLS cannot be aborted any more (Python 3.11.2)
            self.transport.close()

    def _need(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    # asyncio.Protocol...

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and with TLS shaken hands."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse, wake whoever waits for the head or a piece, and pause when too much waits for the client."""
        if self.done:
            if self.switched:
                self._chunks.append(data)
            else:  # nobody asked: the next client must never see this
                self.close()
            return
        self._received = True
        if not self.head_done:
            self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as fault:
            if self.switched and isinstance(fault, httptools.HttpParserUpgrade):
                self._hold(data[fault.args[0] :])
                return
            cause = fault.__context__ if isinstance(fault, httptools.HttpParserCallbackError) else None
            self._spoil(cause if isinstance(cause, ProxyError) else ResponseInvalid(f"not a response: {fault}"))
            return
        if self.head_done:
            if self._waiter is not None or self.listener is not None:
                self._wake()
            if self._size > HIGH_WATER and not self._paused and not self.done:
                self._paused = True
                self.transport.pause_reading()
        elif self._fed > self._owner.max_header_bytes:
            self._spoil(ResponseHeadTooLarge("the response head is too large"))
        elif self.hints:
            self._wake()

    def _hold(self, data: bytes) -> None:
        """It speaks another protocol from here on: for whoever understands that."""
        if data:
            self._chunks.append(data)
        if not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def _spoil(self, error: ProxyError) -> None:
        """What came cannot be trusted: the response fails; if it was whole already, only the connection goes."""
        if self.done:
            self.close()
            self._wake()
        else:
            self.fail(error)

    def eof_received(self) -> bool:
        """The end of a response that nothing else delimits."""
        if not self.done and self.head_done and self._eof_ends:
            self.done = True
            self.reusable = False
            self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits how far it got."""
        self.reusable = False
        if not self.done and self.error is None:
            self.error = self._lost()
            self.error.begun = self._received
        self._owner.forget(self)
        self._parser = _NOBODYS  # ours holds our methods: a cycle, which would wait for the collector
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """The backend reads slower than the client sends."""
        self._writable = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable = True
        drained = self._drained
        if drained is not None:
            self._drained = None
            if not drained.done():
                drained.set_result(None)

    # httptools callbacks...

    def on_message_begin(self) -> None:
        """A second response in the bytes of the first is nobody's."""
        if self.done:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or a trailer."""
        if not self.head_done:
            self._headers.append((name.lower(), value))
        elif not self.done:
            self._trail(name.lower(), value, self._owner.max_headers, self._owner.max_header_bytes)

    def on_headers_complete(self) -> None:
        """Judge the head. Raises ResponseInvalid, which the parser carries to `data_received`."""
        if self.done:
            return
        status = self._parser.get_status_code()
        headers = self._headers
        if status < 200:
            self._interim += 1
            if status < 100:
                raise ResponseInvalid("a status below 100")
            if status == 101:
                self._switch(headers)
            elif self._interim > MAX_INTERIM:
                raise ResponseInvalid("too many interim responses")
            elif status != 100:
                fields = response_head(headers)[0]
                self.hints.append((status, [field for field in fields if field[0] != b"content-length"]))
            else:
                self._continue()
            self._headers = []
            return
        owner = self._owner
        if len(headers) > owner.max_headers or (
            self._fed > owner.max_header_bytes and sum(len(n) + len(v) + 4 for n, v in headers) > owner.max_header_bytes
        ):
            raise ResponseHeadTooLarge("the response head is too large")
        self.status = status
        self.fields, framed, self.sized, self.dated = response_head(headers)
        self._eof_ends = not framed
        self.head_done = True
        self.deadline = self._until
        if self._head_only:
            self.done = True
            closing = any(b"close" in value.lower() for name, value in headers if name == b"connection")
            self.reusable = self.reusable and not closing and self._parser.get_http_version() == "1.1"
            self._parser = httptools.HttpResponseParser(self)  # the old one waits for a body that never comes

    def _switch(self, headers: Fields) -> None:
        """Take a 101 for the response, when it is what was asked for. Raises ResponseInvalid."""
        if not self.upgrade or not self._parser.should_upgrade():
            raise ResponseInvalid("an unasked 101")
        if listed(b"upgrade", headers).strip().lower() != self.upgrade.lower():
            raise ResponseInvalid("a 101 to another protocol than was asked for")
        if len(headers) > self._owner.max_headers:
            raise ResponseHeadTooLarge("the response head is too large")
        fields, _, _, self.dated = response_head(headers)
        self.fields = [field for field in fields if field[0] != b"content-length"]
        self.status = 101
        self.sized = False
        self.deadline = inf  # it has its own, which whoever takes it over keeps
        self.head_done = self.done = self.switched = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body; bytes that follow a response without one make the connection unfit."""
        if self.done:
            self.reusable = False
            return
        self._chunks.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        """The response is whole. Before the request is, the connection cannot serve again."""
        if self.done or not self.head_done:
            return
        self.done = True
        if self.uploading or not self._parser.should_keep_alive():
            self.reusable = False


def _chunk(piece: bytes, end: Sequence[Field] | None) -> bytes:
    """*piece* as a chunk, and behind it the end of the body, where there is one (RFC 9112 section 7.1)."""
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    if end is not None:
        chunk += b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in end])
    return chunk
