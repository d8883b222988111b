"""Who the client is, through trusted proxies only."""

from ipaddress import ip_network

import pytest

from app.domain.client import TrustedProxies, clean_address, client_of

TRUSTED = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("192.0.2.1", b"1.1.1.1", "192.0.2.1"),
        ("10.0.0.1", b"1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", b"6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"1.1.1.1, evil, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", b'"[2001:db9::1]:8080"', "2001:db9::1"),
        ("2001:db8::1", b"1.1.1.1:443", "1.1.1.1"),
        ("::ffff:10.0.0.1", b"1.1.1.1", "1.1.1.1"),
        ("unix", b"1.1.1.1", "unix"),
    ],
)
def test_the_chain_is_walked_from_the_right(peer: str, chain: bytes, client: str) -> None:
    """The first entry that no trusted proxy owns is the client; what is not an address ends the walk."""
    headers = [(b"x-forwarded-for", chain)] if chain else []

    assert client_of(peer, headers, TRUSTED)[0] == client


def test_several_fields_are_one_chain() -> None:
    """RFC 9110 section 5.3: else the last proxy's word could be hidden in a second field."""
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"1.1.1.1")]

    assert client_of("10.0.0.1", headers, TRUSTED)[0] == "1.1.1.1"


@pytest.mark.parametrize(
    ("peer", "proto", "scheme"),
    [
        ("10.0.0.1", b"HTTPS", "https"),
        ("10.0.0.1", b"https, http", "http"),
        ("10.0.0.1", b"ftp", None),
        ("192.0.2.1", b"https", None),
    ],
)
def test_only_a_trusted_proxy_tells_the_scheme(peer: str, proto: bytes, scheme: str | None) -> None:
    """And only http or https."""
    assert client_of(peer, [(b"x-forwarded-proto", proto)], TRUSTED)[1] == scheme


def test_a_unix_socket_is_trusted_when_everybody_is() -> None:
    """There is no address to look up."""
    assert "unix" in TrustedProxies([ip_network("0.0.0.0/0")])
    assert "unix" not in TRUSTED
    assert "unix" not in TrustedProxies([ip_network("10.0.0.0/8")])
    assert "unix" not in TrustedProxies([ip_network("::/0")])


def test_a_unix_socket_goes_on_being_trusted_whoever_comes() -> None:
    """What was remembered of it went with what was of thousands of addresses, and its word on all clients with it."""
    trusted = TrustedProxies([ip_network("0.0.0.0/0")])
    for number in range(5000):
        assert f"10.0.{number // 256}.{number % 256}" in trusted

    assert client_of("unix", [(b"x-forwarded-for", b"2001:db8::1")], trusted) == ("2001:db8::1", None)


def test_nobody_is_trusted_by_default() -> None:
    """And the middleware is then left out."""
    assert not TrustedProxies([])
    assert TRUSTED


def test_what_is_remembered_is_bounded() -> None:
    """An attacker may come from many addresses."""
    trusted = TrustedProxies([ip_network("10.0.0.0/8")])
    for i in range(10_000):
        assert f"192.0.{i >> 8}.{i & 255}" not in trusted

    assert len(trusted._answers) <= 4096
    assert "10.1.1.1" in trusted
    assert "no address" not in trusted


def test_a_mapped_address_is_the_ipv4_one() -> None:
    """Dual-stack listeners see IPv4 clients so."""
    assert clean_address("::ffff:1.2.3.4") == "1.2.3.4"
