"""Whatever bytes come from either side: an answer or the end, in time, and never a fault of ours."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from tests.support.backend import Backend, Connection, reply
from tests.support.raw import chunked, request
from tests.support.server import Balancer, pool

REQUESTS = [
    request("/a/b?c=d", "Accept: */*", "Cookie: a=1"),
    request("/", "Content-Length: 5", method="POST") + b"hello",
    request("/", "Transfer-Encoding: chunked", method="POST") + chunked(b"hello", b"world", trailers=b"X-A: 1\r\n"),
    request("http://lb.test/x", "Expect: 100-continue", method="PUT", body=b"x"),
    request("/", "Connection: Upgrade", "Upgrade: h2c") + request("/second"),
    request("/", version="1.0"),
]
RESPONSES = [
    reply(b"hello", "X-A: 1", "Set-Cookie: a=1"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello", b"world", trailers=b"X-A: 1\r\n"),
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
]
SPICE = [
    *[bytes([byte]) for byte in b"\r\n\x00 \t:\xff%0"],
    b"\r\n",
    b"-1",
    b"chunked",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: x\r\n",
    b"99999999999999999999",
    b"A" * 70_000,
]
CASES = 600


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    return {
        **pool("main", shared, timeouts__response="200ms", timeouts__idle="200ms"),
        "LB_EDGE__HEADER_TIMEOUT": "200ms",
        "LB_EDGE__BODY_TIMEOUT": "200ms",
        "LB_EDGE__KEEP_ALIVE": "200ms",
    }


def spoilt(text: bytes, rng: random.Random) -> bytes:
    """*text* with up to four mistakes."""
    for _ in range(rng.randint(1, 4)):
        at, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(4):
            case 0:
                text = text[:at] + rng.choice(SPICE) + text[at:]
            case 1:
                text = text[:at] + text[min(end, at + 10) :]
            case 2:
                text = text[:at] + rng.randbytes(rng.randint(1, 4)) + text[at + 1 :]
            case 3:
                text = text[:end] + text[at:]
    return text


async def exchange(port: int, data: bytes) -> bytes:
    """Everything that comes back until the balancer closes; TimeoutError when it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(-1), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def exchanges(port: int, cases: list[bytes]) -> list[bytes]:
    """All of them, thirty at a time; one that is stuck is told by its bytes."""
    answers: list[bytes] = []
    for some in (cases[start : start + 30] for start in range(0, len(cases), 30)):
        found = await asyncio.gather(*(exchange(port, case) for case in some), return_exceptions=True)
        stuck = [case for case, answer in zip(some, found, strict=True) if isinstance(answer, BaseException)]
        assert stuck == []
        answers += [answer for answer in found if isinstance(answer, bytes)]
    return answers


def statuses(answers: list[bytes]) -> Counter[bytes]:
    return Counter(answer[9:12] for answer in answers)


def test_noise_from_clients(balancer: Balancer, backend: Backend) -> None:
    """Six hundred spoilt requests: each ends, none with a 500, and the next good one is served."""
    rng = random.Random(7)
    cases = [spoilt(rng.choice(REQUESTS), rng) for _ in range(CASES)]

    found = statuses(asyncio.run(exchanges(balancer.port, cases)))

    assert b"500" not in found
    assert found[b"200"] > 20, "some of them were still good"
    assert found[b"400"] > 100, "many of them were not"
    assert balancer.get("/").status == 200


def test_noise_from_backends(balancer: Balancer, backend: Backend) -> None:
    """Six hundred spoilt responses: the client gets a response, an error or a cut, and no fault of ours."""
    rng = random.Random(7)

    async def noisy(c: Connection) -> None:
        await c.head()
        await c.send(spoilt(rng.choice(RESPONSES), rng))
        if rng.random() < 0.5:
            await asyncio.sleep(1)

    backend.play(noisy)

    found = statuses(asyncio.run(exchanges(balancer.port, [request("/", "Connection: close")] * CASES)))

    assert b"500" not in found
    assert found[b"502"] > 100
    assert balancer.get("/-/live").status == 200


@pytest.mark.parametrize("size", [1, 7, 100, 5000, 100_000])
def test_pure_noise(balancer: Balancer, backend: Backend, size: int) -> None:
    rng = random.Random(size)
    cases = [rng.randbytes(size) for _ in range(30)]

    found = statuses(asyncio.run(exchanges(balancer.port, cases)))

    assert set(found) <= {b"", b"400", b"408", b"431", b"501"}
    assert backend.requests == []
