"""Copies go their own way: the real request is never slower, never fails, and is never changed for them."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from random import Random
from typing import Any

import pytest

from app.domain.attempt import Attempt
from app.domain.errors import BodyTooLarge, ConnectFailed
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import Message, Receive, Scope, Send, connection_of
from app.engine.mirror import Copies, Mirror, length_of
from settings.traffic import MirrorSettings
from tests.support.clock import Clock

CHUNKED = [(b"transfer-encoding", b"chunked")]


def sized(length: int) -> Fields:
    return [(b"content-length", b"%d" % length)]


class Shadow:
    """Stands for the forwarder of the other pool: reads the copy's body, and then does what it is told."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        edge = connection_of(scope, receive)
        assert (edge.ready, edge.concurrent) == (True, True)
        edge.watch(lambda: None)
        message = await receive()
        assert not message["more_body"]
        self.bodies.append(message["body"])
        assert (await receive())["type"] == "http.disconnect"
        await self.gate.wait()
        if self.error is not None:
            edge.abort()
            raise self.error
        await send({"type": "http.response.start", "status": 500, "headers": []})


class Site:
    """An app that reads its request body and answers, mirrored."""

    def __init__(self, *, seed: int = 1, **settings: Any) -> None:
        self.shadow = Shadow()
        self.copies = Copies()
        self.bodies: list[bytes] = []
        self.reads = True
        self.error: Exception | None = None
        self.clock = Clock()
        self.mirror = Mirror(
            self._serve,
            group="web",
            settings=MirrorSettings(pool="shadow", **settings),
            forwarder=self.shadow,
            copies=self.copies,
            rng=Random(seed),
            clock=self.clock,
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", self.reads and bool(scope["headers"])
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
        self.bodies.append(body)
        if self.error is not None:
            raise self.error
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, headers: Fields | None = None, *pieces: bytes, whole: bool = True) -> list[int]:
        """The statuses that the client got. Unless it is *whole* the client goes away behind the *pieces*."""
        statuses: list[int] = []
        messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        if whole and messages:
            messages[-1].pop("more_body")  # ASGI: False when it is not there
        coming = iter([*messages, {"type": "http.disconnect"}])

        async def receive() -> Message:
            return next(coming)

        async def send(message: Message) -> None:
            statuses.append(message["status"])

        exchange = Exchange(0.0, "192.0.2.9", "https", "POST" if headers else "GET", "example.org", "/x%20y")
        exchange.client, exchange.group = "192.0.2.1", "web"
        scope = {"type": "http", "method": exchange.method, "raw_path": b"/x%20y", "query_string": b"q=1"}
        await self.mirror(scope | {"headers": headers or [], "lb.exchange": exchange}, receive, send)
        return statuses

    async def settle(self) -> dict[str, int]:
        """How the copies ended, once all have."""
        while self.copies._tasks:
            await asyncio.sleep(0)
        return self.counts()

    def counts(self) -> dict[str, int]:
        """How the copies ended so far."""
        return {outcome: int(n) for (_, _, outcome), n in self.copies.sample()}


async def test_a_copy_asks_for_the_same() -> None:
    """With the same target and fields, on a record of its own whose time begins now."""
    site = Site()
    headers = [(b"host", b"example.org"), (b"x-user", b"7")]
    site.reads = False

    assert await site.ask(headers) == [200]
    assert await site.settle() == {"answered": 1}

    (scope,) = site.shadow.scopes
    exchange: Exchange = scope["lb.exchange"]
    assert (scope["headers"], scope["query_string"]) == (headers, b"q=1")
    assert connection_of(scope, None).target == b"/x%20y?q=1"  # type: ignore[arg-type]
    assert (exchange.method, exchange.host, exchange.path) == ("POST", "example.org", "/x%20y")
    assert (exchange.peer, exchange.client, exchange.scheme) == ("192.0.2.9", "192.0.2.1", "https")
    assert (exchange.group, exchange.started) == ("web", 1000.0)
    assert site.copies.sample() == ((("web", "shadow", "answered"), 1),)


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ([], []),
        (sized(5), [b"hello"]),
        (sized(5), [b"he", b"", b"llo"]),
        (sized(5), [b"hello", b""]),
        (CHUNKED, [b"he", b"llo"]),
        (CHUNKED, [b""]),
    ],
)
async def test_the_body_is_copied_as_it_goes_by(headers: Fields, pieces: list[bytes]) -> None:
    """However it comes; both get all of it."""
    site = Site()

    assert await site.ask(headers, *pieces) == [200]
    assert await site.settle() == {"answered": 1}

    assert site.bodies == site.shadow.bodies == [b"".join(pieces)]


async def test_a_message_without_a_body_key_is_an_empty_piece() -> None:
    """ASGI lets it be left out; `http.disconnect` goes through as it is."""
    site = Site()
    seen: list[Message] = []
    coming = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(coming)

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])

    site.mirror.app = reads
    exchange = Exchange(0.0, "c", "http", "POST", "h", "/")
    scope = {"raw_path": b"/", "query_string": b"", "headers": CHUNKED, "lb.exchange": exchange}
    await site.mirror(scope, receive, None)  # type: ignore[arg-type]

    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert await site.settle() == {"answered": 1}


