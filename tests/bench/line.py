"""The whole way of a request in memory: a client's connection, the app with everything on, a kept connection."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from app.compose import create_app
from app.edge.link import STATE_KEY
from app.edge.protocol import EdgeProtocol
from app.engine.transport.connection import Connection
from settings import Settings

REQUEST = (
    b"GET /g050/item/1 HTTP/1.1\r\nHost: bench.example:8080\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 1024\r\nConnection: keep-alive\r\n\r\n" + b"x" * 1024
)


class Wire:
    """A transport that keeps what was written last."""

    def __init__(self, peer: tuple[str, int]) -> None:
        self.extra = {"sockname": ("127.0.0.1", 8080), "peername": peer}
        self.written: bytes = b""

    def get_extra_info(self, name: str) -> Any:
        return self.extra.get(name)

    def write(self, data: bytes) -> None:
        self.written = data

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written = b"".join(parts)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        raise AssertionError("the connection was cut")

    close = pause_reading = resume_reading = abort


def everything(
    groups: int = 100,
    backends: int = 2,
    pool: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
    **settings: Any,
) -> Settings:
    """Routing over *groups*, a rate limit, the latency log, metrics; *pool* is said of the pool, *group* of each."""
    urls = [{"url": f"http://127.0.0.1:{9000 + n}"} for n in range(backends)]
    return Settings.model_validate(
        {
            "groups": {f"g{n:03}": {"path": f"/g{n:03}", "pool": "a"} | (group or {}) for n in range(groups)},
            "pools": {"a": {"backends": urls, "health": {"kind": "none"}} | (pool or {})},
            "rate_limit": {"kind": "token_bucket", "rate": "1000000/s"},
        }
        | settings
    )


def bare() -> Settings:
    """Nothing on: one group that forwards."""
    off = {"x_forwarded": "off", "via": "", "request_id": False, "traceparent": "pass"}
    return everything(1, rate_limit={}, log={"format": "off"}, forwarded=off)


class Line:
    """One client and as many backends as the settings have, each with one kept connection."""

    def __init__(self, settings: Settings, driver: str = "direct", request: bytes = REQUEST) -> None:
        edge = settings.edge.model_copy(update={"driver": driver})
        app = create_app(settings.model_copy(update={"edge": edge}))
        running = app.router.lifespan_context.keywords["running"]  # type: ignore[attr-defined]
        if running.access_log is not None:
            running.access_log._fd = -1
        self.journal = running.journal
        upstream = running.client.upstream
        self.upstream: list[tuple[Connection, Wire]] = []
        for connections in upstream.connections.values():
            wire = Wire(("127.0.0.1", 9000))
            connection = Connection(connections, asyncio.get_running_loop())
            connection.connection_made(wire)  # type: ignore[arg-type]
            connections.give(connection, 0.0)
            self.upstream.append((connection, wire))
        config = Config(app, log_config=None, proxy_headers=False)
        config.load()
        self.client = Wire(("192.0.2.1", 40000))
        state = ServerState()
        self.edge = EdgeProtocol(config, state, {STATE_KEY: running.link}, asyncio.get_running_loop())
        self.edge.connection_made(self.client)  # type: ignore[arg-type]
        self.request = request.replace(b"/g050", b"/g000") if len(settings.groups) == 1 else request

    def ask(self) -> None:
        """One request to its end, where no task is needed."""
        self.edge.data_received(self.request)
        for connection, wire in self.upstream:
            if wire.written:
                wire.written = b""
                connection.data_received(RESPONSE)

    async def ask_by_task(self) -> None:
        """The same on the general path, where a task carries it."""
        self.edge.data_received(self.request)
        while not any(wire.written for _, wire in self.upstream):
            await asyncio.sleep(0)
        for connection, wire in self.upstream:
            if wire.written:
                wire.written = b""
                connection.data_received(RESPONSE)
        self.client.written = b""
        while not self.client.written:
            await asyncio.sleep(0)
