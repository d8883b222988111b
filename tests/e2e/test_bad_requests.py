"""A malformed request gets 400 with a short body and a closed connection, and nothing of it is forwarded."""

from __future__ import annotations

import pytest

from tests.support.backend import Backend
from tests.support.raw import Client, request
from tests.support.server import Balancer

GET = b"GET / HTTP/1.1\r\nHost: lb.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: lb.test\r\n"

MALFORMED = {
    "garbage": b"\x16\x03\x01 what is this\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "target without a slash": b"GET index.html HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "control byte in the target": b"GET /a\x01b HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "bad method": b"G@T / HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n",
    "two Hosts": GET + b"Host: other.test\r\n\r\n",
    "the same Host twice": GET + b"Host: lb.test\r\n\r\n",
    "space in Host": b"GET / HTTP/1.1\r\nHost: lb test\r\n\r\n",
    "path in Host": b"GET / HTTP/1.1\r\nHost: lb.test/a\r\n\r\n",
    "user in Host": b"GET / HTTP/1.1\r\nHost: me@lb.test\r\n\r\n",
    "list of Hosts": b"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
    "letters in the port of Host": b"GET / HTTP/1.1\r\nHost: lb.test:80a\r\n\r\n",
    "bad authority in an absolute target": b"GET http://a@b.test/ HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "no authority in an absolute target": b"GET http:///x HTTP/1.1\r\nHost: lb.test\r\n\r\n",
    "length and chunks": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "list of lengths": POST + b"Content-Length: 5, 6\r\n\r\nhello!",
    "length with a sign": POST + b"Content-Length: +5\r\n\r\nhello",
    "negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "length in hex": POST + b"Content-Length: 0x5\r\n\r\nhello",
    "empty length": POST + b"Content-Length:\r\n\r\n",
    "length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "gzip as transfer coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in disguise": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a tab in it": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "identity coding": POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: lb.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF ends lines": b"GET / HTTP/1.1\nHost: lb.test\n\n",
    "bare LF ends one line": GET + b"X-A: 1\nX-B: 2\r\n\r\n",
    "bare LF ends the head": GET + b"X-A: 1\r\n\n",
    "bare CR in a value": GET + b"X-A: 1\rX-B: 2\r\n\r\n",
    "folded line": GET + b"X-A: 1\r\n  2\r\n\r\n",
    "folded first line": b"GET / HTTP/1.1\r\n Host: lb.test\r\n\r\n",
    "space before the colon": GET + b"X-A : 1\r\n\r\n",
    "space before the colon of a length": POST + b"Content-Length : 5\r\n\r\nhello",
    "field without a colon": GET + b"X-A\r\n\r\n",
    "field without a name": GET + b": 1\r\n\r\n",
    "NUL in a value": GET + b"X-A: 1\x002\r\n\r\n",
    "control byte in a value": GET + b"X-A: 1\x082\r\n\r\n",
    "byte beyond ASCII in a name": GET + b"X-\xc3\xa9: 1\r\n\r\n",
    "bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunk size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "bare LF ends a chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
}
"""A request that a strict parser refuses, or that two parsers would read in two ways."""

CODINGS = {"gzip as transfer coding", "chunked not last", "chunked twice", "chunked in disguise", "identity coding",
           "chunked with a tab in it"}  # fmt: skip
"""Where 501 is as good an answer (RFC 9112 section 6.1)."""


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_gets_400(balancer: Balancer, backend: Backend, name: str) -> None:
    with balancer.client() as client:
        response = client.ask(MALFORMED[name])
        after = client.rest()

    assert response.status in ({400, 501} if name in CODINGS else {400})
    assert 0 < len(response.body) < 1024
    assert after == b"", "one answer, then the end"
    assert backend.bodies == [], "no whole request reached the backend"


@pytest.mark.parametrize("version", ["2.0", "3.9", "0.9"])
def test_other_versions_are_refused(balancer: Balancer, backend: Backend, version: str) -> None:
    with balancer.client() as client:
        assert client.ask(request("/", version=version)).status in (400, 505)
        assert client.rest() == b""

    assert backend.requests == []


def test_the_preface_of_http2_is_refused(balancer: Balancer, backend: Backend) -> None:
    with balancer.client() as client:
        assert client.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status in (400, 405, 505)
        assert client.rest() == b""

    assert backend.requests == []


@pytest.mark.parametrize(
    "path",
    ["/a%2Fb", "/a%2fb", "/a\\b", "/a%5Cb", "/a%00b", "/a%0d%0aX:1", "/a%1fb", "/../a", "/a/../b", "/a/..", "/a/./b",
     "/%2e%2e/a", "/a/.%2E/b", "/a/%2e/b", "/a%", "/a%2", "/a%zz"],
)  # fmt: skip
def test_ambiguous_paths_get_400(balancer: Balancer, backend: Backend, path: str) -> None:
    """What one parser takes for another path than the next would let a request past a route's rules."""
    response = balancer.get(path)

    assert (response.status, backend.requests) == (400, [])


@pytest.mark.parametrize("asked", [request("lb.test:443", method="CONNECT"), request("/", method="TRACE")], ids=str)
def test_methods_that_are_not_for_us_get_405(balancer: Balancer, backend: Backend, asked: bytes) -> None:
    """RFC 9110 section 15.5.6 wants Allow beside it."""
    response = balancer.ask(asked)

    assert (response.status, backend.requests) == (405, [])
    assert "GET" in (response.get("allow") or "")


def test_options_of_the_server_is_no_fault(balancer: Balancer, backend: Backend) -> None:
    """`OPTIONS *` is valid; whatever it gets, it is not a fault of ours."""
    assert balancer.get("*", method="OPTIONS").status < 500


def test_blank_lines_before_a_request_are_skipped(balancer: Balancer, backend: Backend) -> None:
    """RFC 9112 section 2.2: at least one empty line before the request line is to be ignored."""
    assert balancer.ask(b"\r\n" + request("/")).status == 200


def test_a_malformed_request_behind_a_good_one(balancer: Balancer, backend: Backend) -> None:
    """Pipelined: the first is answered as it deserves, then the second."""
    with balancer.client() as client:
        client.send(request("/") + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        statuses = [client.response().status for _ in range(2)]
        assert client.rest() == b""

    assert statuses == [200, 400]
    assert len(backend.requests) == 1


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_leaving_in_the_middle_of_a_head_is_nothing(balancer: Balancer, backend: Backend, cut: int) -> None:
    with balancer.client() as client:
        client.send(request("/", "X-A: 1")[:cut])
        client.reset()

    assert balancer.get("/").status == 200


def test_every_byte_in_a_packet_of_its_own(balancer: Balancer, backend: Backend) -> None:
    """Where segments end means nothing."""
    with balancer.client() as client:
        for byte in request("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.response().status == 200

    assert backend.bodies == [b"abc"]


def test_tls_to_a_plain_port_gets_400(balancer: Balancer, backend: Backend) -> None:
    """A ClientHello is not HTTP; the answer is short and the connection ends."""
    with Client(balancer.address) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))
        assert client.rest().startswith(b"HTTP/1.1 400 ")
