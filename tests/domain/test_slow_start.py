"""How a backend that begins is spared."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.backend import Backend
from app.domain.pool import Pool
from app.domain.slow_start import SlowStart
from app.domain.strategies import STRATEGIES
from settings.pools import SlowStartSettings
from tests.support.fleet import fleet, pool

WINDOW = {"window": 20.0}
WEIGHING = ["least_connections", "least_time", "p2c", "peak_ewma", "priority", "random", "reported", "round_robin"]
every_weighing = pytest.mark.parametrize("kind", WEIGHING)


def set_draining(chosen: Pool, backend: Backend, value: bool) -> None:
    backend.draining = value
    chosen.refresh()


def returning(kind: str, *weights: int, **slow_start: float) -> Pool:
    """A pool whose last backend comes back at 100 s, the others being long there."""
    backends = fleet(*weights)
    chosen = pool(backends, kind, slow_start=slow_start or WINDOW)
    chosen.pick(b"", (), 0.0)
    set_draining(chosen, backends[-1], True)
    chosen.pick(b"", (), 50.0)
    set_draining(chosen, backends[-1], False)
    chosen.pick(b"", (), 100.0)
    return chosen


def counts(chosen: Pool, now: float, picks: int = 2000) -> Counter[str]:
    return Counter(chosen.pick(b"%d" % i, (), now).id for i in range(picks))


@pytest.mark.parametrize(
    ("aggression", "age", "factor"),
    [
        (1, 0, 0.1), (1, 1, 0.1), (1, 2, 0.1), (1, 5, 0.25), (1, 19, 0.95), (1, 20, 1), (1, 1e9, 1), (2, 5, 0.5),
        (0.5, 10, 0.25),
    ],
)  # fmt: skip
def test_the_factor_is_that_of_envoy(aggression: float, age: float, factor: float) -> None:
    """(t / 20 s) to the power of 1 / aggression, a tenth at least."""
    assert SlowStart(SlowStartSettings(window=20.0, aggression=aggression)).factor(age) == pytest.approx(factor)


@given(
    st.floats(0.1, 1000),
    st.sampled_from([0.01, 0.3, 1.0]),
    st.floats(0.1, 10),
    st.lists(st.floats(0, 2000), min_size=2, max_size=9),
)
def test_the_factor_only_grows(window: float, least: float, aggression: float, ages: list[float]) -> None:
    """From the least to one; windows shorter than Envoy's second included."""
    slow_start = SlowStart(SlowStartSettings(window=window, min_weight=least, aggression=aggression))
    factors = [slow_start.factor(age) for age in sorted(ages)]

    assert factors == sorted(factors)
    assert least <= factors[0] <= factors[-1] <= 1


@every_weighing
def test_a_backend_that_returns_gets_its_weight_step_by_step(kind: str) -> None:
    """Of two alike, a share of f / (1 + f) after f of the window; sigma of 2000 is 22 at most, the bound 5 of it."""
    chosen = returning(kind, 1, 1)

    for age, factor in ((0.0, 0.1), (5.0, 0.25), (10.0, 0.5), (15.0, 0.75), (20.0, 1.0), (40.0, 1.0)):
        assert counts(chosen, 100.0 + age)["b"] / 2000 == pytest.approx(factor / (1 + factor), abs=0.055)


@every_weighing
def test_the_others_keep_their_weights(kind: str) -> None:
    """Weights 3, 1 and a returning 4 at a quarter: 3, 1 and 1."""
    found = counts(returning(kind, 3, 1, 4), 105.0)

    assert [found[name] / 2000 for name in "abc"] == pytest.approx([0.6, 0.2, 0.2], abs=0.055)


@pytest.mark.parametrize("kind", ["maglev", "rendezvous", "ring_hash"])
def test_keys_go_by_weight_at_once(kind: str) -> None:
    """Half of a share would mean keys that move twice."""
    assert counts(returning(kind, 1, 1), 100.0)["b"] == pytest.approx(1000, abs=160)


def test_nobody_is_held_back_when_all_begin() -> None:
    """As when the process starts, or the whole pool was gone; nor are they when the first of them are through."""
    backends = fleet(1, 1, 1)
    chosen = pool(backends, slow_start=WINDOW)

    assert set(counts(chosen, 100.0, 30).values()) == {10}

    set_draining(chosen, backends[0], True)
    chosen.pick(b"", (), 105.0)
    set_draining(chosen, backends[0], False)

    assert set(counts(chosen, 110.0, 30).values()) == {10}
    assert counts(chosen, 121.0, 300)["a"] < 80  # the others are through: 11 of 20 s


@pytest.mark.uncompiled
def test_a_settled_pool_looks_at_nothing_any_more() -> None:
    """Nor does one without slow start: nothing comes due."""
    chosen = returning("round_robin", 1, 1)

    assert chosen._due == pytest.approx(100.2)

    chosen.pick(b"", (), 120.0)

    assert chosen._due == float("inf")
    assert pool(fleet(1, 1))._due == float("inf")


def test_shares_are_set_a_hundred_times_a_window_not_at_every_pick() -> None:
    """Between two steps of 200 ms the strategy is left as it is."""
    chosen = returning("round_robin", 1, 1)
    before = [backend.share for backend in chosen.backends]
    chosen.pick(b"", (), 100.19)

    assert [backend.share for backend in chosen.backends] == before == [100, 10]

    chosen.pick(b"", (), 104.0)

    assert [backend.share for backend in chosen.backends] == [100, 20]


def test_progress_survives_a_new_pool_of_the_same_backends() -> None:
    """A reload does not send anybody back to the start."""
    chosen = returning("round_robin", 1, 1)
    chosen.pick(b"", (), 110.0)
    again = pool(chosen.backends, slow_start=WINDOW)

    assert counts(again, 110.0, 300)["b"] == pytest.approx(100, abs=2)


def test_switched_off_by_a_reload_all_have_their_weights() -> None:
    chosen = returning("round_robin", 2, 1)

    pool(chosen.backends)

    assert [backend.share for backend in chosen.backends] == [2, 1]


def test_no_backends_are_not_in_slow_start() -> None:
    assert SlowStart(SlowStartSettings(window=20.0)).weigh((), 0.0) == float("inf")


def test_every_kind_is_of_one_sort() -> None:
    """A new one has to say whether it weighs."""
    assert {*WEIGHING, "first", "maglev", "rendezvous", "ring_hash"} == set(STRATEGIES)
