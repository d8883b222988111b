"""One probe of one backend, over a connection of its own: HTTP or TCP, everything about it bounded.

HTTP/2 where the backend speaks nothing else.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from app.domain.backend import Backend
from app.domain.errors import ProxyError
from app.domain.grpc import CONTENT_TYPE, HEALTH, question, unwell
from app.domain.health import Expectation, probe_kind
from app.engine.fault import fault, lack
from app.engine.probe_http2 import Http2Answer, NoAnswer, asking
from app.engine.transport.dial import Dial
from settings.pools import BackendTlsSettings
from settings.resilience import HealthSettings

LIMIT = 65_536
"""Bytes of a head that are read, and of a body that are looked at."""


class ProbeFailed(Exception):
    """The backend answered, but not as it should."""


class Probe:
    """Asks *backend* how it is; what it asks is prepared once.

    Over TLS when the backend's URL says https, verified as requests to it are, for TCP probes too.

    Args:
        header: PROXY header that the connection begins with; b"" for none.

    Attributes:
        load: what the last answer said of the backend's load; b"" for nothing.
    """

    __slots__ = (
        "_backend", "_expectation", "_grpc", "_head", "_header", "_http2", "_port", "_timeout", "_tls", "load",
    )  # fmt: skip

    def __init__(self, backend: Backend, health: HealthSettings, tls: BackendTlsSettings, header: bytes = b"") -> None:
        self._backend = backend
        self._port = health.port or 0
        self._tls = tls
        self._header = header
        kind = probe_kind(health)
        only = backend.scheme == "h2c" or (backend.scheme == "https" and "http/1.1" not in tls.alpn)
        self._http2 = only or kind == "grpc"
        self._grpc = kind == "grpc"
        self._timeout = health.timeout
        self._head = b"" if kind == "tcp" else _call(backend, health) if self._grpc else _head(backend, health)
        if self._head and self._http2:
            self._head = asking(self._head, backend.scheme, question(health.service or "") if self._grpc else b"")
        self._expectation = Expectation(health)
        self.load = b""

    async def ask(self) -> str | None:
        """Why the backend failed the probe; "" when it passed, None when we could not ask."""
        self.load = b""
        try:
            async with asyncio.timeout(self._timeout):
                await self._ask()
        except TimeoutError:
            return f"no answer within {self._timeout:g} s"
        except Exception as error:  # whatever a backend comes up with is its failure; the probes go on
            return None if lack(error) else _reason(error)
        return ""

    async def _ask(self) -> None:
        alpn = "h2" if self._http2 else "http/1.1"
        dial = Dial(self._backend, self._tls, alpn=(alpn,), port=self._port)  # looks the name up anew, off the loop
        ear = await dial.connect(_Ear, header=self._header)
        try:
            if self._head:
                ear.transport.write(self._head)
                wants_body = self._expectation.wants_body or self._grpc
                answer: _Answer | Http2Answer
                if self._http2:
                    answer = Http2Answer(wants_body=wants_body, limit=LIMIT)
                else:
                    answer = _Answer(wants_body=wants_body)
                while not answer.done:
                    data = await ear.reader.read(LIMIT)
                    if not data:
                        break
                    answer.feed(data)
                    if answer.reply:
                        ear.transport.write(answer.reply)
                if not answer.status:
                    raise ProbeFailed("connection closed before the end of the response head")
                if isinstance(answer, Http2Answer) and self._grpc and answer.status == 200:
                    failure = unwell(answer.fields, bytes(answer.body))
                else:
                    failure = self._expectation.judge(answer.status, bytes(answer.body))
                if failure:
                    raise ProbeFailed(failure)
                self.load = self._expectation.load(bytes(answer.body))
        finally:
            ear.transport.abort()  # at once: a backend that goes on sending does not matter


class _Ear(asyncio.StreamReaderProtocol):
    """What comes over a connection, to be read."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=LIMIT)
        super().__init__(self.reader)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        super().connection_made(transport)


class _Answer:
    """What is needed of a response. *status* is 0 until its head is complete, interim responses do not count."""

    reply = b""

    def __init__(self, *, wants_body: bool) -> None:
        self.status = 0
        self.body = bytearray()
        self.done = False
        self._wants_body = wants_body
        self._head_bytes = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        if not self.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.done = True
        except httptools.HttpParserError as error:
            if not self.done:  # what follows is not read
                raise ProbeFailed("the response is not HTTP") from error
        if not self.status and self._head_bytes >= LIMIT:
            raise ProbeFailed(f"the response head is over {LIMIT} bytes")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 or status == 101:
            self.status = status
            self.done = not self._wants_body

    def on_body(self, data: bytes) -> None:
        self.body += data[: LIMIT - len(self.body)]
        if len(self.body) >= LIMIT:
            self.done = True

    def on_message_complete(self) -> None:
        if self.status:
            self.done = True


def _head(backend: Backend, health: HealthSettings) -> bytes:
    """The request, close to what a client of the backend would send."""
    fields = {"host": health.host or backend.authority.decode(), "user-agent": "l7lb", "accept": "*/*"}
    fields |= {name.lower(): value for name, value in health.headers.items()}
    fields["connection"] = "close"
    return _lines(f"{health.method} {health.path or '/'}", fields)


def _call(backend: Backend, health: HealthSettings) -> bytes:
    """The head of the call that asks for health as gRPC has it."""
    fields = {"host": health.host or backend.authority.decode(), "user-agent": "l7lb", "te": "trailers"}
    fields |= {name.lower(): value for name, value in health.headers.items()}
    return _lines(f"POST {HEALTH}", {**fields, "content-type": CONTENT_TYPE.decode()})


def _lines(asked: str, fields: dict[str, str]) -> bytes:
    lines = [f"{asked} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _reason(error: Exception) -> str:
    """One line on what went wrong."""
    if known := fault(error):
        return known
    match error:
        case ConnectionResetError():
            return "connection reset"
        case ProbeFailed() | ProxyError() | NoAnswer():
            return str(error)
    return f"{type(error).__name__}: {error}"
