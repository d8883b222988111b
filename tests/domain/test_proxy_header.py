"""The PROXY protocol: where a header ends, and what it says."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.proxy_header import (
    LOCAL,
    LONGEST_1,
    LONGEST_2,
    SIGNATURE,
    Ends,
    Malformed,
    Tls,
    between,
    ends,
    header_1,
    header_2,
    length,
)

FOUR = Ends(("192.0.2.1", 40000), ("198.51.100.7", 443))
SIX = Ends(("2001:db8::1", 1), ("::1", 65535))


def second(command: int = 0x21, family: int = 0x11, said: bytes = b"") -> bytes:
    return SIGNATURE + bytes((command, family)) + pack("!H", len(said)) + said


def tcp4(both: Ends = FOUR, more: bytes = b"") -> bytes:
    (client, port), (server, server_port) = both
    packed = socket.inet_aton(client) + socket.inet_aton(server) + pack("!HH", port, server_port)
    return second(0x21, 0x11, packed + more)


def tcp6(both: Ends = SIX, more: bytes = b"") -> bytes:
    (client, port), (server, server_port) = both
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (client, server))
    return second(0x21, 0x21, addresses + pack("!HH", port, server_port) + more)


WHOLE = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n", FOUR),
    (b"PROXY TCP6 2001:db8:0:0::1 ::1 1 65535\r\n", SIX),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
    (tcp4(), FOUR),
    (tcp4(more=b"\x04\x00\x03abc"), FOUR),
    (tcp6(), SIX),
    (tcp6(more=b"\x20\x00\x01\x01" * 50), SIX),
    (second(0x20, 0x00), None),
    (second(0x20, 0x11, b"x" * 12), None),
    (second(0x21, 0x00), None),
    (second(0x21, 0x31, b"/tmp/x".ljust(108, b"\0") * 2), None),
    (second(0x21, 0x12, b"x" * 12), None),
]


@pytest.mark.parametrize(("header", "said"), WHOLE)
def test_a_header_is_read_to_its_end_and_no_further(header: bytes, said: Ends | None) -> None:
    """However little of it has come, and whatever follows it."""
    assert length(header) == len(header)
    assert length(header + b"\x16\x03\x01") == len(header)
    for end in range(1, len(header)):
        assert end < length(header[:end]) <= len(header)
    assert ends(header) == said


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"P\r\n",
        b"PROXY".ljust(LONGEST_1 + 9, b"Y"),
        b"PROXY ".ljust(LONGEST_1, b"x"),
        b"\r\n\r\nGET / HTTP/1.1",
        SIGNATURE + b"\x21\x11" + pack("!H", LONGEST_2),
    ],
)
def test_what_is_no_header_is_seen_at_once(data: bytes) -> None:
    with pytest.raises(Malformed):
        length(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET /", "no header"),
        (SIGNATURE + b"\x21\x11\x0f\xf1", "a header of 4097 bytes; 4096 is the limit"),
        (b"PROXY ".ljust(LONGEST_1, b"x"), "a line of over 107 bytes"),
        (b"PROXY \r\n", "not a line of version 1"),
        (b"PROXY TCP4 ::1 ::1 1 443\r\n", "not an address"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n", "not a port"),
        (second(0x22), "neither of version 2, nor LOCAL or PROXY"),
        (second(0x21, 0x11, b"x"), "too short for its addresses"),
    ],
)
def test_the_log_says_why(data: bytes, why: str) -> None:
    with pytest.raises(Malformed) as caught:
        ends(data[: length(data)])

    assert str(caught.value) == why


def test_a_header_may_be_as_long_as_the_limit() -> None:
    assert length(SIGNATURE + b"\x21\x11" + pack("!H", LONGEST_2 - 16)) == LONGEST_2
    line = b"PROXY UNKNOWN ".ljust(LONGEST_1 - 2, b"x") + b"\r\n"
    assert (length(line), ends(line)) == (LONGEST_1, None)
    with pytest.raises(Malformed):
        length(b"PROXY UNKNOWN ".ljust(LONGEST_1 - 1, b"x") + b"\r\n")


def test_a_line_ends_with_its_first_end() -> None:
    """What follows is the client's."""
    assert length(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n\r\n") == 15


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 040 443\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.7 1 443\r\n",
        b"PROXY TCP4 ::1 ::1 1 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.7 1 443\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.7 1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 443 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 1 443\n\r\n",
        b"PROXY tcp4 192.0.2.1 198.51.100.7 1 443\r\n",
        b"PROXY UNKNOWN\tx\r\n",
        b"PROXY \r\n",
        second(0x22, 0x11, b"x" * 12),
        second(0x11, 0x11, b"x" * 12),
        second(0x21, 0x11, b"x" * 11),
        second(0x21, 0x21, b"x" * 35),
    ],
)
def test_what_cannot_be_understood_is_malformed(header: bytes) -> None:
    assert length(header) == len(header)
    with pytest.raises(Malformed):
        ends(header)


