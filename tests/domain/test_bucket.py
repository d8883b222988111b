"""Limits are exact: the burst, then one token an interval, whatever the clock reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.bucket import Decision, FixedWindow, Rule, TokenBucket, network, rule_of
from settings.limits import LimitSettings
from settings.units import Rate
from tests.support.clock import Clock


class Bucket:
    """One key's number, and its rule."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.kept: float = 0

    def take(self, now: float) -> Decision:
        self.kept, decision = self.rule.take(self.kept, now)
        return decision

    def full(self, now: float) -> bool:
        return self.kept <= self.rule.mark(now)


def token_bucket(count: float = 100, period: float = 60.0, burst: int = 100) -> Bucket:
    return Bucket(TokenBucket("default", Rate(count, period), burst))


RULES = [TokenBucket("default", Rate(5, 10.0), 5), FixedWindow("default", 5, 10.0)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


@every_rule
def test_a_full_bucket_gives_its_quota_and_no_more(rule: Rule) -> None:
    """Five at once, the sixth refused, each told how many are left."""
    bucket = Bucket(rule)

    decisions = [bucket.take(1000.0) for _ in range(6)]

    assert [(d.allowed, d.remaining) for d in decisions] == [
        (True, 4),
        (True, 3),
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 0),
    ]


@every_rule
def test_a_refusal_costs_nothing(rule: Rule) -> None:
    """Who keeps asking too early is not made to wait longer for it."""
    once, often = Bucket(rule), Bucket(rule)
    for _ in range(6):
        once.take(1000.0)
    for _ in range(60):
        often.take(1000.0)

    assert once.kept == often.kept


@every_rule
def test_who_waits_as_told_is_served(rule: Rule) -> None:
    """`retry_after` is enough."""
    bucket = Bucket(rule)
    for _ in range(5):
        bucket.take(1003.7)
    refused = bucket.take(1003.7)

    assert refused.retry_after > 0
    assert bucket.take(1003.7 + refused.retry_after).allowed


@every_rule
def test_a_bucket_is_full_when_its_reset_has_passed(rule: Rule) -> None:
    """Then, and not before, forgetting it changes nothing."""
    bucket = Bucket(rule)
    bucket.take(1003.7)
    reset = bucket.take(1003.7).reset

    assert not bucket.full(1003.7 + reset - 0.01)
    assert bucket.full(1003.7 + reset + 0.01)


@every_rule
def test_a_key_never_seen_has_a_full_bucket(rule: Rule) -> None:
    """Also at the very start of the clock."""
    assert Bucket(rule).full(0.0)
    assert Bucket(rule).take(0.0).remaining == 4


@pytest.mark.parametrize("start", [0.0, 1000.0, 4095.7, 86_400.123, 3.1e7])
def test_a_hundred_a_minute_is_a_hundred_then_one_every_600_ms(start: float) -> None:
    """Exact at any reading of the clock: not 99 of the burst for a rounding error, and no token early."""
    clock, bucket = Clock(start), token_bucket()

    assert sum(bucket.take(clock()).allowed for _ in range(110)) == 100
    for _ in range(1000):
        assert not bucket.take(clock.advance(0.595)).allowed
        assert bucket.take(clock.advance(0.005)).allowed


def test_an_idle_bucket_fills_up_to_its_burst() -> None:
    """An hour's rest is worth no more than a minute's."""
    bucket = token_bucket()
    for _ in range(100):
        bucket.take(1000.0)

    assert sum(bucket.take(4600.0).allowed for _ in range(200)) == 100


@given(
    count=st.integers(1, 1000),
    period=st.sampled_from([0.1, 1.0, 7.0, 60.0, 3600.0]),
    burst=st.integers(1, 50),
    start=st.floats(0, 1e8),
    steps=st.lists(st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 0.01)), max_size=150),
)
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(
    count: int, period: float, burst: int, start: float, steps: list[float]
) -> None:
    """
    Between any two allowed requests, t apart, are never more than burst + rate * t, both counted.

    The last of n in a row finds spent <= burst, and spent >= n - rate * t, so n <= burst + rate * t; to which come
    the thousandth of a token that a bucket may be short, and what float64 cannot tell apart at 1e8 s * 1e4 tokens/s.
    """
    bucket, now, allowed = token_bucket(count, period, burst), start, []
    for step in steps:
        now += step
        if bucket.take(now).allowed:
            allowed.append(now)

    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            room = burst + (allowed[last] - allowed[first]) * count / period
            assert last - first + 1 <= room + 0.002


