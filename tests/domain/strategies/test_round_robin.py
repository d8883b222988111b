"""nginx's order, and that it costs the same however many backends there are."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.backend import Backend
from app.domain.strategies.round_robin import BUDGET, cycle
from tests.support.fleet import fleet, pool, strategy
from tests.support.steps import steps


def nginx(backends: tuple[Backend, ...], count: int) -> list[str]:
    """nginx's rule as it is written there, O(n) a pick."""
    current = [0] * len(backends)
    order = []
    for _ in range(count):
        for i, backend in enumerate(backends):
            current[i] += backend.weight
        best = current.index(max(current))
        current[best] -= sum(backend.weight for backend in backends)
        order.append(backends[best].id)
    return order


def test_equal_backends_take_turns_in_the_order_of_the_settings() -> None:
    """From the first on, as the README shows."""
    chosen = pool(fleet(1, 1, 1))

    assert list("abcabc") == [chosen.pick(b"", (), 0.0).id for _ in range(6)]


def test_heavy_turns_are_spread_out() -> None:
    """nginx's own example."""
    chosen = pool(fleet(5, 1, 1))

    assert list("aabacaa" * 2) == [chosen.pick(b"", (), 0.0).id for _ in range(14)]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8))
def test_the_cycle_is_that_of_nginx(weights: list[int]) -> None:
    """The shortcut by weight gives the very order of the rule, ties included."""
    backends = fleet(*weights)

    order = [backend.id for backend in cycle(backends)]

    assert nginx(backends, len(order)) == order


def test_a_cycle_is_as_short_as_can_be() -> None:
    """Weights 100 and 200 are 1 and 2; equal ones are a plain row."""
    assert len(cycle(fleet(100, 200))) == 3
    assert len(cycle(fleet(*[65535] * 4))) == 4
    assert cycle(()) == []


def test_goes_on_where_it_was_when_a_backend_leaves() -> None:
    """A flip of health does not start the row again."""
    backends = fleet(1, 1, 1, 1)
    chosen = pool(backends)
    for _ in range(2):
        chosen.pick(b"", (), 0.0)
    backends[0].draining = True
    chosen.refresh()

    assert list("cdb") == [chosen.pick(b"", (), 0.0).id for _ in range(3)]


def test_weights_too_far_apart_for_a_cycle_are_kept_exactly() -> None:
    """Over 65 536 turns of weights 65535 and 1 the light one has one, two at most where its first turn comes late."""
    backends = fleet(65535, 1)
    assert cycle(backends) == []
    chosen = pool(backends)

    counts = Counter(chosen.pick(b"", (), 0.0).id for _ in range(65_536))

    assert 1 <= counts["b"] <= 2


@pytest.mark.parametrize("heaviest", [1, 3, 65535])
def test_a_thousand_backends_cost_a_pick_no_more_than_two(heaviest: int) -> None:
    """Counted in lines and calls, which does not depend on the machine: at most twice as many, where both are laid out.

    A thousand weights up to 65 535 go by the queue, two by it or by the cycle: one function more a pick.
    """
    rng = Random(7)
    few, many = fleet(1, heaviest), fleet(*(rng.randint(1, heaviest) for _ in range(1000)))

    assert steps(pool(many)) <= 2 * steps(pool(few))


def test_the_budget_holds() -> None:
    """What is laid out, is so in at most BUDGET steps, unless all weigh the same."""
    assert len(cycle(fleet(1, BUDGET // 2 - 1))) == BUDGET // 2
    assert cycle(fleet(1, BUDGET // 2)) == []


def test_a_sticky_pick_is_a_turn() -> None:
    """Who was picked by a cookie lets its next turn go by, and only that."""
    backends = fleet(1, 1, 1)
    chosen = strategy("round_robin")
    chosen.rebuild(backends)
    chosen.charge(backends[1])

    assert "".join(chosen.pick(backends, b"", 0.0).id for _ in range(8)) == "acabcabc"


def test_many_sticky_picks_cost_one_turn() -> None:
    """nginx's rule: who has the most clients that stay is not shut out to new ones."""
    backends = fleet(5, 1, 1)
    chosen = strategy("round_robin")
    chosen.rebuild(backends)
    for _ in range(100):
        chosen.charge(backends[0])

    assert "".join(chosen.pick(backends, b"", 0.0).id for _ in range(13)) == "abacaaaabacaa"


def test_all_may_owe_a_turn() -> None:
    """Each pays, and the next one is the first again."""
    backends = fleet(1, 1, 1)
    chosen = strategy("round_robin")
    chosen.rebuild(backends)
    for backend in backends:
        chosen.charge(backend)

    assert "".join(chosen.pick(backends, b"", 0.0).id for _ in range(6)) == "abcabc"


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (65535, 65534, 65533, 65532)], ids=["cycle", "queue"])
def test_sticky_picks_even_out(weights: tuple[int, ...]) -> None:
    """A sticky pick of the first for every three new ones: each gets a quarter of them all, one turn more or less."""
    backends = fleet(*weights)
    chosen = strategy("round_robin")
    chosen.rebuild(backends)
    counts: Counter[str] = Counter()
    for _ in range(1000):
        chosen.charge(backends[0])
        counts["a"] += 1
        counts.update(chosen.pick(backends, b"", 0.0).id for _ in range(3))

    assert all(n == pytest.approx(1000, abs=2) for n in counts.values())


def test_who_leaves_owes_nothing() -> None:
    """It is not made to wait when it comes back."""
    backends = fleet(1, 1)
    chosen = strategy("round_robin")
    chosen.rebuild(backends)
    chosen.charge(backends[0])
    chosen.rebuild(backends[1:])
    chosen.rebuild(backends)

    assert "".join(chosen.pick(backends, b"", 0.0).id for _ in range(4)) == "abab"


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 2, 3, 4)], ids=str)
def test_second_attempts_go_to_the_others_by_their_weights(weights: tuple[int, ...]) -> None:
    """Not all to the one that stands behind; after a change, to those that there are then."""
    chosen = strategy("round_robin")
    for backends in (fleet(*weights), fleet(*weights)):
        chosen.rebuild(backends)
        others = backends[1:]
        counts = Counter(chosen.pick(others, b"", 0.0) for _ in range(100 * sum(weights[1:])))

        assert {one.id: counts[one] for one in backends} == {
            "a": 0, **{one.id: pytest.approx(100 * one.weight, abs=1) for one in others},
        }  # fmt: skip