@pytest.mark.parametrize(
    ("headers", "pieces", "copied"),
    [
        (sized(8), [b"x" * 8], True),
        (sized(9), [b"x" * 9], False),
        (CHUNKED, [b"x" * 4, b"x" * 4], True),
        (CHUNKED, [b"x" * 4, b"x" * 4, b"x", b"x"], False),
    ],
)
async def test_a_long_body_is_not_copied(headers: Fields, pieces: list[bytes], copied: bool) -> None:
    """Nor kept: what was collected is let go as soon as it is too much. The real request has all of it."""
    site = Site(max_body=8)

    assert await site.ask(headers, *pieces) == [200]
    assert {"answered" if copied else "too_long": 1} == await site.settle()

    assert site.bodies == [b"".join(pieces)]
    assert len(site.shadow.bodies) == copied
    assert site.mirror._flying == 0


async def test_half_a_body_is_not_copied() -> None:
    """The client went away, or the backend answered before it had read it all."""
    site = Site()

    await site.ask(sized(9), b"half", whole=False)
    site.reads = False
    await site.ask(sized(4), b"gone")

    assert await site.settle() == {"incomplete": 2}
    assert (site.shadow.bodies, site.mirror._flying) == ([], 0)


@pytest.mark.parametrize("error", [BodyTooLarge("real"), ZeroDivisionError("real")])
async def test_an_error_of_the_real_request_goes_on(error: Exception) -> None:
    """Its copy, made by then, goes its way."""
    site = Site()
    site.error = error

    with pytest.raises(type(error), match="real"):
        await site.ask(sized(4), b"body")

    assert await site.settle() == {"answered": 1}


async def test_a_mirror_that_never_answers_holds_nobody_up() -> None:
    """nginx's subrequest keeps the client's connection busy until it ends; a copy is nobody's."""
    site = Site()
    site.shadow.gate.clear()

    assert [await site.ask(), await site.ask(sized(1), b"x"), await site.ask()] == [[200]] * 3

    assert site.counts() == {}
    site.shadow.gate.set()
    assert await site.settle() == {"answered": 3}


async def test_there_are_never_more_copies_than_that() -> None:
    """Those that are being collected count, so that the memory is bounded; who ends makes room."""
    site = Site(max_in_flight=2)
    site.shadow.gate.clear()
    collecting = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await collecting.wait()

    served = site.mirror.app
    site.mirror.app = slow
    upload = asyncio.create_task(site.ask(sized(1), b"x"))
    await asyncio.sleep(0)
    site.mirror.app = served
    for _ in range(5):
        assert await site.ask() == [200]

    assert site.counts() == {"full": 4}
    collecting.set()
    await upload
    site.shadow.gate.set()
    assert await site.settle() == {"full": 4, "incomplete": 1, "answered": 1}
    await site.ask()
    assert (await site.settle())["answered"] == 2


async def test_a_share_of_the_requests_is_copied() -> None:
    """All are served. Of 400, five standard deviations of a binomial around a quarter; none for 0."""
    quarter, none = Site(share=0.25, max_in_flight=400), Site(share=0.0)

    for _ in range(400):
        await quarter.ask()
        await none.ask()

    assert 56 <= (await quarter.settle())["answered"] <= 144
    assert await none.settle() == {}
    assert len(quarter.bodies) == len(none.bodies) == 400


async def test_a_copy_that_fails_is_counted_and_that_is_all(caplog: pytest.LogCaptureFixture) -> None:
    """A defect is in the log beside that; the client sees neither."""
    site = Site()
    site.shadow.error = ConnectFailed("no")
    assert await site.ask() == [200]
    assert await site.settle() == {"failed": 1}
    assert caplog.records == []

    site.shadow.error = ZeroDivisionError()
    assert await site.ask() == [200]
    assert await site.settle() == {"failed": 2}
    assert "defect" in caplog.text


async def test_failed_copies_leave_nothing_to_the_collector() -> None:
    """A pool of copies that is down fails for every request there is."""
    site = Site()

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["lb.exchange"]
        exchange.attempts = [Attempt(None, 1.0), Attempt(None, 2.0)]  # type: ignore[arg-type]
        try:
            raise ConnectFailed("no") from OSError()
        except ConnectFailed as error:
            exchange.attempts[0].error = error
            raise

    site.mirror._forwarder = fails
    await site.ask()
    await site.settle()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await site.ask()
            await site.settle()
        assert gc.collect() < 50
    finally:
        gc.enable()


async def test_at_the_end_copies_are_cut() -> None:
    """Nobody waits for them, and none is left behind."""
    site = Site()
    site.shadow.gate.clear()
    await site.ask()
    await asyncio.sleep(0)
    await site.ask()  # one that has begun, and one that has not

    await site.copies.stop()

    assert site.copies._tasks == set()
    await site.copies.stop()


@pytest.mark.parametrize(
    ("headers", "length"),
    [([], 0), ([(b"host", b"h")], 0), (sized(0), 0), (sized(7), 7), (CHUNKED, -1), ([*sized(7), *CHUNKED], -1)],
)
def test_the_length_of_a_body_is_in_the_fields(headers: Fields, length: int) -> None:
    """RFC 9112 section 6.3: Transfer-Encoding overrides Content-Length."""
    assert length_of(headers) == length


def test_nothing_was_counted_that_was_not_asked_for() -> None:
    assert Copies().counts == Counter()