@given(st.integers(1, 20), st.lists(st.floats(0, 3), max_size=100))
def test_a_window_never_lets_more_through_than_its_quota(quota: int, steps: list[float]) -> None:
    """Counted by window of the clock."""
    bucket, now, counts = Bucket(FixedWindow("w", quota, 10.0)), 1000.0, dict[float, int]()
    for step in steps:
        now += step
        counts[now // 10.0] = counts.get(now // 10.0, 0) + bucket.take(now).allowed

    assert all(n <= quota for n in counts.values())


def test_a_window_starts_again_on_the_clock() -> None:
    """Refused until its end, and told when that is; then the whole quota at once."""
    bucket = Bucket(FixedWindow("w", 2, 10.0))
    assert [bucket.take(1007.0).allowed for _ in range(3)] == [True, True, False]

    assert bucket.take(1008.0).retry_after == 2.0
    assert [bucket.take(1010.0).allowed for _ in range(3)] == [True, True, False]


def test_the_fields_tell_policy_and_rest() -> None:
    """As the draft writes them: whole seconds, rounded up."""
    bucket = token_bucket()
    decision = bucket.take(1000.0)

    assert decision.fields() == [
        (b"ratelimit-policy", b'"default";q=100;w=60'),
        (b"ratelimit", b'"default";r=99;t=1'),
    ]
    assert (decision.limiter, decision.quota, decision.window) == ("default", 100, 60.0)
    for _ in range(200):
        decision = bucket.take(1000.0)
    assert decision.fields()[1] == (b"ratelimit", b'"default";r=0;t=60')


def test_a_dry_run_is_not_shown_to_the_client() -> None:
    """It decides as ever, and says nothing."""
    bucket = Bucket(TokenBucket("default", Rate(1, 1.0), 1, dry_run=True))

    assert [(d.allowed, d.fields()) for d in (bucket.take(5.0), bucket.take(5.0))] == [(True, []), (False, [])]


@pytest.mark.parametrize(
    ("settings", "kind", "quota", "window"),
    [
        (LimitSettings(kind="token_bucket"), TokenBucket, 100, 60.0),
        (LimitSettings(kind="token_bucket", rate=Rate(100, 60.0), burst=5), TokenBucket, 5, 3.0),
        (LimitSettings(kind="token_bucket", rate=Rate(0.5, 1.0)), TokenBucket, 1, 2.0),
        (LimitSettings(kind="fixed_window", burst=5), FixedWindow, 100, 60.0),
        (LimitSettings(kind="fixed_window", rate=Rate(0.5, 1.0)), FixedWindow, 1, 2.0),
    ],
)
def test_settings_make_a_rule(settings: LimitSettings, kind: type[Rule], quota: int, window: float) -> None:
    """The burst is the rate's count when not given, and at least one token; a window has none."""
    rule = rule_of("api", settings)

    assert (kind, "api", quota, window) == (type(rule), rule.name, rule.quota, rule.window)


@pytest.mark.parametrize("kind", ["token_bucket", "fixed_window"])
def test_a_rule_knows_what_else_settings_say(kind: str) -> None:
    """Whether it is on its dry run, and how many keys it may have; by itself it is for real."""
    rule = rule_of("api", LimitSettings.model_validate({"kind": kind, "dry_run": True, "max_keys": 7}))

    assert (rule.dry_run, rule.max_keys) == (True, 7)
    assert not rule_of("api", LimitSettings.model_validate({"kind": kind})).dry_run


def test_a_limiter_that_is_off_has_no_rule() -> None:
    """Nothing is built for it."""
    with pytest.raises(ValueError, match="api is off"):
        rule_of("api", LimitSettings(kind="none"))


def test_rules_with_the_same_rate_share_their_numbers() -> None:
    """So that a reload keeps the buckets of a limiter that did not change."""
    rule = TokenBucket("a", Rate(100, 60.0), 100)

    assert rule.same(TokenBucket("a", Rate(100, 60.0), 100, dry_run=True))
    assert not rule.same(TokenBucket("a", Rate(100, 60.0), 50))
    assert not rule.same(TokenBucket("a", Rate(100, 1.0), 100))
    assert not rule.same(FixedWindow("a", 100, 60.0))


@pytest.mark.parametrize(
    ("client", "counted_by"),
    [
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::1", "2001:db8:0:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("unix", "unix"),
        ("_hidden:1", "_hidden:1"),
    ],
)
def test_an_ipv6_client_is_counted_by_its_network(client: str, counted_by: str) -> None:
    """A /64 is one customer; IPv4 by address, and what is no address by itself."""
    assert network(client, 64) == counted_by


def test_who_is_refused_is_told_when_to_come_again_and_when_all_is_well() -> None:
    """A token each 600 ms; who is let through has nothing to wait for."""
    bucket = token_bucket()
    decisions = [bucket.take(1000.0) for _ in range(101)]

    assert {decision.retry_after for decision in decisions[:100]} == {0.0}
    assert (decisions[100].retry_after, decisions[100].reset) == (0.6, pytest.approx(60.0))


def test_the_fields_of_a_window_tell_its_end() -> None:
    """To those let through and to those who are not."""
    bucket = Bucket(FixedWindow("w", 1, 10.0))
    allowed, refused = bucket.take(1007.5), bucket.take(1007.5)

    assert [decision.fields()[1] for decision in (allowed, refused)] == [(b"ratelimit", b'"w";r=0;t=3')] * 2
    assert (allowed.retry_after, refused.retry_after) == (0.0, 2.5)
