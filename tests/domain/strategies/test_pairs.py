"""Who is drawn, and how often."""

from collections import Counter
from random import Random

import pytest

from app.domain.strategies.pairs import Pairs
from tests.support.fleet import fleet


@pytest.mark.parametrize(
    "weights", [(1, 1), (1,) * 6, (5, 3, 1, 1), (4, 3, 2, 1, 1, 1), (9, 1), (99, 1, 1), (5000, 5001)], ids=str
)
def test_either_of_a_pair_is_as_likely_as_its_weight(weights: tuple[int, ...]) -> None:
    """Of 20 000 pairs, each in or out: sigma of a share is at most sqrt(20 000) / 40 000 = 0.0035; the bound is 5."""
    backends = fleet(*weights)
    pairs = Pairs(backends, Random(3))

    drawn = Counter(backend for _ in range(20_000) for backend in pairs.draw())

    for backend in backends:
        assert drawn[backend] / 40_000 == pytest.approx(backend.weight / sum(weights), abs=0.0175)


def test_a_pair_is_of_two() -> None:
    """Unless one has more than half of the weight."""
    pairs = Pairs(fleet(5, 3, 1, 1), Random(3))

    assert all(one is not two for one, two in (pairs.draw() for _ in range(5000)))


def test_of_one_backend_a_pair_is_that_one() -> None:
    only = fleet(3)

    assert Pairs(only, Random(3)).draw() == only * 2


class Edge(Random):
    """The greatest number that random() can give."""

    def random(self) -> float:
        return 1.0 - 2**-53


def test_the_greatest_draw_does_not_fall_off_the_end() -> None:
    """Where the gap that the first leaves is added, it may round up to the sum of the weights."""
    backends = fleet(*[1] * 5)

    assert Pairs(backends, Edge()).draw() == (backends[4], backends[3])
    for first in range(4):
        pairs = Pairs(backends, Edge())
        draws = iter((first / 5 + 0.1, 1.0 - 2**-53))
        pairs._draw = draws.__next__

        assert pairs.draw() == (backends[first], backends[4])
