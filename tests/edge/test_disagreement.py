"""What l7lb lets through is what h11 and zttp read in the same bytes, and backends that read by them see just that.

A request whose end two parsers see in different places is how one client's bytes become part of another's request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from app.edge.protocol import EdgeProtocol
from tests.support.between import Between
from tests.support.readers import ByH11, ByZttp, Reader
from tests.support.streams import Stream

CASES = 60_000
"""Of each driver, each time: a minute for both."""
DRIVERS = ("asgi", "direct")

GET = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
KEPT = {
    "a length of many digits": (
        b"POST /0 HTTP/1.1\r\nContent-Length: 00000000000000000000000001\r\nHost: a\r\n\r\na" + GET
    ),
    "no Host": b"POST /0 HTTP/1.0\r\nX: y\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "two spaces": b"PUT  /0  HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n\r\n" + GET,
    "an absolute target with an empty query": b"GET http://b:80/x? HTTP/1.1\r\nHost: a\r\n\r\n" + GET,
    "empty lines before a request": b"\r\n\r\n" + GET + b"\r\n" + GET,
    "a Host among the trailers": (
        b"POST /0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n" + GET
    ),
    "a chunk size with zeros that zttp refuses": (
        b"POST /0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000005\r\nhello\r\n0\r\n\r\n"
        + GET
    ),
    "one that both refuse": (
        b"POST /0 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n000000000000000000000\r\n\r\n" + GET
    ),
    "a quotation mark in a target": GET.replace(b"/1", b'/"') + GET,
    "a tunnel": b"CONNECT /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + GET,
}
"""Streams that showed something once, in l7lb or in how it is compared."""


@pytest.fixture(params=DRIVERS)
def between(request: pytest.FixtureRequest) -> Iterator[Between]:
    with Between(request.param) as made:
        yield made


def disagreements(between: Between, seeds: range) -> list[str]:
    found = []
    for seed in seeds:
        stream = Stream(seed)
        if said := between.play(stream.pieces):
            found.append(f"seed {seed}: {said}; {stream.data!r}")
    return found


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("bytewise", [False, True])
def test_what_was_found_once(between: Between, name: str, bytewise: bool) -> None:
    data = KEPT[name]
    pieces = [data[at : at + 1] for at in range(len(data))] if bytewise else [data]
    assert between.play(pieces) == ""


@pytest.mark.slow
def test_many(between: Between) -> None:
    """The same each time, so that who changed something knows that it was that."""
    assert disagreements(between, range(CASES)) == []
    assert CASES / 3 < between.passed < 2 * CASES  # neither is everything refused, nor is everything right


CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.uncompiled
def test_a_disagreement_is_found(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a byte of a body lost, say."""
    whole = EdgeProtocol.on_body
    monkeypatch.setattr(EdgeProtocol, "on_body", lambda edge, body: whole(edge, body[1:] or body))
    assert "h11 reads as request 0" in between.play([CHUNKS])
    assert "nothing was answered" in between.play(
        [CHUNKS.replace(b"Transfer-Encoding: chunked", b"Content-Length: 15")]
    )


@pytest.mark.parametrize("reader", [ByH11, ByZttp])
def test_each_of_both_is_heard(reader: type[Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    """Were one of them of another opinion, on what is sent to a backend, or on what a client has sent."""
    feed = reader.feed
    monkeypatch.setattr(reader, "feed", lambda self, data: feed(self, data.replace(b"5\r\nhello", b"4\r\nhell")))
    with Between("asgi") as between:
        assert "of what was sent to a backend" in between.play([CHUNKS])
    monkeypatch.setattr(reader, "feed", lambda self, data: feed(self, data.replace(b"POST /", b"PUT /")))
    with Between("asgi") as between:
        assert "of what was sent to a backend" in between.play([CHUNKS])
    monkeypatch.setattr(reader, "feed", lambda self, data: feed(self, data.replace(b"5;", b"4;")))
    with Between("asgi") as between:
        assert between.play([CHUNKS]) == ""
        assert f"{reader.__name__[2:].lower()} reads as request 0" in between.play([CHUNKS.replace(b"5", b"5;a")])


def test_before_such_zeros_nothing_is_passed_over(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = ByH11.feed
    monkeypatch.setattr(ByH11, "feed", lambda self, data: feed(self, data.replace(b"5;", b"4;")))
    assert "h11 reads as request 0" in between.play([CHUNKS.replace(b"5", b"5;a") + KEPT["one that both refuse"]])


@pytest.mark.long
def test_very_many(between: Between) -> None:
    """Others each time; CASES of each driver, beginning with SEED."""
    first, cases = int(os.environ.get("SEED", f"{time.time_ns() // 1000}")), int(os.environ.get("CASES", "100000"))
    print(f"\n{cases} streams from SEED={first}", flush=True)
    for start in range(first, first + cases, CASES):
        assert disagreements(between, range(start, min(start + CASES, first + cases))) == []
        print(f"{start + CASES - first} streams, {between.passed} requests that backends have read", flush=True)
