"""Who spends too fast is refused; and whose spending is whose."""

from typing import Any

import pytest

from app.domain.errors import RateLimited
from app.domain.exchange import Exchange
from app.engine.asgi import Message, Receive, Scope, Send
from app.engine.state.memory import MemoryState
from app.middleware.rate_limit import Limiter, RateLimit, key_of
from settings.limits import LimitSettings
from settings.units import Rate

SETTINGS = LimitSettings(kind="token_bucket", rate=Rate(2, 60.0))


class Site:
    """An app behind limiters, which counts what gets through."""

    def __init__(self, *limiters: Limiter) -> None:
        self.served = 0
        self.app: Any = self._serve
        for limiter in reversed(limiters):
            self.app = RateLimit(self.app, limiter=limiter)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.served += 1

    async def ask(self, client: str = "192.0.2.1", *, now: float = 100.0) -> Exchange:
        exchange = Exchange(now, client, "https", "GET", "example.org", "/")
        scope = {"type": "http", "headers": [], "lb.exchange": exchange}
        try:
            await self.app(scope, self._receive, self._send)
        except RateLimited as error:
            exchange.error = error
        return exchange

    async def _receive(self) -> Message:
        raise AssertionError

    async def _send(self, message: Message) -> None:
        raise AssertionError


def limiter(settings: LimitSettings = SETTINGS, state: MemoryState | None = None) -> Limiter:
    return Limiter("default", settings, state or MemoryState())


async def test_the_third_of_two_is_refused() -> None:
    """With how long to wait, and before it costs anything more."""
    site = Site(limiter())

    asked = [await site.ask() for _ in range(3)]

    assert [e.error is None for e in asked] == [True, True, False]
    assert isinstance(asked[2].error, RateLimited)
    assert asked[2].error.retry_after == 30.0
    assert site.served == 2


async def test_the_decision_is_on_the_exchange() -> None:
    """Served or refused: the response says what is left."""
    site = Site(limiter())

    limits = [(await site.ask()).limit for _ in range(3)]

    assert [(d.allowed, d.remaining) for d in limits if d] == [(True, 1), (True, 0), (False, 0)]


async def test_clients_do_not_spend_each_others_tokens() -> None:
    """But one IPv6 network is one client."""
    site = Site(limiter())
    clients = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"]

    assert [(await site.ask(client)).error is None for client in clients] == [True, True, True, True, False, True]


async def test_a_dry_run_counts_and_refuses_nobody() -> None:
    """The exchange says that it would have been refused."""
    dry = limiter(SETTINGS.model_copy(update={"dry_run": True}))
    site = Site(dry)

    asked = [await site.ask() for _ in range(5)]

    assert site.served == 5
    assert [e.limit is not None and e.limit.allowed for e in asked] == [True, True, False, False, False]
    assert dry.sample() == (("default", "true"), 3)


async def test_refusals_are_counted() -> None:
    """For `l7lb_rate_limited_total`."""
    one = limiter()
    site = Site(one)
    for _ in range(5):
        await site.ask()

    assert one.sample() == (("default", "false"), 3)


async def test_a_named_limiter_is_one_however_many_groups_use_it() -> None:
    """Asked twice on the way, it is spent twice."""
    shared = limiter()

    assert [(await Site(shared).ask()).error is None for _ in range(3)] == [True, True, False]
    assert (await Site(shared, shared).ask(now=160.0)).error is None
    assert (await Site(shared).ask(now=160.0)).error is not None


def test_a_limiter_that_is_off_is_not_built() -> None:
    """Nor is its middleware."""
    with pytest.raises(ValueError, match="off"):
        limiter(LimitSettings(kind="none"))


HEADERS = [(b"x-key", b"k1"), (b"accept", b"*/*"), (b"x-key", b"k2")]


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (["client"], "192.0.2.1"),
        (["group"], "web"),
        (["host"], "example.org"),
        (["header:X-Key"], "13eae63da34c9a5dec1997cdb43aea56"),
        (["header:authorization"], "cae66941d9efbd404e4d88758ea67670"),
        (["client", "group", "header:accept"], "192.0.2.1\0web\x0060af4ac803379bcbca0bdd055b954cf9"),
    ],
)
def test_a_key_is_made_of_its_parts(parts: list[str], key: str) -> None:
    """NUL between them: no part can hold one, so no two requests get one key by accident. Of fields, which may be
    secrets, there are digests: keys stand in Redis and on disk."""
    exchange = Exchange(1.0, "192.0.2.1", "https", "GET", "Example.ORG.:8443", "/")
    exchange.group = "web"

    assert key_of(parts, 64)(exchange, HEADERS) == key


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("a.org", "a.org"),
        ("A.org:443", "a.org"),
        ("a.org.", "a.org"),
        ("[2001:DB8::1]:8443", "[2001:db8::1]"),
        ("[::1]", "[::1]"),
    ],
)
def test_a_host_has_one_bucket_however_it_is_spelt(host: str, key: str) -> None:
    """Without port, in lower case."""
    assert key_of(["host"], 64)(Exchange(1.0, "c", "https", "GET", host, "/"), []) == key


def test_long_keys_are_kept_short_and_apart() -> None:
    """A field of 64 KiB is not 64 KiB of table; digests are the same in every worker."""
    exchange = Exchange(1.0, "c", "https", "GET", "h", "/")
    key = key_of(["header:k"], 64)

    long, other = (key(exchange, [(b"k", b"x" * 60_000 + end)]) for end in (b"1", b"2"))

    assert long != other
    assert len(long) == 32
    assert key(exchange, [(b"k", b"x" * 65)]) == "e7d347aafb04b4783db0f88621284c94"


@pytest.mark.parametrize("part", ["clients", "header:", ""])
def test_an_unknown_part_of_a_key_is_refused(part: str) -> None:
    """When it is built, not at the first request."""
    with pytest.raises(ValueError, match="client, group, host and header"):
        key_of([part], 64)
