"""Two choices."""

from collections import Counter

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

    assert {"a"} == {pool(backends, "p2c").pick(b"", (), 0.0).id for _ in range(50)}
