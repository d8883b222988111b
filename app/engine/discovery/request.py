"""One HTTP request to an API that knows backends, over TCP, TLS or a unix socket; everything about it is bounded."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import httptools

from app.engine.discovery.api import ApiOptions
from app.engine.discovery.source import SourceFailed
from app.engine.transport import trust
from settings.pools import BackendTlsSettings

LONGEST_HEAD = 65_536
"""Bytes of a response head."""
LARGEST = 4 << 20
"""Bytes of a body that is read as a whole, and of one line of one that is not."""


class Reply:
    """What is answered.

    Attributes:
        status: of the response; those of interim responses are not among them.

        fields: by name in lower case; of several the last.
    """

    def __init__(self, reader: asyncio.StreamReader, patience: float) -> None:
        self.status = 0
        self.fields: dict[str, str] = {}
        self._reader = reader
        self._patience = patience
        self._parser = httptools.HttpResponseParser(self)
        self._came = bytearray()
        self._head_bytes = 0
        self._over = False

    async def read(self) -> bytes:
        """All of the body, each piece of which may take as long as the head. Raises as `begin`."""
        more = True
        while more:
            async with asyncio.timeout(self._patience):
                more = await self._more()
            self._bounded()
        return bytes(self._came)

    async def lines(self, patience: float, gather: float = 0.0) -> list[bytes]:
        """The next line of the body and what comes within *gather* seconds of it; empty where the response is over.

        Args:
            patience: seconds that are waited for the first of them.

            gather: what changes together is often told bit by bit.

        Raises:
            SourceFailed: a line is too long, or the connection broke.

            TimeoutError: nothing came in time; what comes later is still there.
        """
        found: list[bytes] = []
        async with asyncio.timeout(patience):
            while not (found := self._whole_lines()) and await self._more():
                pass
        if gather and found:
            with suppress(TimeoutError):
                async with asyncio.timeout(gather):
                    while await self._more():
                        found += self._whole_lines()
                        if sum(map(len, found)) > LARGEST:
                            raise SourceFailed(f"over {LARGEST} bytes")
        return found

    def _whole_lines(self) -> list[bytes]:
        """Those that have come; the last need not have an end when the response has."""
        whole, _, rest = self._came.rpartition(b"\n")
        if self._over:
            whole, rest = self._came, bytearray()
        self._came = rest
        self._bounded()
        return [line for line in bytes(whole).splitlines() if line.strip()]

    async def begin(self) -> None:
        """Read up to the end of the head. Raises SourceFailed, TimeoutError."""
        async with asyncio.timeout(self._patience):
            while not self.status:
                await self._more()

    async def _more(self) -> bool:
        """Take what comes next; False when the response is over."""
        if self._over:
            return False
        data = await self._reader.read(LONGEST_HEAD)
        if not data:
            framed = "content-length" in self.fields or "transfer-encoding" in self.fields
            if not self.status or framed:
                raise SourceFailed("the connection closed before the end of the response")
            self._over = True
            return False
        if not self.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            raise SourceFailed("the response is not HTTP") from None
        if not self.status and self._head_bytes > LONGEST_HEAD:
            raise SourceFailed(f"the response head is over {LONGEST_HEAD} bytes")
        return True

    def _bounded(self) -> None:
        if len(self._came) > LARGEST:
            raise SourceFailed(f"over {LARGEST} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """For the parser."""
        self.fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """For the parser."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
        else:
            self.fields.clear()

    def on_body(self, data: bytes) -> None:
        """For the parser."""
        self._came += data

    def on_message_complete(self) -> None:
        """For the parser."""
        self._over = self.status > 0


@asynccontextmanager
async def asking(
    api: ApiOptions,
    target: str,
    *,
    method: str = "GET",
    fields: Mapping[str, str] | None = None,
    body: bytes = b"",
    patience: float = 0.0,
) -> AsyncIterator[Reply]:
    """Ask *api*, on a connection of its own, which is closed behind it; what comes is the response, after its head.

    Args:
        api: where, and how long to wait.

        target: path and query, behind the path of the URL.

        method: of the request.

        fields: of the request.

        body: of the request.

        patience: seconds that the API takes on purpose before it answers.

    Raises:
        SourceFailed, OSError, TimeoutError: there is no response.
    """
    async with asyncio.timeout(api.timeout):
        reader, writer = await _connect(api)
    try:
        writer.write(_head(api, method, target, fields or {}, body) + body)
        reply = Reply(reader, api.timeout + patience)
        await reply.begin()
        yield reply
    finally:
        writer.transport.abort()


async def _connect(api: ApiOptions) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(api.url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path, limit=LONGEST_HEAD)
    tls: ssl.SSLContext | None = None
    if parts.scheme == "https":
        tls = trust.context(BackendTlsSettings(ca=api.ca, verify=api.verify))
    port = parts.port or (443 if tls else 80)
    return await asyncio.open_connection(
        parts.hostname, port, limit=LONGEST_HEAD, ssl=tls, server_hostname=parts.hostname if tls else None
    )


def _head(api: ApiOptions, method: str, target: str, fields: Mapping[str, str], body: bytes) -> bytes:
    parts = urlsplit(api.url)
    if parts.scheme != "unix":
        target = parts.path.rstrip("/") + target if target else parts.path
        target += f"{'&' if '?' in target else '?'}{parts.query}" if parts.query else ""
    said = {
        "host": "localhost" if parts.scheme == "unix" else parts.netloc,
        "user-agent": "l7lb",
        "accept": "application/json",
        "connection": "close",
        **{name.lower(): value for name, value in fields.items()},
    }
    if body:
        said |= {"content-type": "application/json", "content-length": str(len(body))}
    lines = [f"{method} {target or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
