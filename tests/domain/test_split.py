"""A share of the users to each pool, and each user always to the same."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.backend import Backend
from app.domain.split import Sides
from app.domain.strategies import STRATEGIES
from settings.models import Choice
from settings.pools import BackendSettings
from settings.resilience import HealthSettings

KEYS = [b"user %d" % n for n in range(4000)]
WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 65535), min_size=2, max_size=6).filter(
    lambda weights: sum(weights.values()) > 0
)


def sides(weights: dict[str, int]) -> Sides:
    return Sides(weights, Random(1))


def few(count: int, share: float) -> float:
    """What a count of chances may be off by: five standard deviations of a binomial, once in two million runs."""
    return 5 * sqrt(count * share * (1 - share))


@pytest.mark.parametrize("weights", [{"stable": 95, "canary": 5}, {"a": 1, "b": 2, "c": 3}, {"a": 65535, "b": 65535}])
@pytest.mark.parametrize("keyed", [True, False])
def test_each_pool_gets_its_share(weights: dict[str, int], keyed: bool) -> None:
    """Of keys; and of requests without one, which go anywhere."""
    split = sides(weights)

    found = Counter(split.side(key if keyed else b"") for key in KEYS)

    for name, weight in weights.items():
        share = weight / sum(weights.values())
        assert abs(found[name] - len(KEYS) * share) < few(len(KEYS), share)


@given(WEIGHTS, st.binary(min_size=1))
def test_a_key_is_always_on_the_same_side_and_never_on_one_of_weight_0(weights: dict[str, int], key: bytes) -> None:
    """Whatever the order in which the pools are written down, and whoever asks."""
    side = sides(weights).side(key)

    assert weights[side] > 0
    assert side == sides(dict(reversed(weights.items()))).side(key) == Sides(weights, Random(2)).side(key)


@given(WEIGHTS, st.data(), st.integers(1, 65535))
def test_when_a_weight_grows_only_those_who_have_to_move_do(
    weights: dict[str, int], data: st.DataObject, more: int
) -> None:
    """All who move, move to it; read from the end, this is what happens when it shrinks or goes."""
    grown = data.draw(st.sampled_from(sorted(weights)))
    before, after = sides(weights), sides(weights | {grown: weights[grown] + more})

    moved = [(before.side(key), after.side(key)) for key in KEYS[:200] if before.side(key) != after.side(key)]

    assert {new for _, new in moved} <= {grown}


def test_a_canary_that_grows_keeps_whom_it_had() -> None:
    """From 5 to 10 of 100, one in twenty moves; however the other weight is written."""
    before, after = sides({"stable": 95, "canary": 5}), sides({"stable": 90, "canary": 10})

    moves = Counter((before.side(key), after.side(key)) for key in KEYS)

    assert moves["canary", "stable"] == 0
    assert abs(moves["stable", "canary"] - 200) < few(len(KEYS), 0.05)


def test_all_machines_agree() -> None:
    """Digests are pinned: a new version that moved users would move half of them in the middle of a deployment."""
    split = sides({"stable": 3, "canary": 1})

    assert "".join(split.side(key)[0] for key in KEYS[:24]) == "scssssscsscssssscsssssss"


def test_a_side_is_not_one_backends_keys() -> None:
    """A pool of backends with the same names as the pools goes on spreading the keys that one side gets."""
    split = sides({"a": 1, "b": 1})
    strategy = STRATEGIES.build(Choice(kind="rendezvous"), rng=Random(1))
    backends = [Backend("b", BackendSettings(url=f"http://{name}", id=name), HealthSettings()) for name in "ab"]
    strategy.rebuild(backends)

    theirs = [key for key in KEYS if split.side(key) == "b"]
    found = Counter(strategy.pick(backends, key, 0.0).id for key in theirs)

    assert abs(found["a"] - len(theirs) / 2) < few(len(theirs), 0.5)
