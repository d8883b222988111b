"""Where a backend may be that somebody registered."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from app.domain.networks import NEVER, permits

TEN = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.mark.parametrize("address", ["10.0.0.1", "10.255.255.255", "fd12::1", "::ffff:10.1.2.3"])
def test_what_is_in_a_network_is_permitted(address: str) -> None:
    assert permits(TEN, address)
    assert not permits((), address)


@pytest.mark.parametrize(
    "address",
    [
        "11.0.0.1", "127.0.0.1", "::1", "2001:db8::1", "::ffff:11.0.0.1", "fe80::1%eth0", "fd12::1%1", "name", "",
        "10.1", "0x0a000001",
    ],
)  # fmt: skip
def test_nothing_else_is(address: str) -> None:
    """In no spelling."""
    assert not permits(TEN, address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200",
        "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "168.63.129.16", "192.0.0.192",
        "64:ff9b::169.254.169.254", "64:ff9b::a9fe:1", "2002:a9fe:a9fe::1", "2002:6464:64c8::",
    ],
)  # fmt: skip
def test_some_addresses_never_are(address: str) -> None:
    """Whatever is allowed."""
    assert not permits(EVERYWHERE, address)
    assert not permits(NEVER, address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "127.0.0.1", "::1", "2001:db8::1", "100.100.100.201", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_everywhere_is_everywhere_else(address: str) -> None:
    assert permits(EVERYWHERE, address)
