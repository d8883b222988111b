"""The HTTP/2 connections to one backend, and the places for exchanges on them; those of HTTP/1.1, where it wants that.

A connection is shared until its streams are as many as both sides allow; whoever comes then has another one opened, or
waits for one that is being opened with room for more.
"""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, cast

from app.domain.errors import ConnectFailed, ProxyError, TlsFailed, TotalTimeout
from app.engine.transport.carriers import Carriers
from app.engine.transport.connection import Connection
from app.engine.transport.connections import Connections
from app.engine.transport.dial import Dial
from app.engine.transport.session import Session
from app.engine.transport.stream import Stream

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.engine.transport.carrier import Carrier
    from app.engine.transport.carriers import Swept
    from settings.pools import PoolSettings


class Landing:
    """Becomes what the TLS handshake has agreed on, HTTP/2 without one: an `asyncio.Protocol` for a moment."""

    made: Session | Connection

    def __init__(self, owner: Sessions, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand on to whom it is for."""
        tls = transport.get_extra_info("ssl_object")
        if tls is None or tls.selected_alpn_protocol() == "h2":
            self.made = Session(self._owner, self._loop)
            self._owner.live(self.made)
        else:
            self.made = Connection(self._owner.plain, self._loop)
        cast(asyncio.Transport, transport).set_protocol(cast(asyncio.BaseProtocol, self.made))
        self.made.connection_made(transport)

    async def ready(self) -> None:
        """Wait until it can be asked something. Raises ConnectFailed."""
        if isinstance(self.made, Session):
            await self.made.ready()
        elif not self._owner.plain_too:
            self.made.transport.abort()
            raise TlsFailed("the backend does not speak HTTP/2: it has agreed to no h2")


class Sessions(Carriers):
    """The HTTP/2 connections to one backend. See `Carriers`; a PROXY header, which is of one client, none begins with.

    Attributes:
        window, connection_window, max_streams, ping, ping_timeout: see `Http2Settings`.

        plain: the HTTP/1.1 connections.

        plain_too: the backend may choose those.
    """

    __slots__ = (
        "_dial", "_dials", "_open", "_room", "_waiting", "connection_window", "max_streams", "ping", "ping_timeout",
        "plain", "plain_too", "scheme", "window",
    )  # fmt: skip

    def __init__(self, backend: Backend, pool: PoolSettings, live: set[Swept]) -> None:
        super().__init__(pool, live)
        self.scheme = backend.scheme
        self.window = pool.http2.window
        self.connection_window = max(pool.http2.connection_window, self.window)
        self.max_streams = pool.http2.max_streams
        self.ping = pool.http2.ping
        self.ping_timeout = pool.http2.ping_timeout
        self.plain = Connections(backend, pool, live)
        self.plain_too = backend.scheme == "https" and "http/1.1" in pool.tls.alpn
        self._dial = Dial(backend, pool.tls, alpn=tuple(pool.tls.alpn), timeout=pool.timeouts.connect or None)
        self._open: list[Session] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._room = self.max_streams

    def take(self, header: bytes = b"") -> Carrier | None:
        """A place on a connection; None without one."""
        for session in self._open:
            if (stream := session.take()) is not None:
                return stream
        return self.plain.take() if self.plain_too else None

    def give(self, carrier: Carrier, now: float) -> None:
        """Take one back after its exchange. The rest of a request whose response was whole before is not wanted."""
        if isinstance(carrier, Stream):
            carrier.cut()
        else:
            self.plain.give(carrier, now)

    async def connect(self, until: float = inf, header: bytes = b"") -> Carrier:
        """A place on a connection that is being opened, or on one that is opened for it. See `Carriers.connect`."""
        self._waiting += 1
        try:
            while True:
                if self._waiting > len(self._dials) * self._room:
                    self._dials.add(asyncio.create_task(self._open_one()))
                left = None if until == inf else max(until - monotonic(), 0.0)
                done, _ = await asyncio.wait(self._dials, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    raise TotalTimeout("the exchange took too long", sent=False)
                if (carrier := self.take()) is not None:
                    return carrier
                for dial in done:
                    if isinstance(fault := dial.exception(), ProxyError):
                        raise type(fault)(fault.detail, sent=fault.sent) from fault  # one for each who waits
        finally:
            self._waiting -= 1
            if not self._waiting:
                for dial in self._dials:
                    dial.cancel()
                for session in [session for session in self._open if not session.count]:
                    self.idle(session)

    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""
        self.keep_alive = 0.0
        for session in tuple(self._open):
            session.leave()
        self.plain.close()

    def switchable(self) -> Connections:
        """Those of HTTP/1.1, whatever else the backend speaks."""
        return self.plain

    # What a session says...

    def live(self, one: Swept) -> None:
        """It has a deadline from now on."""
        self._live.add(one)

    def dead(self, one: Swept) -> None:
        """It has none any more."""
        self._live.discard(one)

    def idle(self, session: Session) -> None:
        """No stream is open on *session*."""
        if self.keep_alive:
            session.deadline = monotonic() + self.keep_alive
        else:
            session.close()

    def forget(self, session: Session) -> None:
        """It takes no new streams."""
        if session in self._open:
            self._open.remove(session)

    def remember(self, session: Session) -> None:
        """A response has come over it."""
        self._dial.remember(session.transport)

    async def _open_one(self) -> None:
        """One connection more. Raises ConnectFailed."""
        loop = asyncio.get_running_loop()
        try:
            made = (await self._dial.connect(lambda: Landing(self, loop), ready=Landing.ready)).made
        finally:
            self._dials.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if isinstance(made, Connection):
            self.plain.add(made)
            self._room = 1
        elif made.leaving:
            raise ConnectFailed("the backend ended the connection at once")
        elif made.limit < 1:
            made.close()
            raise ConnectFailed("the backend allows no stream at all")
        else:
            self._open.append(made)
            self._room = made.limit
            if not self._waiting:
                self.idle(made)
