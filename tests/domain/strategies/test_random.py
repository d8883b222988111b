"""Where chance is at its edge."""

from random import Random

import pytest

from app.domain.registry import NoOptions
from app.domain.strategies import random
from tests.support.fleet import fleet


class Edge(Random):
    """The greatest number that random() can give."""

    def random(self) -> float:
        return 1.0 - 2**-53


class Drawn(Random):
    """Chance that is always the same."""

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def random(self) -> float:
        return self.chance


@pytest.mark.parametrize(
    ("chance", "of_all", "of_the_others"),
    [(0.0, 0, 1), (0.16, 0, 1), (0.17, 1, 1), (0.39, 1, 1), (0.41, 1, 2), (0.49, 1, 2), (0.51, 2, 2), (0.99, 2, 2)],
)
def test_chances_are_as_the_weights(chance: float, of_all: int, of_the_others: int) -> None:
    """Weights 1, 2 and 3: sixths; of the last two, which are left when the first was tried, fifths."""
    backends = fleet(1, 2, 3)
    chosen = random.Random(NoOptions(), rng=Drawn(chance))
    chosen.rebuild(backends)

    assert chosen.pick(backends, b"", 0.0) is backends[of_all]
    assert chosen.pick(backends[1:], b"", 0.0) is backends[of_the_others]


@pytest.mark.parametrize("weights", [(65535,) * 3, (1, 1, 1), (2, 3, 3), (65535,) * 20, (1,) * 1000], ids=sum)
def test_the_greatest_draw_is_the_last_backend(weights: tuple[int, ...]) -> None:
    """Times a sum of weights it does not round up to the sum itself, which would be one too many."""
    backends = fleet(*weights)
    chosen = random.Random(NoOptions(), rng=Edge())
    chosen.rebuild(backends)

    assert backends[-1] is chosen.pick(backends, b"", 0.0)
