"""What answers for a group."""

from random import Random
from typing import Any

import pytest

from app.domain.errors import BadRequest, NoBackend, RateLimited
from app.domain.exchange import Exchange
from app.engine.asgi import Message, Receive, Scope, Send
from app.engine.mirror import Copies, Mirror
from app.engine.state.memory import MemoryState
from app.groups.answers import FixedResponse, Redirect
from app.groups.authorities import Authorities
from app.groups.group import build_group, problems
from app.groups.stores import Stores
from app.groups.traffic import Fallback, Split
from app.middleware.access import Access
from app.middleware.api_key import ApiKey
from app.middleware.basic_auth import BasicAuth
from app.middleware.cache import Cache
from app.middleware.compression import Compression
from app.middleware.cors import Cors
from app.middleware.error_pages import ErrorPages
from app.middleware.fault import Fault
from app.middleware.forward_auth import ForwardAuth
from app.middleware.in_flight import InFlight
from app.middleware.jwt import Jwt
from app.middleware.rate_limit import Limiter, RateLimit
from settings.groups import GroupSettings, RewriteSettings
from settings.limits import LimitSettings
from settings.units import Rate

APR1 = "$apr1$4tCqzBMI$zuEcKgvRqhFhTdhCQQ2Cm0"


async def forwarder(scope: Scope, receive: Receive, send: Send) -> None:
    scope["seen"] = True


def build(limiters: dict[str, Limiter] | None = None, factory: Any = lambda *_: forwarder, **settings: Any) -> Any:
    return build_group(
        "g",
        GroupSettings(**settings),
        forwarder_factory=factory,
        limiters=limiters or {},
        copies=Copies(),
        stores=Stores({}),
        authorities=Authorities(),
        rng=Random(1),
    )


async def ask(
    app: Any, raw_path: bytes = b"/", query: bytes = b"", method: str = "GET", host: str = "example.org"
) -> list[Message]:
    sent: list[Message] = []
    exchange = Exchange(0.0, "192.0.2.1", "http", method, host, raw_path.decode("latin-1"))
    scope = {"type": "http", "method": method, "raw_path": raw_path, "query_string": query, "headers": []}

    async def receive() -> Message:
        raise AssertionError("nobody asks for the body")

    async def send(message: Message) -> None:
        sent.append(message)

    await app({**scope, "lb.exchange": exchange}, receive, send)
    if sent:
        assert sent[0]["status"] == exchange.status
    return sent


def values(message: Message, name: bytes) -> list[bytes]:
    return [value for key, value in message["headers"] if key == name]


def test_a_group_with_a_pool_forwards_and_has_nothing_around_it() -> None:
    """What is off is not in the stack; the forwarder is made for the pool, by the group's settings."""
    made: list[tuple[str, GroupSettings]] = []

    def factory(pool: str, given: GroupSettings) -> Any:
        made.append((pool, given))
        return forwarder

    assert forwarder is build(factory=factory, pool="p", limit="off")
    assert [("p", GroupSettings(pool="p", limit="off"))] == made


def test_layers_stand_in_their_order() -> None:
    """Who is refused costs no place, who is held up has one, and what is not forwarded is not copied.

    Networks before who somebody is, preflights before that, the dearest question last, and limits after it.
    """
    limiter = Limiter("few", LimitSettings(kind="token_bucket", rate=Rate(1, 60.0)), MemoryState())
    app = build(
        {"few": limiter},
        split={"pools": "a=1,b=1"},
        fallback=["c"],
        mirror="d",
        cache=True,
        fault={"abort": 503},
        max_in_flight_per_client=1,
        limit="few",
        compression={},
        forward_auth={"pool": "e"},
        jwt={"algorithms": "HS256", "secret": "s" * 32, "header": "x-token"},
        api_key={"keys": {"alice": "k" * 16}},
        basic_auth={"users": {"alice": APR1}},
        cors={"origins": "*"},
        access={"deny": "10.0.0.0/8"},
        errors={"texts": {"5xx": "oh"}},
    )

    stack = []
    while hasattr(app, "app"):
        stack.append(type(app))
        app = app.app

    asking = [ErrorPages, Access, Cors, ApiKey, BasicAuth, Jwt, ForwardAuth]
    assert [*asking, RateLimit, InFlight, Fault, Cache, Mirror, Compression] == stack
    assert isinstance(app, Fallback)
    assert isinstance(app._apps[0], Split)


