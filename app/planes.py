"""Two planes in one Starlette app: the control plane under its prefix, the data plane everywhere else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from app.domain.errors import ProxyError
from app.edge.link import STATE_KEY
from app.engine.asgi import ASGIApp
from app.engine.direct import Direct
from app.engine.door import Door
from app.engine.front import Front
from settings.edge import EdgeSettings
from settings.problems import SettingsError


class Planes(Starlette):
    """The app.

    Args:
        refusing: makes an app that answers with this error, and writes that down.

        limits: of the client's side, as they are now.

    Attributes:
        direct: carries ordinary requests of the data plane without ASGI; None where all take the general path.

    The data plane stands in front of Starlette's own error and exception layers, which cost 7 to 10 microseconds a
    request and which it does not need. `app.routes` shows both planes; only the control plane is dispatched by it.
    """

    def __init__(
        self,
        *,
        data: ASGIApp,
        prefix: str,
        routes: Sequence[BaseRoute],
        lifespan: Callable[..., Any],
        direct: Direct | None = None,
        refusing: Callable[[ProxyError], ASGIApp],
        limits: Callable[[], EdgeSettings],
    ) -> None:
        super().__init__(routes=routes, lifespan=lifespan)
        self._own = tuple(self.routes)
        self._data = data
        self._refusing = refusing
        self._limits = limits
        self.direct = direct
        self._below = prefix + "/"
        self.lifespan_receive: Receive | None = None

    def show(self, groups: Iterable[BaseRoute]) -> None:
        """Have these stand in `app.routes`, behind the control plane."""
        self.router.routes[:] = [*self._own, *groups]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] == "http":
            if not scope["path"].startswith(self._below):
                if "extensions" in scope and scope["extensions"] and STATE_KEY in scope["extensions"]:
                    await self._data(scope, receive, send)
                else:
                    await self._hand_over(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            door = Door(scope, receive, send)
            if not await door.opened():
                return
            if not scope["path"].startswith(self._below):
                await self._data(door.scope, door.receive, door.send)
            else:
                await send({"type": "websocket.close"})
            return
        elif scope["type"] == "lifespan":
            self.lifespan_receive = receive
            await self._live(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop. Settings that cannot be used under this server end the start with their words alone."""
        words = ""

        async def say(message: Message) -> None:
            nonlocal words
            if message["type"] == "lifespan.startup.failed" and isinstance(error := sys.exc_info()[1], SettingsError):
                words = str(error)
                message = {**message, "message": words}
            await send(message)

        try:
            await super().__call__(scope, receive, say)
        except Exception:
            if not words:
                raise
            if not isinstance(sys.exc_info()[1], SettingsError):  # hypercorn raises when it is told, and shows where
                task = asyncio.current_task()
                assert task is not None
                task.add_done_callback(lambda done: done.exception())  # else asyncio shows it once more
                raise SystemExit(words) from None

    async def _hand_over(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of another server than ours."""
        front = Front(scope, receive, send, self._limits())
        if await front.opened():
            await front.run(self._data if front.fault is None else self._refusing(front.fault))
