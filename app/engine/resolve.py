"""The addresses of a backend: asked for off the loop, and only those that it may have."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from app.domain.errors import AddressProhibited, NameNotResolved
from app.domain.networks import permits

if TYPE_CHECKING:
    from app.domain.networks import Networks

Address = tuple[socket.AddressFamily, str, int]


async def addresses(host: str, port: int, networks: Networks = ()) -> list[Address]:
    """All addresses of *host*, in the order that the system prefers.

    What is connected to has to be one of them, and not the name, which may have another address a moment later.

    Args:
        host: a name or an address.

        port: of each.

        networks: in which it may have any; none is everywhere.

    Raises:
        NameNotResolved: it has no address, or that cannot be told now.

        AddressProhibited: it has none that it may have.
    """
    found = literal(host, port)
    if not found:
        try:
            answer = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as fault:
            raise NameNotResolved(f"{host}: {fault.strerror or fault}") from fault
        found = [(family, str(where[0]), port) for family, _, _, _, where in answer]
    if networks:
        found = [address for address in found if permits(networks, address[1])]
        if not found:
            raise AddressProhibited(f"{host} is in no network that is allowed")
    return found


def literal(host: str, port: int) -> list[Address]:
    """The address that *host* is; nothing for a name."""
    try:
        version = ip_address(host).version
    except ValueError:
        return []
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, host, port)]
