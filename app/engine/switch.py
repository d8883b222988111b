"""From a request to another protocol: what the clients of a group may ask for, and who carries it behind the 101."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, cast

from app.engine.door import Door
from app.engine.tunnel import Tunnel

if TYPE_CHECKING:
    from app.domain.backend import Backend
    from app.engine.asgi import ClientConnection, Switchable
    from app.engine.bridge import Bridge
    from app.engine.outbound import Outbound
    from app.engine.tunnels import Tunnels


class Switch:
    """The upgrades of one group to one pool.

    Args:
        upgrades: protocols that a client may ask for, as backends get them; the case does not matter.

        tunnels: where what comes of it is kept.

        timeout: seconds that it may be idle; 0 is for ever.
    """

    def __init__(self, upgrades: Iterable[str], *, tunnels: Tunnels, timeout: float) -> None:
        self._upgrades = {name.lower().encode(): name.encode() for name in upgrades}
        self._tunnels = tunnels
        self._timeout = timeout or inf

    def ask(self, outbound: Outbound, client: ClientConnection) -> None:
        """Ask for the first protocol of the client's that is allowed; for none where there is none.

        What follows the request is of that protocol then, or nothing: it never becomes another request.
        """
        for name in client.upgrade:
            if name in self._upgrades:
                outbound.upgrade = self._upgrades[name]
                outbound.lines += b"connection: upgrade\r\nupgrade: %b\r\n" % outbound.upgrade
                cast("Switchable", client).keep_alive = False
                return

    def begin(self, outbound: Outbound, client: ClientConnection, backend: Backend) -> Tunnel | Bridge:
        """What carries to and from *backend* what they have switched to by its `run`, which `end` has to follow."""
        if isinstance(client, Door):
            from app.engine.bridge import Bridge  # noqa: PLC0415  # under another server only: it takes 75 ms to load

            kept: Tunnel | Bridge = Bridge(outbound.exchange, backend, self._timeout)
        else:
            websocket = outbound.upgrade.lower() == b"websocket"
            kept = Tunnel(outbound.exchange, backend, self._timeout, websocket=websocket)
        self._tunnels.keep(kept)
        outbound.let_go()
        return kept

    def end(self, kept: Tunnel | Bridge) -> None:
        """It has ended."""
        self._tunnels.ended(kept)
