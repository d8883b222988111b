"""Where chance is at its edge."""

from random import Random

from app.domain.registry import NoOptions
from app.domain.strategies import random
from tests.support.fleet import fleet


class Edge(Random):
    """The greatest number that random() can give."""

    def random(self) -> float:
        return 1.0 - 2**-53


def test_the_greatest_draw_is_the_last_backend() -> None:
    """Times a sum of weights it rounds up to the sum itself, which is one too many."""
    backends = fleet(*[65535] * 3)
    chosen = random.Random(NoOptions(), rng=Edge())
    chosen.rebuild(backends)

    assert backends[2] is chosen.pick(backends, b"", 0.0)