def test_each_pool_has_a_forwarder() -> None:
    """But not one that has no weight."""
    made: list[str] = []

    def factory(pool: str, _: GroupSettings) -> Any:
        made.append(pool)
        return forwarder

    build(factory=factory, split={"pools": "a=1,b=0,c=2"}, fallback=["d", "e"], mirror="f")

    assert made == ["a", "c", "d", "e", "f"]


async def test_a_group_may_answer_by_itself_when_its_pool_has_no_backend() -> None:
    """Without other pools, too; its fields are changed as its other answers' are."""

    async def down(scope: Scope, receive: Receive, send: Send) -> None:
        raise NoBackend("p")

    start, body = await ask(
        build(
            factory=lambda *_: down,
            pool="p",
            fallback_respond={"status": 503, "body": "back soon"},
            response_headers={"set": {"Retry-After": "60"}},
        )
    )

    assert (start["status"], body["body"], values(start, b"retry-after")) == (503, b"back soon", [b"60"])


async def test_answers_of_its_own_can_be_disturbed_too() -> None:
    """The fault is the group's, whatever it does."""
    assert (await ask(build(respond={"body": "x"}, fault={"abort": 418})))[0]["status"] == 418


async def test_a_group_with_a_limit_asks_the_named_limiter() -> None:
    limiter = Limiter("few", LimitSettings(kind="token_bucket", rate=Rate(1, 60.0)), MemoryState())
    one, two = (
        build({"few": limiter}, pool="p", limit="few"),
        build({"few": limiter}, respond={"body": "x"}, limit="few"),
    )
    assert isinstance(one, RateLimit)

    await ask(one)
    with pytest.raises(RateLimited):
        await ask(two)


@pytest.mark.parametrize(
    ("settings", "location"),
    [
        ({"redirect": {"to": "https://{host}{path}{query}"}}, b"https://example.org/old/a%20b?x=1"),
        ({"redirect": {"to": "https://new.example{path}"}, "strip_prefix": True}, b"https://new.example/a%20b"),
    ],
)
async def test_a_redirect_leads_on(settings: dict[str, Any], location: bytes) -> None:
    app = build(path="/old", **settings)
    assert isinstance(app, Redirect)

    start, body = await ask(app, b"/old/a%20b", b"x=1")

    assert start["status"] == 308
    assert [location] == values(start, b"location")
    assert body["body"] == b""


async def test_a_redirect_to_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(BadRequest):
        await ask(build(redirect={"to": "https://{host}/"}), host="a\r\nb")


async def test_a_fixed_response_is_given_whole() -> None:
    app = build(respond={"status": 403, "body": "nein, ü", "content_type": "text/x"})
    assert isinstance(app, FixedResponse)

    start, body = await ask(app)

    assert (403, "nein, ü".encode()) == (start["status"], body["body"])
    assert values(start, b"content-type") == [b"text/x"]


async def test_a_response_without_a_body_has_no_type() -> None:
    start, body = await ask(build(respond={"status": 204}))

    assert (start["status"], body["body"], values(start, b"content-type")) == (204, b"", [])


@pytest.mark.parametrize("answer", [{"redirect": {"to": "/x"}}, {"respond": {"body": "x"}}])
async def test_the_fields_of_its_own_answers_are_changed_too(answer: dict[str, Any]) -> None:
    start, _ = await ask(build(**answer, response_headers={"set": {"Cache-Control": "no-store"}}))

    assert values(start, b"cache-control") == [b"no-store"]


def test_groups_that_can_be_built_have_no_problems() -> None:
    groups = {"a": GroupSettings(pool="p"), "b": GroupSettings(redirect={"to": "/x"}), "c": GroupSettings(respond={})}

    assert list(problems(groups)) == []


def test_every_problem_is_found_and_has_its_place() -> None:
    groups = {
        "a": GroupSettings(
            pool="p",
            path="/%2e%2e",
            rewrite=RewriteSettings(pattern="x", to="/$1"),
            request_headers={"remove": ["Host"]},
            response_headers={"add": {"Host": "x"}},
        ),
        "b": GroupSettings(redirect={"to": "//evil.example"}),
    }

    assert [path for path, _ in problems(groups)] == [
        ("groups", "a", "path"),
        ("groups", "a", "rewrite", "to"),
        ("groups", "a", "request_headers"),
        ("groups", "a", "response_headers"),
        ("groups", "b", "redirect", "to"),
    ]
