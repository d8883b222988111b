"""A client's connection below HTTP: flow control, deadlines, and the ways to end it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, cast

from app.edge.link import STATE_KEY, Driver, Identity, Link
from app.edge.sweep import NEVER, Sweep

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

    from app.domain.proxy_header import Ends

LINGER: Final = 2.0
"""Seconds in which a client that still sends may read the answer, before a close would reset it away."""
DISCARD: Final = 1 << 20
"""Bytes that are read and dropped for the same end."""

_RESET: Final = struct.pack("ii", 1, 0)


class Connection:
    """What uvicorn's own protocol classes offer to uvicorn, without the parsing.

    Attributes:
        ends: of the connection that a proxy in front of us took, where it says so; else this one's own are meant.

        identity: makes the fields of each request say who the client is; None when clients are not asked for that.

        counted: None when it is not counted in the crowd; else the client that it counts for, "" for none.

        drained: None while the client reads quickly enough; else resolved when it has caught up.

        read_deadline, write_deadline: see `Timed`; what they mean depends on what is being waited for.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.app = config.loaded_app
        self.direct: Driver | None = getattr(self.app, "direct", None)
        self.loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self.tasks: set[Any] = server_state.tasks
        self.app_state = app_state
        self.link: Link = app_state.get(STATE_KEY) or _default(app_state)
        self.settings = self.link.settings
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self.server: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.ends: Ends | None = None
        self.scheme = "http"
        self.identity: Identity | None = None
        self.counted: str | None = None
        self.read_deadline = NEVER
        self.write_deadline = NEVER
        self.drained: asyncio.Future[None] | None = None
        self._unsent = 0
        self._reading_paused = False
        self._lingering = False
        self._discard_left = DISCARD

    # What the event loop calls...

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; drop it when its client has reset it before we could ask who it is."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        transport = self.transport
        connection: Any = self
        self.server_state.connections.add(connection)
        sweep = self.link.sweep
        if sweep is None or sweep.loop is not self.loop:
            sweep = self.link.sweep = Sweep(self.loop)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        if self.link.identify is not None:
            self.identity = self.link.identify(transport.get_extra_info("ssl_object"))
        self.read_deadline = self.loop.time() + self.settings.header_timeout
        if not self._addresses() or not self.link.crowd.admit(self, sweep):
            transport.abort()
        sweep.add(self)

    def _addresses(self) -> bool:
        """Note both ends. False when there should be a client's address, and is none."""
        if self.ends is not None:
            self.client, self.server = self.ends
            return True
        transport = self.transport
        local = transport.get_extra_info("sockname")
        try:
            peer = transport.get_extra_info("peername")
        except OSError:  # so says uvloop
            peer = None
        if isinstance(local, tuple):
            self.server = (str(local[0]), int(local[1]))
            if not isinstance(peer, tuple):
                return False
            self.client = (str(peer[0]), int(peer[1]))
        elif local:
            self.server = (str(local), None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        connection: Any = self
        self.server_state.connections.discard(connection)
        self.link.crowd.leave(self)
        if self.link.sweep is not None:
            self.link.sweep.discard(self)
        self.resume_writing()

    @property
    def unoccupied(self) -> bool:
        """Whether nobody waits for us on it."""
        return False

    @property
    def buffered(self) -> int:
        """Bytes that wait: for the client to read them, or for someone to ask for them."""
        return self.transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        if self.drained is None:
            self.drained = self.loop.create_future()
            self._await_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        drained, self.drained = self.drained, None
        if drained is not None:
            if self.transport.is_closing():  # the rest has to be read too
                self._await_writing()
            else:
                self.write_deadline = NEVER
            if not drained.done():
                drained.set_result(None)

    def expire(self, now: float) -> None:
        """A deadline has passed (`Timed`)."""
        if self.write_deadline <= now:
            self._check_writing()
        if self.read_deadline <= now:
            self.read_deadline = NEVER
            self.read_late()

    def read_late(self) -> None:
        """What was waited for has not come in time."""
        self.close()

    # What the exchanges call...

    def pause_reading(self) -> None:
        """Make the client wait."""
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Let it go on."""
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    def cut(self, *, reset: bool) -> None:
        """End the connection now; *reset* it where an orderly end would look like the end of the response."""
        if reset:
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self.close()

    def close(self) -> None:
        """End the connection when all that was written has been read."""
        self.read_deadline = NEVER
        if not self.transport.is_closing():
            self._await_writing()
            self.transport.close()

    def linger(self) -> None:
        """End the connection when the client has had time to read the answer.

        Closing while it still sends makes the kernel reset the connection, and the answer with it (RFC 9112 9.6).
        """
        self._lingering = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.read_deadline = self.loop.time() + LINGER
        self.resume_reading()

    def discard(self, size: int) -> None:
        """*size* bytes came that nobody wants."""
        self._discard_left -= size
        if self._discard_left < 0:
            if self._lingering:
                self.close()
            else:
                self.pause_reading()

    def _await_writing(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self.write_deadline = self.loop.time() + self.settings.write_timeout

    def _check_writing(self) -> None:
        """Cut a client that has read nothing since the last look."""
        if self.transport.get_write_buffer_size() < self._unsent:
            self._await_writing()
        else:
            self.write_deadline = NEVER
            self.transport.abort()


def _default(app_state: dict[str, Any]) -> Link:
    """The link of a server whose app brought none: default limits, and nobody observes."""
    link = app_state[STATE_KEY] = Link()
    return link
