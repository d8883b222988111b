"""The request head that the backend gets."""

from random import Random
from typing import NamedTuple

import pytest

from app.domain.client import TrustedProxies
from app.domain.exchange import Exchange
from app.domain.fields import FieldRules
from app.domain.forwarded import ForwardedRule
from app.domain.request_head import CHUNKED, RequestHeadRule
from app.domain.trace import Ids, valid_traceparent
from settings.groups import HeaderSettings
from settings.telemetry import ForwardedSettings

PLAIN = {"x_forwarded": "off", "via": "", "request_id": False, "traceparent": "pass"}


class Head(NamedTuple):
    """What `build` returns."""

    host: bytes
    lines: bytes
    length: int


def build(
    headers: list[tuple[bytes, bytes]], rules: HeaderSettings | None = None, **settings: object
) -> tuple[Head, Exchange]:
    """The head made of *headers*, by settings that add nothing but what is asked for."""
    forwarded = ForwardedSettings.model_validate(PLAIN | settings)
    rule = RequestHeadRule(
        forwarded,
        ForwardedRule(forwarded, TrustedProxies([])),
        FieldRules.of(rules) if rules else None,
        Ids(Random(7)),
    )
    exchange = Exchange(0.0, "192.0.2.1", "http", "GET", "a.example", "/")
    return Head(*rule.build(exchange, headers)), exchange


def test_end_to_end_fields_go_on_as_they_came() -> None:
    """Order, duplicates and bytes; Host apart, for each attempt may have its own."""
    head, _ = build([(b"host", b"a"), (b"cookie", b"1"), (b"x", b"\xe9"), (b"cookie", b"2")])

    assert head == (b"a", b"cookie: 1\r\nx: \xe9\r\ncookie: 2\r\n", 0)


def test_hop_by_hop_fields_stay_here() -> None:
    """RFC 9110 section 7.6.1, and Expect, which is answered here."""
    head, _ = build(
        [
            (b"connection", b"close, x-a"),
            (b"connection", b"x-b"),
            (b"keep-alive", b"1"),
            (b"te", b"gzip"),
            (b"upgrade", b"h2c"),
            (b"http2-settings", b"x"),
            (b"proxy-connection", b"x"),
            (b"proxy-authorization", b"x"),
            (b"expect", b"100-continue"),
            (b"x-a", b"1: 2"),
            (b"x-b", b"1"),
            (b"x-c", b"1"),
        ]
    )

    assert head.lines == b"x-c: 1\r\n"


@pytest.mark.parametrize("te", [b"trailers", b"gzip;q=1, Trailers"])
def test_trailers_are_taken_where_the_client_takes_them(te: bytes) -> None:
    """RFC 9110 section 10.1.4: our own field, whatever else the client's said; Connection cannot take it away."""
    head, _ = build([(b"te", te), (b"connection", b"te, x-a"), (b"x-a", b"1")])

    assert head.lines == b"te: trailers\r\nconnection: te\r\n"


@pytest.mark.parametrize("name", [b"transfer_encoding", b"content_length", b"proxy_authorization"])
def test_what_some_take_for_such_a_field_stays_here_too(name: bytes) -> None:
    """CGI and WSGI do not tell `_` from `-`."""
    head, _ = build([(name, b"5"), (b"x_own", b"1")])

    assert head == (b"", b"x_own: 1\r\n", 0)


@pytest.mark.parametrize("length", [b"5", b"05", b"0000000000000000005"])
def test_a_length_goes_on_in_its_usual_form(length: bytes) -> None:
    """A zero in front is octal to some."""
    head, _ = build([(b"content-length", length)])

    assert head == (b"", b"content-length: 5\r\n", 5)


