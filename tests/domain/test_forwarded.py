"""What the backend is told of the client."""

from ipaddress import ip_network

import pytest

from app.domain.client import TrustedProxies
from app.domain.exchange import Exchange
from app.domain.forwarded import ForwardedRule
from settings.telemetry import ForwardedSettings

PROXY = TrustedProxies([ip_network("10.0.0.0/8")])


def exchange(peer: str = "192.0.2.1", host: str = "a.example", scheme: str = "https") -> Exchange:
    return Exchange(0.0, peer, scheme, "GET", host, "/")


def rule(**settings: object) -> ForwardedRule:
    return ForwardedRule(ForwardedSettings.model_validate(settings), PROXY)


def test_a_stranger_has_no_say() -> None:
    """What it claims is replaced; that is the default."""
    lines = rule().lines(exchange(), [(b"x-forwarded-for", b"6.6.6.6"), (b"x-real-ip", b"6.6.6.6")])

    assert lines == (
        b"x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n"
        b"x-forwarded-host: a.example\r\nx-forwarded-port: 443\r\n"
    )


def test_a_trusted_proxy_is_continued() -> None:
    """Its chain gets one more entry; its word on scheme, host and port stands."""
    sent = [
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"b.example"),
        (b"x-forwarded-port", b"8080"),
        (b"x-real-ip", b"1.1.1.1"),
    ]

    assert rule().lines(exchange("10.0.0.1"), sent) == (
        b"x-forwarded-for: 1.1.1.1, 10.0.0.1\r\nx-forwarded-proto: http\r\n"
        b"x-forwarded-host: b.example\r\nx-forwarded-port: 8080\r\nx-real-ip: 1.1.1.1\r\n"
    )


def test_append_continues_the_chain_of_anybody_but_believes_nobody_else() -> None:
    """Scheme, host and port are still our own."""
    sent = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-proto", b"gopher"), (b"x-real-ip", b"6.6.6.6")]

    lines = rule(x_forwarded="append").lines(exchange(), sent)

    assert b"x-real-ip" not in lines

    assert lines.startswith(b"x-forwarded-for: 6.6.6.6, 192.0.2.1\r\nx-forwarded-proto: https\r\n")


@pytest.mark.parametrize(
    ("host", "scheme", "port"),
    [
        ("a.example:8443", "https", b"8443"),
        ("a.example", "http", b"80"),
        ("[::1]", "https", b"443"),
        ("[::1]:8443", "https", b"8443"),
    ],
)
def test_the_port_is_the_one_that_the_client_asked_for(host: str, scheme: str, port: bytes) -> None:
    """Of its Host, else of the scheme."""
    lines = rule().lines(exchange(host=host, scheme=scheme), [])

    assert lines.endswith(b"x-forwarded-port: %b\r\n" % port)


def test_without_a_host_none_is_told() -> None:
    """HTTP/1.0 clients may send none."""
    assert b"x-forwarded-host" not in rule().lines(exchange(host=""), [])


@pytest.mark.parametrize(
    ("peer", "node"), [("192.0.2.1", b"192.0.2.1"), ("2001:db8::1", b'"[2001:db8::1]"'), ("unix", b"unknown")]
)
def test_forwarded_is_written_as_rfc_7239_says(peer: str, node: bytes) -> None:
    """IPv6 in brackets and quotes; no address is `unknown`."""
    lines = rule(x_forwarded="off", forwarded=True).lines(exchange(peer), [(b"forwarded", b"for=6.6.6.6")])

    assert lines == b'forwarded: for=%b;host="a.example";proto=https\r\n' % node


def test_forwarded_of_a_trusted_proxy_is_continued() -> None:
    """As a list."""
    lines = rule(x_forwarded="off", forwarded=True).lines(exchange("10.0.0.1"), [(b"forwarded", b"for=1.1.1.1")])

    assert lines == b'forwarded: for=1.1.1.1, for=10.0.0.1;host="a.example";proto=https\r\n'


def test_a_rule_takes_out_what_it_writes() -> None:
    """And what would contradict it."""
    assert rule(x_forwarded="off").names == frozenset()
    assert rule(x_forwarded="off", forwarded=True).names == {b"forwarded"}
    assert {b"x-forwarded-for", b"x-real-ip", b"forwarded"} < rule().names


def test_nothing_is_said_when_all_is_off() -> None:
    """Then the client's fields are not touched either."""
    assert rule(x_forwarded="off").lines(exchange(), []) == b""


def test_what_is_prepared_is_bounded() -> None:
    """Hosts are the client's to choose."""
    prepared = rule()
    for i in range(10_000):
        assert prepared.lines(exchange(host=f"h{i}"), []) is prepared.lines(exchange(host=f"h{i}"), [])

    assert len(prepared._lines) <= 4096


def test_both_ways_can_be_had_at_once() -> None:
    """And both are taken out of the request."""
    both = rule(forwarded=True)

    assert both.names == rule().names
    assert both.lines(exchange(), []) == (
        rule().lines(exchange(), []) + rule(x_forwarded="off", forwarded=True).lines(exchange(), [])
    )


def test_a_quote_in_the_host_ends_no_string() -> None:
    """The client could go on with parameters of its own."""
    lines = rule(x_forwarded="off", forwarded=True).lines(exchange(host='a";for="6.6.6.6'), [])

    assert lines == b'forwarded: for=192.0.2.1;host="a;for=6.6.6.6";proto=https\r\n'


def test_what_is_prepared_for_one_client_is_for_no_other() -> None:
    """Nor for another host or scheme."""
    prepared = rule()
    others = [exchange(), exchange("192.0.2.2"), exchange(host="b.example"), exchange(scheme="http")]

    assert len({prepared.lines(other, []) for other in others}) == 4