@given(st.one_of(st.binary(), st.binary().map(SIGNATURE.__add__), st.binary().map(b"PROXY ".__add__)))
def test_nothing_else_is_ever_raised(data: bytes) -> None:
    """And a header that has come whole is understood, or is malformed."""
    try:
        whole = length(data) if data else 1
        if whole <= len(data):
            ends(data[:whole])
    except Malformed:
        pass


PORT = st.integers(0, 65535)
ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
TLS = st.builds(Tls, st.text(max_size=20), st.text(max_size=40), st.booleans(), st.text(max_size=64))


@given(ADDRESS, PORT, ADDRESS, PORT, st.text(max_size=255), st.none() | TLS)
def test_what_is_written_is_read(
    client: IPv4Address | IPv6Address,
    client_port: int,
    server: IPv4Address | IPv6Address,
    server_port: int,
    authority: str,
    tls: Tls | None,
) -> None:
    """By both versions, to its end, whatever else is told."""
    both = between(str(client), client_port, str(server), server_port)
    assert both is not None
    for header in (header_1(both), header_2(both), header_2(both, authority, tls)):
        assert length(header) == len(header)
        assert ends(header) == both


@pytest.mark.parametrize("header", [*LOCAL.values(), header_1(None), header_2(None)])
def test_nobody_is_named(header: bytes) -> None:
    assert length(header) == len(header)
    assert ends(header) is None


@pytest.mark.parametrize(
    ("client", "server", "told"),
    [
        ("192.0.2.1", "198.51.100.7", ("192.0.2.1", "198.51.100.7")),
        ("2001:db8:0::1", "::1", ("2001:db8::1", "::1")),
        ("::ffff:192.0.2.1", "::ffff:198.51.100.7", ("192.0.2.1", "198.51.100.7")),
        ("2001:db8::1", "198.51.100.7", ("2001:db8::1", "::ffff:c633:6407")),
        ("192.0.2.1", "2001:db8::1", ("::ffff:c000:201", "2001:db8::1")),
        ("fe80::1%eth0", "fe80::2", ("fe80::1", "fe80::2")),
    ],
)
def test_both_ends_are_of_one_family(client: str, server: str, told: tuple[str, str]) -> None:
    assert between(client, 1, server, 2) == Ends((told[0], 1), (told[1], 2))


def test_an_end_that_is_not_known() -> None:
    """The server's has no address on a Unix socket; without the client's there is nothing to tell."""
    assert between("192.0.2.1", 1, "/run/l7lb.sock", 2) == Ends(("192.0.2.1", 1), ("0.0.0.0", 0))
    assert between("2001:db8::1", 1, "", 2) == Ends(("2001:db8::1", 1), ("::", 0))
    assert between("unix", 1, "198.51.100.7", 2) is None


def test_what_is_told_beside() -> None:
    """Section 2.2: type, length, value; those of TLS stand in one of them, behind flags and whether it was verified."""
    plain = header_2(FOUR)
    told = header_2(FOUR, "lb.test", Tls("TLSv1.3", "TLS_X", certified=True, name="alice"))
    about = b"\x07\0\0\0\0" + b"\x21\0\x07TLSv1.3" + b"\x23\0\x05TLS_X" + b"\x22\0\x05alice"
    assert told[16:] == plain[16:] + b"\x02\0\x07lb.test" + b"\x20" + pack("!H", len(about)) + about
    assert b"\x01\0\0\0\1\x21" in header_2(FOUR, tls=Tls("TLSv1.3", "TLS_X", certified=False, name=""))


def test_what_is_told_may_be_long_and_of_any_letters() -> None:
    """One that no encoding has is a question mark; the lengths are without a sign."""
    told = header_2(FOUR, "a" * 40_000, Tls("TLSv1.3", "x" * 200, certified=True, name="\udcff"))

    assert int.from_bytes(told[14:16], "big") == len(told) - 16
    assert b"\x02" + pack("!H", 40_000) + b"a" * 40_000 in told
    assert told.endswith(b"\x22\0\x01?")
    assert header_2(FOUR, "\udcff").endswith(b"\x02\0\x01?")