def test_connection_cannot_take_the_framing_with_it() -> None:
    """The backend would read the body as the next request."""
    head, _ = build([(b"connection", b"content-length"), (b"content-length", b"3")])

    assert head == (b"", b"content-length: 3\r\n", 3)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"3")],
        [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_chunked_goes_on_chunked_and_alone(headers: list[tuple[bytes, bytes]]) -> None:
    """Both framings in one message are a smuggler's (RFC 9112 section 6.1); the edge refuses them before."""
    head, _ = build(headers)

    assert head == (b"", b"transfer-encoding: chunked\r\n", CHUNKED)


def test_a_request_id_is_passed_on_or_made() -> None:
    """And the exchange knows it."""
    head, exchange = build([(b"x-request-id", b"mine")], request_id=True)
    assert (head.lines, exchange.request_id) == (b"x-request-id: mine\r\n", "mine")

    head, exchange = build([(b"x-request-id", b"not mine")], request_id=True)
    assert head.lines == b"x-request-id: %b\r\n" % exchange.request_id.encode()
    assert len(exchange.request_id) == 32


def test_a_made_trace_has_the_name_of_the_request() -> None:
    """One thing to look for, in the log and in the traces; a name that the client chose is no trace id."""
    head, exchange = build([], request_id=True, traceparent="make")
    assert b"traceparent: 00-%b-" % exchange.request_id.encode() in head.lines

    head, exchange = build([(b"x-request-id", b"mine")], request_id=True, traceparent="make")
    trace = head.lines.partition(b"traceparent: ")[2].partition(b"\r\n")[0]
    assert valid_traceparent(trace)
    assert b"x-request-id: mine\r\n" in head.lines


def test_traceparent_by_rule() -> None:
    """make: passed on when valid, else made; pass: not looked at; drop: taken out."""
    valid = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert build([(b"traceparent", valid)], traceparent="make")[0].lines == b"traceparent: %b\r\n" % valid
    assert build([(b"traceparent", b"x")], traceparent="make")[0].lines.startswith(b"traceparent: 00-")
    assert build([], traceparent="make")[0].lines.startswith(b"traceparent: 00-")
    assert build([(b"traceparent", b"x")], traceparent="pass")[0].lines == b"traceparent: x\r\n"
    assert build([(b"traceparent", b"x")], traceparent="drop")[0].lines == b""


def test_what_we_say_of_the_client_stands_behind() -> None:
    """Via last; what the client claimed is gone."""
    head, _ = build([(b"x-forwarded-for", b"6.6.6.6"), (b"via", b"1.0 other")], x_forwarded="replace", via="lb")

    assert head.lines == (
        b"via: 1.0 other\r\nx-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\n"
        b"x-forwarded-host: a.example\r\nx-forwarded-port: 80\r\nvia: 1.1 lb\r\n"
    )


def test_connection_takes_nothing_away_that_a_group_sets() -> None:
    """It lists what the client has sent."""
    rules = HeaderSettings(set={"X-Tenant": "a"}, add={"X-More": "b"})
    head, _ = build([(b"connection", b"x-tenant, x-more, x-own"), (b"x-own", b"1"), (b"x_tenant", b"evil")], rules)

    assert head == (b"", b"x-tenant: a\r\nx-more: b\r\n", 0)


@pytest.mark.parametrize("settings", [{"request_id": True}, {"traceparent": "make"}, {"traceparent": "drop"}])
def test_whatever_else_is_made_the_framing_is_once(settings: dict[str, object]) -> None:
    """And the Host apart."""
    head, _ = build([(b"host", b"a"), (b"content-length", b"3"), (b"expect", b"100-continue")], **settings)

    assert (head.host, head.length) == (b"a", 3)
    assert (head.lines.count(b"content-length: 3\r\n"), b"host" in head.lines, b"expect" in head.lines) == (
        1,
        False,
        False,
    )


def test_a_chain_is_continued_where_that_is_asked_for() -> None:
    """What the client sent of it does not go on by itself."""
    head, _ = build([(b"x-forwarded-for", b"6.6.6.6")], x_forwarded="append")

    assert head.lines.startswith(b"x-forwarded-for: 6.6.6.6, 192.0.2.1\r\nx-forwarded-proto: http\r\n")


def test_a_groups_rules_come_first() -> None:
    """They may set the Host, too."""
    rules = HeaderSettings.model_validate({"remove": ["x"], "set": {"host": "b.example"}, "add": {"y": "2"}})

    head, _ = build([(b"host", b"a"), (b"x", b"1")], rules)

    assert head == (b"b.example", b"y: 2\r\n", 0)
