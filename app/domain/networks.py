"""Which addresses a backend may have whose URL somebody said who is not the operator."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = Sequence[IPv4Network | IPv6Network]

NEVER: Networks = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",  # this host, link-local and metadata, multicast and reserved
            "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",  # metadata of clouds
            "::/128", "fe80::/10", "ff00::/8",
            "fd00:ec2::254/128",  # metadata of a cloud
        ),
    )
)  # fmt: skip
"""Where no backend is, whatever is allowed: what answers there gives away the keys of the machine, or is nobody."""

_NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses that lead to the IPv4 address in their last 32 bits (RFC 6052)."""


def permits(networks: Networks, address: str) -> bool:
    """Whether *address* is in one of *networks*, and nowhere in NEVER.

    An IPv4-mapped one is taken for IPv4. One that leads to an IPv4 address otherwise (NAT64, 6to4) must be allowed as
    IPv6, and the other must not be in NEVER either.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    leads: list[IPv4Address | IPv6Address] = []
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return False
        behind = IPv4Address(parsed.packed[-4:]) if parsed in _NAT64 else parsed.sixtofour
        leads = [behind] if behind is not None else []
        parsed = parsed.ipv4_mapped or parsed
    return any(parsed in network for network in networks) and not any(
        one in network for one in (parsed, *leads) for network in NEVER
    )
