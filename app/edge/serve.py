"""`l7lb serve`: one uvicorn server with as many listeners as wanted, for what uvicorn's flags cannot say."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from app.edge.accept import Acceptor
from app.edge.listeners import Listener
from app.edge.protocol import EdgeProtocol
from app.edge.roles import Below, Redirect

log = logging.getLogger("uvicorn.error")  # beside uvicorn's own words about starting and stopping


class Server(uvicorn.Server):
    """A uvicorn server with several listeners.

    Args:
        listeners: with their sockets, bound; None for a Unix socket.

        prefix: of the control plane.

        handshake_timeout: seconds that a client may take for the TLS handshake.

        challenges: what an authority asks for over plain HTTP is for the app, and not redirected.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listeners: Sequence[tuple[Listener, socket.socket | None]],
        *,
        prefix: str,
        handshake_timeout: float,
        challenges: bool = False,
    ) -> None:
        super().__init__(config)
        self._listeners = listeners
        self._prefix = prefix
        self._handshake_timeout = handshake_timeout
        self._challenges = challenges

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, then listen."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        self.servers: list[asyncio.base_events.Server] = []
        for listener, sock in self._listeners:
            try:
                self.servers.append(await self._listen(listener, sock))
            except OSError as error:
                log.error("cannot listen on %s: %s", listener, error)
                await self.lifespan.shutdown()
                sys.exit(STARTUP_FAILURE)
            log.info("l7lb running on %s (%s)", _named(listener, sock), listener.role)
        self.started = True

    async def _listen(self, listener: Listener, sock: socket.socket | None) -> asyncio.base_events.Server:
        config = copy.copy(self.config)
        config.loaded_app = self._app(listener)
        protocol_class: Any = config.http_protocol_class
        protocol = partial(protocol_class, config, self.server_state, self.lifespan.state)
        loop = asyncio.get_running_loop()
        if sock is None:
            server = await loop.create_unix_server(protocol, listener.path, backlog=config.backlog)
            os.chmod(listener.path, 0o666)  # noqa: PTH101, S103  # as uvicorn's --uds does
            return server
        if listener.proxies:
            return cast(
                asyncio.base_events.Server,
                Acceptor(
                    sock,
                    protocol,
                    trusted=listener.proxies,
                    backlog=config.backlog,
                    timeout=self._handshake_timeout,
                    tls=config.ssl if listener.scheme == "https" else None,
                ),
            )
        tls: dict[str, Any] = {}
        if listener.scheme == "https":
            tls = {"ssl": config.ssl, "ssl_handshake_timeout": self._handshake_timeout}
        return await loop.create_server(protocol, sock=sock, backlog=config.backlog, **tls)

    def _app(self, listener: Listener) -> Any:
        app = self.config.loaded_app
        if listener.role == "admin":
            return Below(app, self._prefix, inside=True)
        if listener.role == "redirect":
            secure = next(sock for other, sock in self._listeners if sock and other.scheme == "https")
            return Redirect(_port(secure), app if self._challenges else None)
        if any(other.role == "admin" for other, _ in self._listeners):
            return Below(app, self._prefix, inside=False)
        return app


def serve(
    app: Any,
    listeners: Sequence[Listener],
    *,
    cert: Path | None,
    key: Path | None,
    prefix: str,
    handshake_timeout: float,
    challenges: bool = False,
) -> int:
    """Serve *app* until a signal ends it. Returns the exit status.

    Raises ValueError when the listeners cannot be served together, or the certificate cannot be used; OSError when an
    address cannot be had.
    """
    secure = any(listener.scheme == "https" for listener in listeners)
    if secure and cert is None:
        raise ValueError(
            "https:// needs --cert (and --key, if that is another file), LB_TLS__CERTIFICATES or LB_TLS__ACME__DOMAINS"
        )
    if any(listener.role == "redirect" for listener in listeners) and not secure:
        raise ValueError("redirect=https needs an https:// listener to redirect to")
    opened: list[tuple[Listener, socket.socket | None]] = []
    try:
        opened.extend((listener, _open(listener)) for listener in listeners)
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", EdgeProtocol),
            ws="none",
            lifespan="on",
            access_log=False,
            ssl_certfile=cert if secure else None,
            ssl_keyfile=key if secure else None,
        )
        try:
            config.load()
        except OSError as error:  # SSLError is one too
            raise ValueError(f"the certificate cannot be used: {cert}: {error}") from error
        server = Server(config, opened, prefix=prefix, handshake_timeout=handshake_timeout, challenges=challenges)
        server.run()
    finally:
        for listener, sock in opened:
            if sock is not None:
                sock.close()
            elif Path(listener.path).is_socket():
                Path(listener.path).unlink()
    return 0


def _open(listener: Listener) -> socket.socket | None:
    try:
        return listener.open()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(listener)) from error


def _port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def _named(listener: Listener, sock: socket.socket | None) -> str:
    """The address with the port that was really taken."""
    return str(listener if sock is None else Listener(listener.scheme, listener.host, _port(sock)))
