"""Tokens taken in advance: what a process holds, when it asks, and how much too much that can ever be."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bucket import Decision, FixedWindow, Rule, TokenBucket
from app.domain.lease import Leases
from settings.units import Rate

KEY = ("default", "a")


def told(decision: Decision | None) -> tuple[Rule, bool, int, float, float]:
    """All that a decision says."""
    assert decision is not None
    return decision.rule, decision.allowed, decision.remaining, decision.reset, decision.retry_after


def bucket(burst: int = 100, seconds: float = 100.0) -> TokenBucket:
    return TokenBucket("default", Rate(burst, seconds), burst)


class Centre:
    """The bucket that is shared, by the same rule, and when its tokens were let through."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.kept = 0.0
        self.spent: list[float] = []
        self.asked = 0

    def grant(self, want: int, back: int, now: float) -> tuple[int, Decision]:
        """How many of *want* tokens there are, and what was said last."""
        self.asked += 1
        kept = max(self.kept - back, self.rule.mark(now))
        granted, said = 0, self.rule.take(kept, now)[1]
        for granted in range(want):  # noqa: B007
            after, said = self.rule.take(kept, now)
            if not said.allowed:
                break
            kept = after
        else:
            granted = want
        self.kept = kept
        return granted, said

    def take(self, leases: Leases, now: float, key: tuple[str, str] = KEY) -> bool:
        """One request at a process with *leases*."""
        decision = leases.spend(key, self.rule, now)
        if decision is None:
            more, back = leases.renew(key, self.rule, now)
            granted, said = self.grant(1 + more, back, now)
            leases.grant(key, self.rule, max(0, granted - 1), said, now)
            allowed = granted > 0
        else:
            allowed = decision.allowed
        self.spent += [now] * allowed
        return allowed


def test_a_hot_key_soon_asks_for_ten_at_once() -> None:
    """One, then two, four, eight, and the whole lease: 100 requests in some 13 questions."""
    centre, leases = Centre(bucket()), Leases(10, 1.0)

    assert [centre.take(leases, 5.0) for _ in range(101)] == [True] * 100 + [False]
    assert centre.asked in range(12, 16)


def test_a_slow_client_costs_what_it_spends() -> None:
    """One request a lease, so never more than one token is asked for."""
    centre, leases = Centre(bucket()), Leases(10, 1.0)

    for second in range(10):
        assert centre.take(leases, 100.0 + 2 * second)

    assert centre.kept == 119.0, "the last came at 118.0 to a full bucket"


def test_what_is_left_is_given_back_and_the_next_lease_is_smaller() -> None:
    """It was eight and two were spent: two are asked for, and six come back."""
    centre, leases = Centre(bucket()), Leases(10, 1.0)
    for _ in range(9):  # 1 + 2 + 4, and two of eight
        centre.take(leases, 5.0)
    assert centre.kept == 5.0 + 15

    assert leases.renew(KEY, centre.rule, 6.0) == (1, 6)


def test_nothing_is_given_back_to_another_window() -> None:
    """A lease ends with its window: its tokens are no one's then."""
    rule = FixedWindow("default", 100, 10.0)
    centre, leases = Centre(rule), Leases(10, 5.0)
    for _ in range(6):
        centre.take(leases, 8.0)

    assert leases.spend(KEY, rule, 9.0) is not None
    assert leases.spend(KEY, rule, 10.0) is None
    assert leases.renew(KEY, rule, 10.0)[1] == 0


def test_an_empty_bucket_is_not_asked_again_before_there_is_a_token() -> None:
    """Refused at once, with the time that is left; but no longer than a lease."""
    centre, leases = Centre(bucket(1, 3.0)), Leases(10, 1.0)
    assert [centre.take(leases, 5.0) for _ in range(4)] == [True, False, False, False]
    assert centre.asked == 2

    refused = leases.spend(KEY, centre.rule, 5.5)

    assert refused is not None
    assert (refused.allowed, refused.retry_after, refused.reset) == (False, 2.5, 2.5)
    assert leases.spend(KEY, centre.rule, 6.5) is None


def test_a_token_that_has_come_is_asked_for() -> None:
    """The refusal is remembered until then, not as long as a lease."""
    centre, leases = Centre(bucket(2, 1.0)), Leases(10, 1.0)
    assert [centre.take(leases, 5.0) for _ in range(3)] == [True, True, False]

    assert centre.take(leases, 5.6)


def test_what_is_left_is_said_with_what_is_in_the_bucket() -> None:
    """As if all were in one place."""
    centre, leases = Centre(bucket()), Leases(10, 1.0)
    centre.take(leases, 5.0)
    centre.take(leases, 5.0)

    said = leases.spend(KEY, centre.rule, 5.5)

    assert said is not None
    assert (said.remaining, said.reset) == (97, 2.5)


def test_what_is_spent_of_a_lease_is_told_as_of_the_bucket() -> None:
    """Whose rule it is, that it may, and nothing of when to come again."""
    centre, leases = Centre(bucket()), Leases(10, 10.0)
    centre.take(leases, 5.0)
    centre.take(leases, 5.0)

    assert told(leases.spend(KEY, centre.rule, 5.0)) == (centre.rule, True, 97, 3.0, 0.0)


def test_a_bucket_that_is_full_again_is_not_told_to_be_so_in_the_past() -> None:
    """It was so at 12 s, seven having been taken; the lease lasts longer."""
    centre, leases = Centre(bucket()), Leases(10, 20.0)
    for _ in range(4):
        centre.take(leases, 5.0)

    resets = [told(leases.spend(KEY, centre.rule, now))[3] for now in (11.5, 12.0, 13.0)]

    assert resets == [0.5, 0.0, 0.0]


