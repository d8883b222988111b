"""A request and its response come out as they went in: RFC 9110 section 7.6, both ways, on raw bytes."""

from __future__ import annotations

import gzip

import pytest

from tests.support.backend import Backend, answers, forever, read_all, reply, send
from tests.support.raw import Response, request
from tests.support.server import Balancer

Fields = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Everything off that the balancer would add of its own will: what is left must be what was sent."""
    return {
        "LB_FORWARDED__X_FORWARDED": "off",
        "LB_FORWARDED__VIA": "",
        "LB_FORWARDED__REQUEST_ID": "false",
        "LB_FORWARDED__TRACEPARENT": "pass",
    }


def lowered(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]


def undated(response: Response) -> Fields:
    return [field for field in lowered(response.fields) if field[0] != b"date"]


def test_a_bare_request_stays_bare(balancer: Balancer, backend: Backend) -> None:
    """No User-Agent, Accept, Accept-Encoding or Connection is invented, and no body framing for a GET."""
    balancer.get("/")

    assert [lowered(seen.fields) for seen in backend.requests] == [[(b"host", b"lb.test")]]
    assert backend.bodies == [b""]


def test_fields_keep_order_duplicates_and_bytes(balancer: Balancer, backend: Backend) -> None:
    """Duplicates are not joined, two Cookies stay two, and bytes beyond ASCII pass as they are."""
    fields = [b"X-A: 1", b"x-b: 2", b"Cookie: a=1", b"X-A: 3", b"Cookie: b=2", b"X-Name: caf\xc3\xa9 \xff", b"X-Empty:"]

    balancer.ask(request("/", *fields, host="lb.test"))

    assert lowered(backend.requests[0].fields) == [
        (b"host", b"lb.test"), (b"x-a", b"1"), (b"x-b", b"2"), (b"cookie", b"a=1"), (b"x-a", b"3"),
        (b"cookie", b"b=2"), (b"x-name", b"caf\xc3\xa9 \xff"), (b"x-empty", b""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/?",
        "/a%20b/%7Euser/%e2%82%AC",
        "/a;p=1,2/b",
        "/a//b",
        "/a/b/?q=%2F..%2f&x=a+b&&=",
        "/?a=/../b",
        "/a:b@c!$&'()*+,=",
    ],
)
def test_the_target_is_forwarded_byte_by_byte(balancer: Balancer, backend: Backend, target: str) -> None:
    """Percent-encoding, its case, empty segments and the query are the client's, not ours to normalise."""
    assert balancer.get(target).status == 200

    assert [target.encode()] == [seen.target for seen in backend.requests]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "REPORT"])
def test_methods_pass(balancer: Balancer, backend: Backend, method: str) -> None:
    assert balancer.get("/", method=method).status == 200

    assert [method] == [seen.method for seen in backend.requests]


def test_hop_by_hop_request_fields_stay_here(balancer: Balancer, backend: Backend) -> None:
    """RFC 9110 section 7.6.1: what Connection names goes, and so do the fields that never pass a hop."""
    balancer.get(
        "/", "Connection: keep-alive, X-Secret, x-other", "X-Secret: 1", "X-Other: 2", "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive", "TE: gzip", "Proxy-Authorization: Basic eA==", "X-Kept: 3",
    )  # fmt: skip

    assert [field for field in lowered(backend.requests[0].fields) if field != (b"te", b"trailers")] == [
        (b"host", b"lb.test"),
        (b"x-kept", b"3"),
    ]


@pytest.mark.parametrize("named", ["Host", "Content-Length", "Transfer-Encoding", "close, Host"])
def test_connection_cannot_take_framing_away(balancer: Balancer, backend: Backend, named: str) -> None:
    """Whatever Connection names, the body arrives whole with its Host, or the request is refused."""
    response = balancer.get("/", f"Connection: {named}", method="POST", body=b"12345")

    if response.status == 200:
        assert backend.requests[0].all("host") == [b"lb.test"]
        assert backend.bodies == [b"12345"]
    else:
        assert (response.status, backend.requests) == (400, [])


def test_a_response_passes_as_it_is(balancer: Balancer, backend: Backend) -> None:
    """Order, duplicates, bytes beyond ASCII and the reason to be there of every field are the backend's."""
    backend.answer(
        b"hi", "Server: demo", "Set-Cookie: a=1; Path=/", "X-A: 1", "Set-Cookie: b=2", b"X-Name: \xe9\xff", "X-A: 2"
    )

    response = balancer.get("/")

    assert (response.status, response.body) == (200, b"hi")
    assert undated(response) == [
        (b"content-length", b"2"), (b"server", b"demo"), (b"set-cookie", b"a=1; Path=/"), (b"x-a", b"1"),
        (b"set-cookie", b"b=2"), (b"x-name", b"\xe9\xff"), (b"x-a", b"2"),
    ]  # fmt: skip


