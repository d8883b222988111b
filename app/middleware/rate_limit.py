"""Refuses a client that spends faster than its rate, before it costs anything more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from app.domain.bucket import Decision, Rule, network, rule_of
from app.domain.errors import RateLimited
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.engine.asgi import ASGIApp, Receive, Scope, Send
from app.engine.state import RemoteState, State
from settings.limits import LimitSettings

Key = Callable[[Exchange, Fields], str]
Ask = Callable[[str, str, Rule, float], Awaitable[Decision]]

_LONGEST: Final = 64
"""Characters of a key as it came; a longer one is kept as a digest, so that long fields do not fill the memory."""


def rate_limited(app: ASGIApp, limiter: Limiter) -> ASGIApp:
    """*app* with the layer that asks *limiter* around it."""
    return RateLimit(app, limiter=limiter) if limiter.ask is None else RemoteRateLimit(app, limiter=limiter)


class RateLimit:
    """Asks *limiter* about every request. Sets `exchange.limit`; raises RateLimited."""

    def __init__(self, app: ASGIApp, *, limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Spend one token, and go on if there was one."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Spend one token."""
        limiter = self.limiter
        # The exchange's own start is the time: no clock is asked twice a request.
        decision = limiter.take(limiter.name, limiter.key(exchange, headers), limiter.rule, exchange.started)
        assert decision is not None  # its state has it at hand
        exchange.limit = decision
        if not decision.allowed:
            limiter.refuse(decision)


class RemoteRateLimit:
    """The same for a *limiter* whose state may have to be waited for; so it has no synchronous way in."""

    def __init__(self, app: ASGIApp, *, limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Spend one token, and go on if there was one."""
        limiter, exchange = self.limiter, scope["lb.exchange"]
        key, now = limiter.key(exchange, scope["headers"]), exchange.started
        decision = limiter.take(limiter.name, key, limiter.rule, now)
        if decision is None:
            assert limiter.ask is not None
            decision = await limiter.ask(limiter.name, key, limiter.rule, now)
        exchange.limit = decision
        if not decision.allowed:
            limiter.refuse(decision)
        await self.app(scope, receive, send)


class Limiter:
    """One named limiter: however many groups use it, it is one set of buckets.

    Attributes:
        name: in the fields, the log and the metrics.

        rule: rate and burst.

        key: tells what has a bucket of its own.

        take: of the state; None of it means that `ask` has to be awaited.

        ask: of a state that may have to be waited for; None for another.

        refused: how many requests found no token; on a dry run they were let through.

    Raises:
        ValueError: for kind none, which needs no limiter, and for an unknown part of a key.
    """

    __slots__ = ("ask", "key", "name", "refused", "rule", "take")

    def __init__(self, name: str, settings: LimitSettings, state: State | RemoteState) -> None:
        self.name = name
        self.rule = rule_of(name, settings)
        self.key = key_of(settings.key, settings.ipv6_prefix)
        self.take: Callable[[str, str, Rule, float], Decision | None] = state.take
        self.ask: Ask | None = getattr(state, "ask", None)
        self.refused = 0

    def refuse(self, decision: Decision) -> None:
        """Count a request without a token. Raises RateLimited, but not on a dry run."""
        self.refused += 1
        if not self.rule.dry_run:
            raise RateLimited(f"limiter {self.name}", retry_after=decision.retry_after)

    def sample(self) -> tuple[tuple[str, str], int]:
        """Name and dry run as labels, and `refused`: what `l7lb_rate_limited_total` says."""
        return (self.name, "true" if self.rule.dry_run else "false"), self.refused


def key_of(parts: Sequence[str], ipv6_prefix: int) -> Key:
    """The function that tells a request's key: client, group, host, `header:<name>`, or several joined by NUL."""
    functions = tuple(_part(part, ipv6_prefix) for part in parts)
    if len(functions) == 1:
        return functions[0]
    return lambda exchange, headers: "\0".join([part(exchange, headers) for part in functions])


def _part(part: str, ipv6_prefix: int) -> Key:
    kind, _, name = part.partition(":")
    if kind == "header" and name:
        return partial(_header, name.lower().encode("ascii"))
    if part == "client":
        return partial(_client, ipv6_prefix)
    if part == "group":
        return _group
    if part == "host":
        return _host
    raise ValueError(f"a limiter's key is made of client, group, host and header:<name>, not {part!r}")


def _client(ipv6_prefix: int, exchange: Exchange, _: Fields) -> str:
    client = exchange.client
    return network(client, ipv6_prefix) if ":" in client else client


def _group(exchange: Exchange, _: Fields) -> str:
    return exchange.group


def _host(exchange: Exchange, _: Fields) -> str:
    """The host in one spelling, without its port: else each spelling would be another bucket."""
    host = exchange.host.lower()
    colon = host.rfind(":")
    if colon > host.rfind("]"):
        host = host[:colon]
    return _short(host.removesuffix("."))


def _header(name: bytes, _: Exchange, headers: Fields) -> str:
    """A digest of all values of the field, which may be a secret; the requests without it share a bucket."""
    return _digest(b",".join([value for field, value in headers if field == name]))


def _short(key: str) -> str:
    return key if len(key) <= _LONGEST else _digest(key.encode("latin-1", "replace"))


def _digest(key: bytes) -> str:
    return blake2b(key, digest_size=16).hexdigest()
