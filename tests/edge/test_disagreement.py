"""What l7lb lets through is what h11 reads in the same bytes, and a backend that reads by h11 sees just that.

A request whose end two parsers see in different places is how one client's bytes become part of another's request.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator

import pytest

from app.edge.protocol import EdgeProtocol
from tests.support.between import Between
from tests.support.streams import Stream

CASES = 20_000
"""Of each driver, each time: a minute for both."""
DRIVERS = ("asgi", "direct")

GET = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
KEPT = {
    "a length of many digits": (
        b"POST /0 HTTP/1.1\r\nContent-Length: 00000000000000000000000001\r\nHost: a\r\n\r\na" + GET
    ),
    "no Host": b"POST /0 HTTP/1.0\r\nX: y\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "two spaces": b"PUT  /0  HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n\r\n" + GET,
    "empty lines before a request": b"\r\n\r\n" + GET + b"\r\n" + GET,
    "a tunnel": b"CONNECT /0 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + GET,
}
"""Streams that showed something once, in l7lb or in how it is compared."""


@pytest.fixture(params=DRIVERS)
async def between(request: pytest.FixtureRequest) -> AsyncIterator[Between]:
    made = Between(request.param)
    yield made
    await made.aclose()


async def disagreements(between: Between, seeds: range) -> list[str]:
    found = []
    for seed in seeds:
        stream = Stream(seed)
        if said := await between.play(stream.pieces):
            found.append(f"seed {seed}: {said}; {stream.data!r}")
    return found


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_what_was_found_once(between: Between, name: str, bytewise: bool) -> None:
    data = KEPT[name]
    pieces = [data[at : at + 1] for at in range(len(data))] if bytewise else [data]
    assert await between.play(pieces) == ""


@pytest.mark.slow
async def test_many(between: Between) -> None:
    """The same each time, so that who changed something knows that it was that."""
    assert await disagreements(between, range(CASES)) == []
    assert CASES / 3 < between.passed < 2 * CASES  # neither is everything refused, nor is everything right


@pytest.mark.uncompiled
async def test_a_disagreement_is_found(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a byte of a body lost, say."""
    whole = EdgeProtocol.on_body
    monkeypatch.setattr(EdgeProtocol, "on_body", lambda edge, body: whole(edge, body[1:] or body))
    chunks = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert "a backend Read" in await between.play([chunks])
    assert "nothing was answered" in await between.play(
        [chunks.replace(b"Transfer-Encoding: chunked", b"Content-Length: 15")]
    )


@pytest.mark.long
async def test_very_many(between: Between) -> None:
    """Others each time; CASES of each driver, beginning with SEED."""
    first, cases = int(os.environ.get("SEED", f"{time.time_ns() // 1000}")), int(os.environ.get("CASES", "100000"))
    print(f"\n{cases} streams from SEED={first}", flush=True)
    assert await disagreements(between, range(first, first + cases)) == []