def test_a_refusal_is_told_whole() -> None:
    """And only until there is a token."""
    centre, leases = Centre(bucket(1, 3.0)), Leases(10, 10.0)
    centre.take(leases, 5.0)
    centre.take(leases, 5.0)

    assert told(leases.spend(KEY, centre.rule, 6.0)) == (centre.rule, False, 0, 2.0, 2.0)
    assert leases.spend(KEY, centre.rule, 8.0) is None


def test_a_lease_ends_on_time() -> None:
    """At its very end nothing of it is left to spend."""
    centre, leases = Centre(bucket()), Leases(10, 1.0)
    for _ in range(2):
        centre.take(leases, 5.0)

    assert leases.spend(KEY, centre.rule, 6.0) is None
    assert leases.over(5.999) == []
    assert leases.over(6.0) == [(KEY, centre.rule, 1)]


def test_an_empty_table_has_nothing_to_forget() -> None:
    leases = Leases(10, 1.0)

    assert leases.over(1e9) == []
    leases.forget(KEY)
    assert len(leases) == 0


def test_nothing_goes_back_into_a_window_that_is_over() -> None:
    """At its very end; up to then it does, and what goes to a bucket always does."""
    window = FixedWindow("default", 100, 10.0)
    for rule, now, back in ((window, 9.9, 1), (window, 10.0, 0), (bucket(), 10.0, 1)):
        centre, leases = Centre(rule), Leases(10, 0.5)
        for _ in range(2):
            centre.take(leases, 9.0)

        assert leases.renew(KEY, rule, now) == (0, back)


def test_an_empty_bucket_is_asked_for_as_much_as_before() -> None:
    """Not for twice that: a bucket that has nothing gives no more to who asks for more."""
    centre, leases = Centre(bucket(20, 20.0)), Leases(8, 100.0)
    while centre.take(leases, 5.0):
        pass
    asked = leases.renew(KEY, centre.rule, 5.5)[0]
    leases.grant(KEY, centre.rule, 0, centre.rule.take(centre.kept, 5.5)[1], 5.5)

    assert leases.renew(KEY, centre.rule, 5.6)[0] == asked


def test_another_rule_begins_anew() -> None:
    """Also while the bucket is being asked."""
    centre, leases = Centre(bucket()), Leases(10, 1.0)
    centre.take(leases, 5.0)
    centre.take(leases, 5.0)
    other = bucket(50)

    assert leases.spend(KEY, bucket(), 5.0) is not None, "the same, said again"
    assert leases.spend(KEY, other, 5.0) is None
    assert leases.renew(KEY, other, 5.0) == (0, 0)
    leases.grant(KEY, centre.rule, 5, centre.rule.take(0, 5.0)[1], 5.0)
    assert leases.spend(KEY, other, 5.0) is None


def test_while_the_bucket_is_asked_nothing_is_held() -> None:
    """Nor afterwards, when it does not answer."""
    rule, leases = bucket(), Leases(10, 1.0)
    leases.renew(KEY, rule, 5.0)

    assert leases.spend(KEY, rule, 5.0) is None
    assert leases.over(1e9) == []
    leases.forget(KEY)
    leases.grant(KEY, rule, 5, rule.take(0, 5.0)[1], 5.0)

    assert len(leases) == 0


def test_what_is_over_is_forgotten_two_at_a_time() -> None:
    """The oldest first, with what to give back; so a flood of keys does not stay in memory."""
    centre, leases = Centre(bucket(1000)), Leases(10, 1.0)
    for n in range(5):
        centre.take(leases, 5.0, ("default", f"k{n}"))
    for _ in range(4):
        centre.take(leases, 5.0, ("default", "k0"))
    for _ in range(2):
        centre.take(leases, 5.5, ("default", "new"))

    assert [leases.over(6.2), leases.over(6.2), leases.over(6.2)] == [[], [], [(("default", "k0"), centre.rule, 2)]]
    assert len(leases) == 1
    assert leases.over(6.2) == []


def test_a_small_bucket_is_not_held_by_one() -> None:
    """A tenth of it at most: with fewer than twenty tokens, each is asked for."""
    centre, leases = Centre(bucket(19)), Leases(10, 1.0)

    for _ in range(19):
        assert centre.take(leases, 5.0)

    assert centre.asked == 19


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([bucket(30, 3.0), bucket(100, 10.0), FixedWindow("default", 40, 4.0)]),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.floats(0, 0.8)), max_size=60),
)
def test_never_more_than_stated_in_any_stretch_of_time(rule: Rule, takes: list[tuple[int, int, float]]) -> None:
    """Three processes: at most the bucket, what came in since, and cap - 1 tokens for each.

    For a fixed window the bound is on the window: a lease ends with it, so it is exact.
    """
    centre, now = Centre(rule), 100.0
    processes = [Leases(5, 1.0) for _ in range(3)]
    extra = 3 * (processes[0].cap(rule) - 1)
    for process, number, step in takes:
        now += step
        for _ in range(number):
            centre.take(processes[process], now)

    spent = centre.spent
    for i, begin in enumerate(spent):
        if isinstance(rule, FixedWindow):
            assert sum(1 for at in spent[i:] if at // rule.window == begin // rule.window) <= rule.quota
            continue
        assert isinstance(rule, TokenBucket)
        for j in range(i, len(spent), 7):
            assert j - i + 1 <= rule.quota + rule.rate * (spent[j] - begin) + extra + 0.01