def test_hop_by_hop_response_fields_stay_here(balancer: Balancer, backend: Backend) -> None:
    """The same rule on the way back."""
    backend.answer(
        b"hi", "Connection: keep-alive, X-Secret", "X-Secret: 1", "Keep-Alive: timeout=9", "Proxy-Connection: x",
        "Upgrade: h2c", "X-Kept: 1",
    )  # fmt: skip

    names = [name for name, _ in undated(balancer.get("/"))]

    assert names == [b"content-length", b"x-kept"]


@pytest.mark.parametrize("date", ["Tue, 15 Nov 1994 08:12:31 GMT", None])
def test_there_is_one_date(balancer: Balancer, backend: Backend, date: str | None) -> None:
    """The backend's Date when it gave one, ours when it did not (RFC 9110 section 6.6.1); no Server of ours."""
    backend.answer(b"hi", *([f"Date: {date}"] if date else []))

    response = balancer.get("/")

    assert response.get("date") == date if date else response.get("date")
    assert response.all("server") == []


@pytest.mark.parametrize("status", [200, 201, 206, 301, 400, 401, 404, 418, 429, 500, 501, 502, 503, 504, 599])
def test_statuses_pass(balancer: Balancer, backend: Backend, status: int) -> None:
    """A backend's own errors are its own: status, fields and body pass; nothing is followed, and few are retried."""
    backend.answer(b"its own words", "Location: /elsewhere", status=f"{status} Whatever")

    response = balancer.get("/")

    assert (status, b"its own words", "/elsewhere") == (response.status, response.body, response.get("location"))
    assert len(backend.requests) == (2 if status in (502, 503, 504) else 1)


def test_compressed_bytes_are_not_touched(balancer: Balancer, backend: Backend) -> None:
    """Content-Encoding and Content-Length stay true because the bytes are the same."""
    packed = gzip.compress(b"x" * 5000)
    backend.answer(packed, "Content-Encoding: gzip")

    response = balancer.get("/", "Accept-Encoding: gzip")

    assert (packed, "gzip", str(len(packed))) == (
        response.body, response.get("content-encoding"), response.get("content-length"),
    )  # fmt: skip


def test_head_keeps_its_length_without_a_body(balancer: Balancer, backend: Backend) -> None:
    """The connection serves the next request, so nobody waited for five bytes that never come."""
    backend.play(answers(lambda asked: reply(b"hello")[: -5 if asked.method == "HEAD" else None]))

    with balancer.client() as client:
        head, get = client.ask(request("/", method="HEAD")), client.ask(request("/"))

    assert (head.status, head.get("content-length"), head.body) == (200, "5", b"")
    assert get.body == b"hello"


@pytest.mark.parametrize("head", [b"204 No Content\r\n", b'304 Not Modified\r\nETag: "a"\r\nContent-Length: 5\r\n'])
def test_statuses_without_a_body(balancer: Balancer, backend: Backend, head: bytes) -> None:
    """204 and 304 have no body on either side, even when a 304 tells the length of what it stands for."""
    backend.play(forever(read_all, send(b"HTTP/1.1 " + head + b"\r\n")))

    with balancer.client() as client:
        first, second = client.ask(request("/")), client.ask(request("/"))

    for response in (first, second):
        assert int(head[:3]) == response.status
        assert response.all("transfer-encoding") == []
        if response.status == 304:
            assert (response.get("etag"), response.get("content-length")) == ('"a"', "5")


def test_one_users_cookie_never_reaches_another(balancer: Balancer, backend: Backend) -> None:
    """A shared client has no jar: what a backend sets for one user is not sent with another's request."""
    backend.answer(b"hi", "Set-Cookie: session=alice; Path=/")

    first, second = balancer.get("/", host="localhost"), balancer.get("/", host="localhost")

    assert [first.get("set-cookie"), second.get("set-cookie")] == ["session=alice; Path=/"] * 2
    assert [seen.all("cookie") for seen in backend.requests] == [[], []]


def test_authority_of_an_absolute_target_is_the_host(balancer: Balancer, backend: Backend) -> None:
    """RFC 9112 section 3.2.2: the target wins over Host, and the backend gets the origin form."""
    response = balancer.ask(b"GET http://shop.test:81/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n")

    assert response.status == 200
    assert (backend.requests[0].target, backend.requests[0].all("host")) == (b"/a?b", [b"shop.test:81"])


def test_pipelined_requests_are_answered_in_order(balancer: Balancer, backend: Backend) -> None:
    backend.play(answers(lambda asked: reply(asked.target)))

    with balancer.client() as client:
        client.send(b"".join(request(f"/{n}") for n in range(5)))
        bodies = [client.response().body for _ in range(5)]

    assert bodies == [b"/0", b"/1", b"/2", b"/3", b"/4"]


def test_an_upgrade_to_h2c_is_ignored(balancer: Balancer, backend: Backend) -> None:
    """RFC 9110 section 7.8: a server may ignore Upgrade; h2c must never be smuggled through to a backend."""
    response = balancer.get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")

    assert (response.status, response.body) == (200, b"hello")
    assert lowered(backend.requests[0].fields) == [(b"host", b"lb.test")]
