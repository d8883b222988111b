"""Each disguise of a message's framing has one answer: a status, what becomes of the connection, what a backend sees.

One balancer, one table. RFC 9112 decides; where it leaves a choice, refusing does (as nginx and HAProxy mostly do).
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support.backend import Backend
from tests.support.raw import chunked, request
from tests.support.server import Balancer
from tests.support.until import until

GET = b"GET /a HTTP/1.1\r\nHost: lb.test\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: lb.test\r\n"
TE = POST + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL = b"GET /evil HTTP/1.1\r\nHost: lb.test\r\n\r\n"
A, OPEN, SHUT = (b"/a", b""), True, False
NOTHING: list[tuple[bytes, bytes]] = []


class Case(NamedTuple):
    """What is sent; the statuses of the answers; whether the connection goes on; target and body a backend has read."""

    sent: bytes
    statuses: list[int]
    goes_on: bool
    seen: list[tuple[bytes, bytes]]


def bad(sent: bytes, status: int = 400) -> Case:
    """Refused, and the end; no backend has read any of it to its end."""
    return Case(sent, [status], SHUT, NOTHING)


def good(sent: bytes, body: bytes = b"hello") -> Case:
    """Taken for what it is."""
    return Case(sent, [200], OPEN, [(b"/a", body)])


def length(value: bytes) -> bytes:
    return POST + b"Content-Length:" + value + b"\r\n\r\nhello"


def coding(value: bytes, name: bytes = b"Transfer-Encoding") -> bytes:
    return POST + name + b":" + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


# fmt: off
CASES = {
    # Lengths (RFC 9112 section 6.3): signs, spaces, other bases, more than there can be
    **{f"length {value!r}": bad(length(value)) for value in (
        b" +5", b" -5", b" 5 5", b" 5,5", b" 5, 5", b" 5;", b" 0x5", b" 5h", b" 0b101", b" 5.0", b" 5e0", b" 5_0",
        b" '5'", b"",
        b" ", b" five", b" \xd9\xa5", b" \xb2", b" 18446744073709551621", b" 99999999999999999999",
        b" 9223372036854775808",
        b" 00000000000000000000005", b" \x0b5", b" 5\x00", b" 5\x0c", b"\r\n 5",
    )},
    **{f"length {value!r}": good(length(value)) for value in (b"5", b" 5", b"\t 5 \t", b" 05",
        b" 0000000000000000005")},
    "two lengths": bad(length(b" 5\r\nContent-Length: 6")),
    "two lengths alike": bad(length(b" 5\r\nContent-Length: 5")),
    "two lengths in two cases": bad(length(b" 5\r\ncONTENT-lENGTH: 0")),
    "length with a space before the colon": bad(POST + b"Content-Length : 5\r\n\r\nhello"),
    "length with a tab before the colon": bad(POST + b"Content-Length\t: 5\r\n\r\nhello"),
    "length without a colon": bad(POST + b"Content-Length 5\r\n\r\nhello"),
    "length with a NUL in its name": bad(POST + b"Content-Length\0: 5\r\n\r\nhello"),
    "length of CGI": Case(POST + b"Content_Length: 40\r\n\r\n", [200], OPEN, [A]),
    "length longer by one": Case(POST + b"Content-Length: 6\r\n\r\nhello" + EVIL, [200, 400], SHUT, [(b"/a",
        b"helloG")]),
    # Both
    "length, then chunks": bad(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL),
    "chunks, then length": bad(POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + EVIL),
    "length and no chunks": bad(POST + b"Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello"),
    "length and chunks that Connection lists": bad(
        POST + b"Connection: transfer-encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a length that Connection lists": good(POST + b"Connection: content-length\r\nContent-Length: 5\r\n\r\nhello"),
    "chunks that Connection lists": good(POST +
        b"Connection: transfer-encoding, x" + coding(b"chunked")[len(POST) - 2 :]),
    # Transfer-Encoding (section 6.1)
    **{f"coding {value!r}": good(coding(value)) for value in (
        b"chunked", b" chunked", b"\tchunked ", b" Chunked", b" CHUNKED", b" cHuNkEd",
    )},
    **{f"coding {value!r}": bad(coding(value)) for value in (
        b"", b" identity", b" xchunked", b" chunkedx", b" chunked;q=1", b' "chunked"', b" chunked,", b" ,chunked",
        b" chunked, chunked",
        b" chunked, gzip", b" chunked, identity", b" \x0bchunked", b" \x0cchunked", b" chun\0ked", b" chunked\0",
        b" \xa0chunked",
        b" chunked\xa0", b" chunked\r\nTransfer-Encoding: chunked", b" chunked\r\nTransfer-Encoding: identity",
        b"\r\n chunked", b" chunked\r\n ,gzip", b" chunked\n", b"\n chunked", b" chunked\r", b" ch\xc3\xbcnked",
    )},
    **{f"coding {value!r}": bad(coding(value), 501) for value in (
        b" gzip, chunked", b" identity, chunked", b" gzip\r\nTransfer-Encoding: chunked", b" gzip ,\tchunked",
    )},
    **{f"coding under the name {name!r}": bad(coding(b" chunked", name)) for name in (
        b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"Transfer-Encoding\0",
        b"Transfer\xadEncoding",
        b"Transfer-Encoding\x0b", b"\x0bTransfer-Encoding", b"Transfer-Encod\xc4\xb1ng", b"X: y\nTransfer-Encoding",
        b"X: y\rTransfer-Encoding",
        b'"Transfer-Encoding"', b"Transfer Encoding",
    )},
    "coding of CGI": Case(
        POST + b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", [200], OPEN, [(b"/a", b"0\r\n\r\n")]
    ),
    "chunks in HTTP/1.0": bad(coding(b" chunked").replace(b"HTTP/1.1", b"HTTP/1.0")),
    # Chunks (section 7.1)
    **{f"chunk size {size!r}": bad(TE + size + b"\r\nhello\r\n0\r\n\r\n") for size in (
        b"", b" 5", b"5 ", b"\t5", b"5\t", b"+5", b"-5", b"0x5", b"5h", b"5,", b"5.", b"5_", b"\xa05", b"5\x0b",
        b"5\0", b"10000000000000005",
        b"fffffffffffffffff", b"5\r", b"4", b"6", b"5;\na=b", b"5;a\0",
    )},
    **{f"chunk size {size!r}": good(TE + size + b"\r\nhello\r\n0\r\n\r\n") for size in (
        b"5", b"05", b"0000000000000005", b"5;a", b"5;a=b", b'5;a="b c"', b"5;a=b;c",
    )},
    "a chunk size in small and capital letters": good(TE + b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"0123456789" * 2),
    "an extension with a line end in quotes": bad(TE + b'5;a="\r\nhello\r\n"0\r\n\r\n'),
    "bare LF behind a chunk size": bad(TE + b"5\nhello\r\n0\r\n\r\n"),
    "bare CR behind a chunk size": bad(TE + b"5\rhello\r\n0\r\n\r\n"),
    "bare LF behind a chunk": bad(TE + b"5\r\nhello\n0\r\n\r\n"),
    "bare CR behind a chunk": bad(TE + b"5\r\nhello\r0\r\n\r\n"),
    "nothing behind a chunk": bad(TE + b"5\r\nhello0\r\n\r\n"),
    "bare LF behind the last chunk": bad(TE + b"5\r\nhello\r\n0\n\r\n"),
    "bare LF behind everything": bad(TE + b"5\r\nhello\r\n0\r\n\n"),
    "several zeros as the last chunk": good(TE + b"5\r\nhello\r\n000\r\n\r\n"),
    "another request behind the last chunk": bad(TE + b"5\r\nhello\r\n0\r\n" + EVIL),
    # Trailers (section 7.1.2)
    "trailers": good(TE + chunked(b"hello", trailers=b"X-A: 1\r\nHost: evil.test\r\nCookie: a=b\r\n")),
    "a length as trailer": bad(TE + chunked(b"hello", trailers=b"Content-Length: 5\r\n")),
    "a coding as trailer": bad(TE + chunked(b"hello", trailers=b"Transfer-Encoding: chunked\r\n")),
    **{f"trailer {line!r}": bad(TE + chunked(b"hello", trailers=line)) for line in (
        b"X\r\n", b": y\r\n", b"X : y\r\n", b"X: y\n", b"X: y\0\r\n", b"X: y\rZ: a\r\n", b"X\xe9: y\r\n",
            b"X: y\r\n z\r\n", b"X(: y\r\n",
    )},
    # Lines and fields (sections 2.2, 5)
    "bare LF everywhere": bad(b"GET /a HTTP/1.1\nHost: lb.test\n\n"),
    "bare LF behind the request line": bad(b"GET /a HTTP/1.1\nHost: lb.test\r\n\r\n"),
    "bare LF behind a field": bad(GET + b"X: y\nZ: a\r\n\r\n"),
    "bare LF as the empty line": bad(GET + b"X: y\r\n\n"),
    "bare CR behind a field": bad(GET + b"X: y\rZ: a\r\n\r\n"),
    "bare CR as the empty line": bad(GET + b"X: y\r\n\r" + EVIL),
    "two CR": bad(GET + b"X: y\r\r\n\r\n"),
    "LF before CR": bad(GET + b"X: y\n\r\n\r"),
    "NUL in a value": bad(GET + b"X: y\0\r\n\r\n"),
    "NUL in a name": bad(GET + b"X\0: y\r\n\r\n"),
    "folded": bad(GET + b"X: y\r\n z\r\n\r\n"),
    "folded by a tab": bad(GET + b"X: y\r\n\tz\r\n\r\n"),
    "folded into nothing": bad(GET + b"X: y\r\n \r\n\r\n"),
    "folded behind the request line": bad(b"GET /a HTTP/1.1\r\n X: y\r\nHost: lb.test\r\n\r\n"),
    "a space before the colon": bad(GET + b"X : y\r\n\r\n"),
    "a tab before the colon": bad(GET + b"X\t: y\r\n\r\n"),
    "a request line among the fields": bad(GET + b"GET /evil HTTP/1.1\r\n\r\n"),
    "bytes beyond ASCII in a value": Case(GET + b"X: \xc3\xa9\xff\r\n\r\n", [200], OPEN, [A]),
    "empty lines before": Case(b"\r\n\r\n" + GET + b"\r\n", [200], OPEN, [A]),
    "a space before": bad(b" " + GET + b"\r\n"),
    "many spaces between": Case(b"GET  /a   HTTP/1.1\r\nHost: lb.test\r\n\r\n", [200], OPEN, [A]),
    "a tab between": bad(b"GET\t/a HTTP/1.1\r\nHost: lb.test\r\n\r\n"),
    "a tab in the line": bad(b"GET /a\tHTTP/1.1\r\nHost: lb.test\r\n\r\n"),
    # Versions and other protocols (section 2.3)
    "HTTP/0.9": bad(b"GET /a\r\n\r\n"),
    "HTTP/0.9 with an empty version": bad(b"GET /a \r\n\r\n"),
    "HTTP/0.9 by its name": bad(b"GET /a HTTP/0.9\r\nHost: lb.test\r\n\r\n"),
    "HTTP/1.0": Case(b"GET /a HTTP/1.0\r\n\r\n" + EVIL, [200], SHUT, [A]),
    "HTTP/1.0 kept alive": Case(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + EVIL, [200], SHUT, [A]),
    "HTTP/1.2": bad(b"GET /a HTTP/1.2\r\nHost: lb.test\r\n\r\n"),
    "HTTP/1.10": bad(b"GET /a HTTP/1.10\r\nHost: lb.test\r\n\r\n"),
    "HTTP/2": bad(b"GET /a HTTP/2\r\nHost: lb.test\r\n\r\n"),
    "the preface of HTTP/2": bad(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0"),
    "h2c": Case(
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", [200], OPEN,
            [A]
    ),
    "TLS": bad(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2),
    "SSH": bad(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    "a PROXY header": bad(b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n" + EVIL),
    "a PROXY header, binary": bad(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + EVIL),
    # Bodies where few have one
    "a GET with a length": good(GET + b"Content-Length: 5\r\n\r\nhello"),
    "a GET in chunks": good(GET + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello")),
    "a HEAD with a body that looks like a request": Case(
        b"DELETE /a HTTP/1.1\r\nHost: lb.test\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL, [200], OPEN, [(b"/a",
            EVIL)]
    ),
    "an upgrade with a body that looks like a request": Case(
        POST + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL, [200], OPEN,
            [(b"/a", EVIL)]
    ),
    # Pipelining, with something wrong in the middle
    "three in a row": Case(
        GET + b"\r\n" + TE + chunked(b"x") + length(b" 5"), [200] * 3, OPEN, [A, (b"/a", b"x"), (b"/a", b"hello")]
    ),
    "a bad one in the middle": Case(GET + b"\r\n" + GET + b"Host: b\r\n\r\n" + EVIL, [200, 400], SHUT, [A]),
    "a bad line in the middle": Case(GET + b"\r\n" + b"BAD\r\n\r\n" + EVIL, [200, 400], SHUT, [A]),
    "an unknown method in the middle": Case(GET + b"\r\nBREW /pot HTTP/1.1\r\nHost: a\r\n\r\n" + EVIL, [200, 400],
        SHUT, [A]),
    "a bad chunk in the middle": Case(GET + b"\r\n" + TE + b"zz\r\n" + EVIL, [200, 400], SHUT, [A]),
    "a CONNECT in the middle": Case(
        GET + b"\r\nCONNECT evil.test:80 HTTP/1.1\r\nHost: evil.test:80\r\n\r\n" + EVIL, [200, 405], SHUT, [A]
    ),
    "a bad path in the middle": Case(
        GET + b"\r\nGET /b/../c HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n", [200, 400, 200], OPEN, [A, A]
    ),
    "Connection: close in the middle": Case(GET + b"\r\n" + GET + b"Connection: close\r\n\r\n" + EVIL, [200] * 2,
        SHUT, [A, A]),
}
# fmt: on


@pytest.mark.parametrize("name", CASES)
def test_it_has_one_answer(balancer: Balancer, backend: Backend, name: str) -> None:
    case = CASES[name]
    with balancer.client() as client:
        client.send(case.sent)
        assert [client.response().status for _ in case.statuses] == case.statuses
        if case.goes_on:
            assert client.ask(request("/next")).status == 200
        else:
            assert client.rest() == b"", "something was answered behind the last"

    seen = [
        (asked.target, body) for c in backend.connections for asked, body in zip(c.requests, c.bodies, strict=False)
    ]
    assert seen == [*case.seen, *([(b"/next", b"")] if case.goes_on else [])]
    for c in backend.connections:
        assert len(c.requests) <= len(c.bodies) + 1
        until(lambda c=c: len(c.requests) == len(c.bodies) or c.closed, "what was begun to be given up")
        for asked, body in zip(c.requests, c.bodies, strict=False):
            framing = asked.all("transfer-encoding"), asked.all("content-length")
            assert framing in (([], []), ([b"chunked"], []), ([], [b"%d" % len(body)]))
            assert asked.all("transfer_encoding") == asked.all("content_length") == []
