"""What the backend is told of the client, and whom we believe: nobody, unless their network is trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.backend import Backend, Request
from tests.support.server import Balancer, balancing

LIES = [
    "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test", "X-Forwarded-Port: 1",
    "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6;host=evil.test",
]  # fmt: skip
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def told(balancer: Balancer, backend: Backend, *fields: str, host: str = "lb.test") -> Request:
    assert balancer.get("/", *fields, host=host).status == 200
    return backend.requests[-1]


@pytest.fixture(scope="module")
def trusting(shared: Backend) -> Iterator[Balancer]:
    """A balancer that believes this machine and one network behind it."""
    with balancing(shared, trusted_proxies="127.0.0.0/8,10.0.0.0/8", forwarded__forwarded="true") as running:
        yield running


def test_the_backend_learns_the_client(balancer: Balancer, backend: Backend) -> None:
    seen = told(balancer, backend, host="lb.test:8080")

    assert (
        seen.get("x-forwarded-for"), seen.get("x-forwarded-proto"), seen.get("x-forwarded-host"),
        seen.get("x-forwarded-port"),
    ) == ("127.0.0.1", "http", "lb.test:8080", "8080")  # fmt: skip


def test_nobody_is_believed_by_default(balancer: Balancer, backend: Backend) -> None:
    """Not even this machine, which uvicorn by itself would believe."""
    seen = told(balancer, backend, *LIES)

    everything = b"".join(name + value for name, value in seen.fields)
    assert b"6.6.6.6" not in everything
    assert b"evil" not in everything
    assert (seen.get("x-forwarded-for"), seen.get("x-forwarded-proto")) == ("127.0.0.1", "http")


def test_a_lie_in_disguise_is_taken_out_too(balancer: Balancer, backend: Backend) -> None:
    """Twice, in capitals, and empty."""
    seen = told(balancer, backend, "X-FORWARDED-FOR: 6.6.6.6", "x-forwarded-for: 7.7.7.7", "X-Forwarded-For:")

    assert seen.get("x-forwarded-for") == "127.0.0.1"


@pytest.mark.parametrize(
    "name", ["X_Forwarded_For", "x-forwarded_for", "X_REAL-IP", "X_Forwarded_Host", "X_Request_ID"]
)
def test_a_lie_that_only_some_backends_read_is_taken_out_too(balancer: Balancer, backend: Backend, name: str) -> None:
    """To CGI and WSGI `_` and `-` in a name are the same, and the last one wins, or both are joined."""
    seen = told(balancer, backend, f"{name}: 6.6.6.6")

    assert [(field, value) for field, value in seen.fields if b"6.6.6.6" in value] == []


def test_connection_takes_none_of_our_words_away(balancer: Balancer, backend: Backend) -> None:
    """RFC 9110 section 7.6.1: it lists what the client has sent, and not what we say."""
    seen = told(balancer, backend, "Connection: x-forwarded-for, X-Forwarded-Proto, x-request-id, traceparent, via")

    for name in ("x-forwarded-for", "x-forwarded-proto", "x-request-id", "traceparent", "via"):
        assert seen.get(name), name


def test_the_log_has_the_peer(balancer: Balancer, backend: Backend) -> None:
    balancer.get("/peer", *LIES)

    assert balancer.record(lambda record: record["path"] == "/peer")["client"] == "127.0.0.1"


def test_a_trusted_proxy_is_continued(trusting: Balancer, backend: Backend) -> None:
    """Its chain is kept and the peer added; what it says of scheme, host and port stands."""
    seen = told(
        trusting, backend, "X-Forwarded-For: 203.0.113.7, 10.0.0.9", "X-Forwarded-Proto: https",
        "X-Forwarded-Host: shop.test", "X-Forwarded-Port: 8443",
    )  # fmt: skip

    assert (
        seen.get("x-forwarded-for"), seen.get("x-forwarded-proto"), seen.get("x-forwarded-host"),
        seen.get("x-forwarded-port"),
    ) == ("203.0.113.7, 10.0.0.9, 127.0.0.1", "https", "shop.test", "8443")  # fmt: skip


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        (["6.6.6.6, 203.0.113.7, 10.0.0.9"], "203.0.113.7"),
        (["6.6.6.6", "203.0.113.7, 10.0.0.9"], "203.0.113.7"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["nonsense, 10.0.0.9"], "10.0.0.9"),
        (["10.0.0.8, 10.0.0.9"], "10.0.0.8"),
        (["nonsense"], "127.0.0.1"),
    ],
)
def test_the_client_is_the_first_that_is_not_trusted(
    trusting: Balancer, backend: Backend, chain: list[str], client: str
) -> None:
    """From the right: what stands further left was written by somebody whom we do not know."""
    path = "/chain/" + re.sub(r"[^a-z0-9]", "-", "-".join(chain))
    trusting.get(path, *(f"X-Forwarded-For: {part}" for part in chain))

    assert client == trusting.record(lambda record: record["path"] == path)["client"]


def test_forwarded_is_made_where_it_is_wanted(trusting: Balancer, backend: Backend) -> None:
    """RFC 7239, one element a hop."""
    seen = told(trusting, backend, "Forwarded: for=203.0.113.7;proto=https")

    elements = (seen.get("forwarded") or "").split(", ")
    assert elements[0] == "for=203.0.113.7;proto=https"
    assert "for=127.0.0.1" in elements[1]
    assert "proto=http" in elements[1].split(";")


def test_no_forwarded_otherwise(balancer: Balancer, backend: Backend) -> None:
    assert told(balancer, backend).all("forwarded") == []


def test_appending_keeps_what_came() -> None:
    """`forwarded.x_forwarded = append`: a chain rather than the truth."""
    with Backend() as backend, balancing(backend, forwarded__x_forwarded="append") as balancer:
        seen = told(balancer, backend.answer(b"hi"), "X-Forwarded-For: 6.6.6.6")

    assert seen.get("x-forwarded-for") == "6.6.6.6, 127.0.0.1"


def test_a_request_id_is_passed_on(balancer: Balancer, backend: Backend) -> None:
    seen = told(balancer, backend, "X-Request-ID: abc-123")

    assert seen.get("x-request-id") == "abc-123"


def test_a_request_id_is_made(balancer: Balancer, backend: Backend) -> None:
    """A different one for each request, and the log has the same."""
    balancer.get("/id")
    balancer.get("/id")
    made = [seen.get("x-request-id") for seen in backend.requests]

    assert len(set(made)) == 2
    assert made[0] == balancer.record(lambda record: record["path"] == "/id")["request_id"]


@pytest.mark.parametrize("bad", ["a" * 200, "with space", "caf\xe9", ""])
def test_a_bad_request_id_is_replaced(balancer: Balancer, backend: Backend, bad: str) -> None:
    made = told(balancer, backend, f"X-Request-ID: {bad}").get("x-request-id")

    assert made
    assert made != bad


def test_a_trace_is_passed_on(balancer: Balancer, backend: Backend) -> None:
    seen = told(balancer, backend, f"traceparent: {TRACE}", "tracestate: a=1")

    assert (seen.get("traceparent"), seen.get("tracestate")) == (TRACE, "a=1")


@pytest.mark.parametrize(
    "sent", [[], ["traceparent: nonsense"], ["traceparent: 00-" + "0" * 32 + "-" + "1" * 16 + "-01"]]
)
def test_a_trace_is_made(balancer: Balancer, backend: Backend, sent: list[str]) -> None:
    """W3C Trace Context section 3.2; what is malformed counts as missing."""
    made = told(balancer, backend, *sent).get("traceparent") or ""

    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", made)


def test_via_both_ways(balancer: Balancer, backend: Backend) -> None:
    """RFC 9110 section 7.6.3: each hop adds itself behind those before."""
    backend.answer(b"hi", "Via: 1.0 inner")

    response = balancer.get("/", "Via: 1.1 outer")

    assert b", ".join(backend.requests[0].all("via")) == b"1.1 outer, 1.1 l7lb"
    assert b", ".join(response.all("via")) == b"1.0 inner, 1.1 l7lb"
