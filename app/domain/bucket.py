"""Whether a client may spend one more token, and what it is told about it.

Kept for each key is one number, 0 for a key never seen, which a rule reads and replaces. The smaller it is, the
sooner its bucket is full; a bucket is full, and may be forgotten, once its number is not above the rule's `mark`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from ipaddress import IPv6Address
from math import ceil, floor
from typing import Final

from app.domain.headers import Field
from settings.limits import LimitSettings
from settings.units import Rate

SLACK: Final = 0.001
"""Tokens: what rounding may be off by. Never adds up, so no window ever lets a whole token more through."""
IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that one customer of a provider has, and with it as many addresses as it likes."""


class Decision:
    """What a limiter says to one request.

    Attributes:
        rule: whose word it is.

        allowed: whether there was a token. A rule on its dry run says so too, and is not obeyed.

        remaining: whole tokens left.

        reset: seconds until the bucket is full again.

        retry_after: seconds until there is a token; 0.0 when allowed.
    """

    __slots__ = ("allowed", "remaining", "reset", "retry_after", "rule")

    def __init__(self, rule: Rule, allowed: bool, remaining: int, reset: float, retry_after: float) -> None:
        self.rule = rule
        self.allowed = allowed
        self.remaining = remaining
        self.reset = reset
        self.retry_after = retry_after

    @property
    def limiter(self) -> str:
        """Name of the limiter."""
        return self.rule.name

    @property
    def quota(self) -> int:
        """Tokens in a full bucket."""
        return self.rule.quota

    @property
    def window(self) -> float:
        """Seconds in which an empty bucket fills."""
        return self.rule.window

    def fields(self) -> list[Field]:
        """`RateLimit-Policy` and `RateLimit` for the response; none for a dry run, which the client is not to see.

        Source: draft-ietf-httpapi-ratelimit-headers-11, an Internet-Draft still.
        """
        rule = self.rule
        if rule.dry_run:
            return []
        return [rule.policy, (b"ratelimit", b"%b;r=%d;t=%d" % (rule.item, self.remaining, _whole(self.reset)))]


class Rule(ABC):
    """How fast the keys of one limiter may spend.

    Attributes:
        name: of the limiter.

        quota: tokens in a full bucket.

        window: seconds in which an empty bucket fills.

        dry_run: count, refuse nobody.

        max_keys: how many buckets are kept.

        policy: the `RateLimit-Policy` field, prepared.
    """

    __slots__ = ("dry_run", "item", "max_keys", "name", "policy", "quota", "window")

    def __init__(self, name: str, quota: int, window: float, *, dry_run: bool = False, max_keys: int = 100_000) -> None:
        self.name = name
        self.quota = quota
        self.window = window
        self.dry_run = dry_run
        self.max_keys = max_keys
        self.item = b'"%b"' % name.encode("ascii")
        self.policy: Field = (b"ratelimit-policy", b"%b;q=%d;w=%d" % (self.item, quota, _whole(window)))

    @abstractmethod
    def mark(self, now: float) -> float:
        """The number above which a bucket is not full at *now*."""

    @abstractmethod
    def take(self, kept: float, now: float) -> tuple[float, Decision]:
        """Spend one token.

        Args:
            kept: the number of this key.

            now: seconds, never negative, on the clock of all the calls before.

        Returns:
            The number to keep, and the decision. A refusal leaves the number as it was.
        """

    def same(self, other: Rule) -> bool:
        """Whether the numbers that *other* kept go on meaning the same."""
        return type(self) is type(other) and self.quota == other.quota and self.window == other.window


class TokenBucket(Rule):
    """A bucket of *burst* tokens that fills at *rate*: never more than burst + rate * time in any stretch of time.

    Time is counted in tokens (seconds * rate), so that spending is adding 1: exact, where adding a rounded
    interval drifts.

    Source: GCRA, ITU-T I.371 Annex A (virtual scheduling); `kept` is the theoretical arrival time.

    Attributes:
        rate: tokens a second.
    """

    __slots__ = ("_limit", "rate")

    def __init__(self, name: str, rate: Rate, burst: int, *, dry_run: bool = False, max_keys: int = 100_000) -> None:
        super().__init__(name, burst, burst * rate.period / rate.count, dry_run=dry_run, max_keys=max_keys)
        self.rate = rate.count / rate.period
        self._limit = burst + SLACK

    def mark(self, now: float) -> float:
        """*now*, counted in tokens."""
        return now * self.rate

    def take(self, kept: float, now: float) -> tuple[float, Decision]:
        """Spend one token: see `Rule.take`."""
        arrival = now * self.rate
        after = (kept if kept > arrival else arrival) + 1.0
        spent = after - arrival
        if spent > self._limit:
            wait = round((spent - self.quota) / self.rate, 6)
            return kept, Decision(self, False, 0, (spent - 1.0) / self.rate, wait)
        return after, Decision(self, True, floor(self._limit - spent), spent / self.rate, 0.0)


class FixedWindow(Rule):
    """*quota* tokens in each window of the clock, the same for all keys. Two windows' tokens can meet at the border
    between them, which a token bucket does not allow; in return a client knows when its count starts again.

    `kept` is the number of the window times quota + 1, plus what was spent in it.
    """

    __slots__ = ()

    def mark(self, now: float) -> int:
        """Nothing spent in the window of *now*."""
        return int(now // self.window) * (self.quota + 1)

    def take(self, kept: float, now: float) -> tuple[float, Decision]:
        """Spend one token: see `Rule.take`."""
        start = self.mark(now)
        after = max(kept, start) + 1
        left = self.quota - (after - start)
        reset = self.window - now % self.window
        if left < 0:
            return kept, Decision(self, False, 0, reset, reset)
        return after, Decision(self, True, int(left), reset, 0.0)


def rule_of(name: str, settings: LimitSettings) -> Rule:
    """The rule of limiter *name*.

    A burst that is not given is the count of the rate, at least 1. A fixed window has no burst: it is the period
    of the rate, made longer when the rate is less than one token in it.

    Raises:
        ValueError: for kind none, which has no rule.
    """
    rate, dry_run, max_keys = settings.rate, settings.dry_run, settings.max_keys
    whole = max(1, int(rate.count))
    if settings.kind == "token_bucket":
        return TokenBucket(name, rate, settings.burst or whole, dry_run=dry_run, max_keys=max_keys)
    if settings.kind == "fixed_window":
        window = rate.period / min(1.0, rate.count)
        return FixedWindow(name, whole, window, dry_run=dry_run, max_keys=max_keys)
    raise ValueError(f"limiter {name} is off")


@lru_cache(maxsize=4096)
def network(client: str, prefix: int = IPV6_PREFIX) -> str:
    """What a client is counted by: its IPv6 network of *prefix* bits, its IPv4 address; itself when it is no address.

    Single IPv6 addresses would be as many buckets as one likes.
    """
    try:
        address = IPv6Address(client)
    except ValueError:
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> (128 - prefix) << (128 - prefix))}/{prefix}"


def _whole(seconds: float) -> int:
    """Seconds as a field says them: rounded up, but not for a rounding error."""
    return ceil(seconds - 1e-6)
