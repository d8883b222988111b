"""Two choices."""

from collections import Counter

import pytest

from tests.support.fleet import fleet, pool


def test_the_busier_of_two_is_not_picked() -> None:
    """Of ten the busiest is never picked, and the idlest most: in every pair that it is in."""
    backends = fleet(*[1] * 10)
    for load, backend in enumerate(backends):
        backend.in_flight = load
    chosen = pool(backends, "p2c")

    counts = Counter(chosen.pick(b"", (), 0.0).id for _ in range(4000))

    assert counts["j"] == 0
    assert counts.most_common(1)[0][0] == "a"
    assert 650 < counts["a"] < 950  # a pair has a with probability 1/5: 800, sigma 25, 6 of them


def test_load_is_in_flight_for_the_weight() -> None:
    """Two in flight on weight 4 are less than one on weight 1."""
    backends = fleet(4, 1, 1, 1, 1)
    for backend in backends:
        backend.in_flight = 2 if backend.weight == 4 else 1
    chosen = pool(backends, "p2c")

    picked = Counter(chosen.pick(b"", (), 0.0).id for _ in range(1000))

    assert picked["a"] > 900  # of weight 1/2 of the whole: in every pair


def test_second_attempts_are_two_choices_too() -> None:
    """The first of seven was tried, the busiest of the rest is not picked."""
    backends = fleet(*[1] * 7)
    backends[6].in_flight = 1
    chosen = pool(backends, "p2c")

    assert {chosen.pick(b"", backends[:1], 0.0).id for _ in range(200)} == set("bcdef")


def test_up_to_four_are_all_looked_at() -> None:
    """The idle one of four is always found, where two draws would miss it every other time."""
    backends = fleet(1, 1, 1, 1)
    for backend in backends[1:]:
        backend.in_flight = 1

    chosen = pool(backends, "p2c")

    assert {"a"} == {chosen.pick(b"", (), 0.0).id for _ in range(50)}


@pytest.mark.parametrize("weights", [(1,) * 6, (8, 1, 1, 1, 1, 1), (5, 2, 1, 1, 1, 1)], ids=str)
def test_of_equals_each_has_its_turns(weights: tuple[int, ...]) -> None:
    """With nothing in flight, which is the rule: as often as its weight says, and not by chance. To four turns: what
    may be made up for.
    """
    chosen = pool(fleet(*weights), "p2c")
    counts = Counter(chosen.pick(b"", (), 0.0) for _ in range(1000 * sum(weights)))

    assert {backend.id: count for backend, count in counts.items()} == {
        backend.id: pytest.approx(1000 * backend.weight, abs=4) for backend in chosen.backends
    }


def test_load_is_for_the_weight_in_whatever_order_two_are_drawn() -> None:
    """Two in flight on weight 3 are less than one on weight 1: who has 3 of 7 is taken in each pair that it is in, and
    6 of 7 have it: 857 of 1000, sigma 11.
    """
    backends = fleet(1, 1, 3, 1, 1)
    for backend in backends:
        backend.in_flight = 2 if backend.weight == 3 else 1
    chosen = pool(backends, "p2c")

    picked = Counter(chosen.pick(b"", (), 0.0).id for _ in range(1000))

    assert picked["c"] == pytest.approx(857, abs=55)
