"""Two planes in one Starlette app: the control plane under its prefix, the data plane everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from app.engine.asgi import ASGIApp
from app.engine.direct import Direct
from app.engine.door import Door


class Planes(Starlette):
    """The app.

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
    ) -> None:
        super().__init__(routes=routes, lifespan=lifespan)
        self._own = tuple(self.routes)
        self._data = data
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
                await self._data(scope, receive, send)
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
        else:
            self.lifespan_receive = receive
        await super().__call__(scope, receive, send)
