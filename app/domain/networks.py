"""Which addresses a backend may have whose URL somebody said who is not the operator."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = Sequence[IPv4Network | IPv6Network]

NEVER: Networks = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3",  # this host, link-local and metadata, multicast and reserved
            "100.100.100.200/32",  # metadata of a cloud
            "::/128", "fe80::/10", "ff00::/8",
            "fd00:ec2::254/128",  # metadata of a cloud
        ),
    )
)  # fmt: skip
"""Where no backend is, whatever is allowed: what answers there gives away the keys of the machine, or is nobody."""


def permits(networks: Networks, address: str) -> bool:
    """Whether *address* is in one of *networks*, and nowhere in NEVER; an IPv4-mapped one is taken for IPv4."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return False
        parsed = parsed.ipv4_mapped or parsed
    return any(parsed in network for network in networks) and not any(parsed in network for network in NEVER)
