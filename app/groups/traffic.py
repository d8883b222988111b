"""Groups with more than one pool: split over several by key, or one after the other while they have no backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.domain.errors import NoBackend
from app.engine.asgi import connection_of
from app.engine.mirror import length_of

if TYPE_CHECKING:
    from app.domain.affinity import Affinity
    from app.domain.exchange import Exchange
    from app.domain.split import Sides
    from app.engine.asgi import ASGIApp, Receive, Scope, Send


class Split:
    """Hands each request to the pool of its key.

    Args:
        sides: chooses.

        key: of a request.

        apps: by pool; one for every side.
    """

    def __init__(self, sides: Sides, key: Affinity, apps: Mapping[str, ASGIApp]) -> None:
        self._sides = sides
        self._key = key
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead one request."""
        key = self._key(scope["lb.exchange"], scope["headers"], connection_of(scope, receive).target)
        await self._apps[self._sides.side(key)](scope, receive, send)


class Fallback:
    """Tries one pool after the other until one has a backend. `exchange.pool` says which it was.

    Args:
        apps: in this order; each raises NoBackend when its pool has none, or none with room.

        answer: what answers when all of them do; None to raise that error.
    """

    def __init__(self, apps: Sequence[ASGIApp], answer: ASGIApp | None) -> None:
        self._apps = apps
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead one request.

        Raises:
            NoBackend: of the last pool that was asked.
        """
        exchange: Exchange = scope["lb.exchange"]
        for app in self._apps:
            try:
                await app(scope, receive, send)
            except NoBackend as error:
                exchange.error = error  # kept there and in no local: its traceback holds this frame
                if exchange.first_byte:
                    raise
                if exchange.bytes_in or (exchange.attempts and length_of(scope["headers"])):
                    break  # what was read of the body is gone, and no other pool could be given the whole of it
            else:
                exchange.error = None
                return
        assert exchange.error is not None
        if self._answer is None:
            raise exchange.error
        await self._answer(scope, receive, send)  # the error stays on the record: it is why
