"""What a bridge holds while nobody says anything, and what it knows while somebody is in the middle of a message."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.frames import Opcode

from app.compose import create_app
from settings.root import Settings
from tests.support.talker import Talker, frame

SCOPE = {
    "type": "websocket", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "scheme": "ws",
    "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": [(b"host", b"lb.test")],
    "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 80), "subprotocols": [],
}  # fmt: skip


class Said(dict[str, Any]):
    """A message that can be seen to go."""


class Server:
    """What is around one WebSocket's app: the client says, and hears."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receive, self.send = self._said.get, self._heard.put

    def say(self, kind: str, **what: Any) -> weakref.ref[Said]:
        """A message of the client's; returns what tells whether it is still held."""
        message = Said(type=f"websocket.{kind}", **what)
        self._said.put_nowait(message)
        return weakref.ref(message)

    async def hear(self, kind: str) -> Any:
        """What it is told next, which is of this kind: the data, if it is any."""
        async with asyncio.timeout(15):
            message = await self._heard.get()
        assert message["type"] == f"websocket.{kind}"
        return message.get("text", message.get("bytes"))


@asynccontextmanager
async def bridged(talker: Talker, count: int) -> AsyncIterator[list[Server]]:
    """As many WebSockets to *talker* through one balancer."""
    pool = {"backends": [{"url": talker.url}], "health": {"kind": "none"}}
    settings = {"routes": "/=main", "pools": {"main": pool}, "log": {"format": "off"}}
    app = create_app(Settings.model_validate(settings))
    upstream = app.router.lifespan_context.keywords["running"].client.upstream  # type: ignore[attr-defined]
    upstream.start()
    servers = [Server() for _ in range(count)]
    try:
        async with asyncio.TaskGroup() as served:
            for server in servers:
                served.create_task(app(dict(SCOPE), server.receive, server.send))
                server.say("connect")
                await server.hear("accept")
            yield servers
            for server in servers:
                server.say("disconnect", code=1000)
    finally:
        await upstream.aclose()


@pytest.mark.parametrize("parts", [1, 2])
async def test_the_last_message_is_not_kept(parts: int) -> None:
    """It may have 16 MiB, which each WebSocket would hold for as long as it is silent."""

    async def answer(ws: ServerConnection) -> None:
        assert await ws.recv() == b"question"
        await ws.send([b"answer"] * parts if parts > 1 else b"answer")
        await ws.wait_closed()

    with Talker(answer) as talker:
        async with bridged(talker, 1) as (server,):
            question = server.say("receive", bytes=b"question")
            heard = await server.hear("send")
            await asyncio.sleep(0)  # who has told us goes on

            assert heard == b"answer" * parts
            assert sys.getrefcount(heard) == 2  # our name for it, and the argument
            assert question() is None


async def test_one_that_is_in_the_middle_of_a_message_is_not_disturbed() -> None:
    """Cut at every byte of a message in two fragments with a ping between, while another WebSocket talks."""
    whole = frame(b"ab", Opcode.TEXT, fin=False) + frame(b"", Opcode.PING) + frame("ü".encode(), Opcode.CONT)

    written: asyncio.Queue[None] = asyncio.Queue()  # of the loop that the talker is in

    async def pause(ws: ServerConnection) -> None:
        async for at in ws:
            if isinstance(at, bytes):
                await written.get()
                await ws.send(at)
            else:
                ws.transport.write(whole[: int(at)])
                written.put_nowait(None)
                await ws.recv()
                ws.transport.write(whole[int(at) :])

    with Talker(pause) as talker:
        async with bridged(talker, 2) as (slow, other):
            for at in range(len(whole)):
                slow.say("receive", text=str(at))
                other.say("receive", bytes=b"x" * at)
                assert await other.hear("send") == b"x" * at
                slow.say("receive", text="go on")
                assert await slow.hear("send") == "abü"
