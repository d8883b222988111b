"""What the state in memory does besides what every kind does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.bucket import FixedWindow, Rule, TokenBucket
from app.engine.state.memory import Buckets
from settings.units import Rate


def rule(burst: int = 2, *, max_keys: int = 100_000) -> Rule:
    return TokenBucket("default", Rate(burst, 10.0), burst, max_keys=max_keys)


def test_the_table_is_bounded_whatever_keys_arrive() -> None:
    """Ten thousand addresses at once leave ten buckets, and no more on the heap."""
    buckets = Buckets(rule(max_keys=10))

    for n in range(10_000):
        buckets.take(f"192.0.2.{n}", buckets.rule, 5.0)

    assert len(buckets) == 10
    assert len(buckets._heap) == 10


def test_full_buckets_are_forgotten_first() -> None:
    """A flood of new keys does not give a client that was refused its tokens back, while there are full ones."""
    limit = rule(max_keys=3)
    buckets = Buckets(limit)
    buckets.take("early", limit, 5.0)
    for _ in range(3):
        buckets.take("spent", limit, 14.0)
    buckets.take("early", limit, 5.0)  # full again at 15.0 now

    for n in range(20):
        buckets.take(f"new{n}", limit, 16.0)

    assert len(buckets) == 3
    assert not buckets.take("spent", limit, 16.0).allowed


def test_the_table_shrinks_after_a_flood() -> None:
    """Each newcomer takes out up to two that are full, so that a flood does not stay in memory."""
    limit = rule()
    buckets = Buckets(limit)
    for n in range(1000):
        buckets.take(f"flood{n}", limit, 5.0)
    for n in range(1000):
        buckets.take(f"calm{n}", limit, 100.0 + 20.0 * n)

    assert len(buckets) <= 2


@settings(max_examples=60)
@given(
    st.sampled_from([TokenBucket("x", Rate(3, 10.0), 3, max_keys=4), FixedWindow("x", 3, 10.0, max_keys=4)]),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 4)), max_size=120),
)
def test_what_is_forgotten_was_the_fullest(limit: Rule, takes: list[tuple[str, float]]) -> None:
    """Against a table without bound: whoever is still known has the same number in both, or was forgotten once."""
    buckets, now = Buckets(limit), 100.0
    for key, step in takes:
        now += step
        known = dict(buckets._kept)
        buckets.take(key, limit, now)
        gone = known.keys() - buckets._kept.keys()
        stayed = known.keys() & buckets._kept.keys() - {key}

        assert len(buckets) <= 4
        assert sorted(k for _, k in buckets._heap) == sorted(buckets._kept)
        assert all(known[g] <= known[s] or known[g] <= limit.mark(now) for g in gone for s in stayed)
