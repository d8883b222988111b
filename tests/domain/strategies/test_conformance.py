"""What every strategy of the table does, whichever it is."""

from collections import Counter

import pytest

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.strategies import STRATEGIES
from settings.resilience import HealthSettings
from tests.support.fleet import fleet, pool, strategy

KINDS = [
    *STRATEGIES,
    *(f"{kind}|bounded=1.5" for kind in ("maglev", "rendezvous", "ring_hash")),
    *(f"priority|within={kind}" for kind in ("p2c", "peak_ewma", "rendezvous", "reported")),
]
SPREADING = [kind for kind in KINDS if kind != "first"]  # which is for standby, not for spreading

every_strategy = pytest.mark.parametrize("kind", KINDS)
every_spreading = pytest.mark.parametrize("kind", SPREADING)


def picks(kind: str, backends: tuple[Backend, ...], count: int, tried: tuple[Backend, ...] = ()) -> Counter[str]:
    """How often each was picked through a pool, requests coming one after the other."""
    chosen = pool(backends, kind)
    return Counter(chosen.pick(b"%d" % i, tried, i / 100).id for i in range(count))


@every_spreading
def test_spreads_even_load_evenly(kind: str) -> None:
    """Ten equal backends each get a tenth of 10 000 picks, within 15 %.

    For the widest but one, random, a count is Binomial(10 000, 0.1): mean 1000, sigma 30, so that 15 % is 5 sigma. That
    of ring_hash has the arcs of 1024 points besides, 3 % of 1000: sigma 43, 3.5 of them. Others take turns, and are
    off by one.
    """
    counts = picks(kind, fleet(*[1] * 10), 10_000)

    assert len(counts) == 10
    assert all(850 < n < 1150 for n in counts.values())


@every_spreading
@pytest.mark.parametrize("weights", [(5, 3, 1, 1), (1, 1, 3, 5), (5000, 3000, 1000, 1001)], ids=str)
def test_gives_each_its_weight(kind: str, weights: tuple[int, ...]) -> None:
    """Each gets its weight's share of 10 000 picks, within 0.025 of the whole.

    For the widest, random, a count is Binomial(10 000, w/W): sigma is at most sqrt(10 000 / 4) = 50, which is 0.005 of
    the whole, so that the bound is 5 sigma (3.5 where it is arcs of a ring of 10 240 points). It tells the shares
    apart: the least difference between two is 0.2.
    """
    backends = fleet(*weights)

    counts = picks(kind, backends, 10_000)

    for backend in backends:
        assert counts[backend.id] / 10_000 == pytest.approx(backend.weight / sum(weights), abs=0.025)


@every_strategy
def test_picks_only_who_is_available(kind: str) -> None:
    """Neither draining nor weight 0 nor DOWN is picked, be it the first, in the middle or the last."""
    backends = fleet(0, 1, 1, 1, 1, 0)
    backends[1].draining = True
    backends[3].health.observe("refused", 0.0)
    for _ in range(2):
        backends[3].health.observe("refused", 0.0)

    assert set(picks(kind, backends, 200)) <= {"c", "e"}


@every_strategy
def test_never_picks_weight_0(kind: str) -> None:
    """Not even where it is the first and the rest were tried."""
    backends = fleet(0, 3)

    assert picks(kind, backends, 50) == {"b": 50}
    assert picks(kind, backends, 50, tried=backends[1:]) == {"b": 50}


@every_strategy
def test_avoids_what_was_tried_while_another_is_left(kind: str) -> None:
    """A second attempt goes elsewhere; when all were tried, to any of them."""
    backends = fleet(9, 1, 1)

    assert set(picks(kind, backends, 100, tried=backends[:1])) <= {"b", "c"}
    assert picks(kind, backends, 100, tried=backends[:2]) == {"c": 100}
    assert sum(picks(kind, backends, 100, tried=backends).values()) == 100


@every_spreading
def test_spreads_second_attempts_by_weight(kind: str) -> None:
    """What a failing backend cannot serve goes to the others as their weights say, not to the one behind it.

    The widest, random and hashes: Binomial(4000, 0.75), sigma 27; the bound is 5 sigma.
    """
    backends = fleet(1, 3, 1)

    counts = picks(kind, backends, 4000, tried=backends[:1])

    assert counts["b"] == pytest.approx(3000, abs=135)


@every_strategy
def test_follows_the_membership(kind: str) -> None:
    """Who leaves is not picked from the next pick on; who comes back is picked again, where load is spread."""
    backends = fleet(2, 1, 1)
    chosen = pool(backends, kind)
    seen = []
    for draining in (False, True, False):
        backends[0].draining = draining
        chosen.refresh()
        seen.append({chosen.pick(b"%d" % i, (), 0.0).id for i in range(100)})

    assert "a" in seen[0]
    assert "a" not in seen[1]
    assert "a" in seen[2]


@every_spreading
def test_too_few_are_helped_by_panic(kind: str) -> None:
    """One of four is UP: it could not bear what is meant for four, so that the others are used as well."""
    backends = fleet(1, 1, 1, 1, health=HealthSettings(kind="tcp", fall=1))
    for one in backends:
        one.health.observe("" if one is backends[0] else "refused", 0.0)

    assert set(picks(kind, backends, 400)) == set("abcd")


@every_strategy
def test_survives_having_nobody(kind: str) -> None:
    """All go, which the pool answers itself, and all come back."""
    backends = fleet(1, 2)
    chosen = pool(backends, kind)
    for draining in (True, False):
        for backend in backends:
            backend.draining = draining
        chosen.refresh()

    assert chosen.pick(b"key", (), 0.0) in backends


@every_strategy
def test_follows_a_changed_weight(kind: str) -> None:
    """A weight set to 0 takes nothing, one set back takes its share."""
    backends = fleet(1, 1)
    chosen = pool(backends, kind)
    backends[0].weight = 0
    chosen.refresh()

    assert {"b"} == {chosen.pick(b"", (), 0.0).id for _ in range(20)}

    backends[0].weight, backends[1].weight = 1, 0
    chosen.refresh()

    assert {"a"} == {chosen.pick(b"", (), 0.0).id for _ in range(20)}


@every_spreading
def test_frequent_changes_favour_nobody(kind: str) -> None:
    """With a rebuild after every pick, as when health flips all the time, each of four gets a quarter of 4000.

    Each rebuild may draw anew: Binomial(4000, 0.25), sigma 27; the bound is 5 sigma.
    """
    chosen = pool(fleet(1, 1, 1, 1), kind)
    counts: Counter[str] = Counter()
    for _ in range(4000):
        counts[chosen.pick(b"", (), 0.0).id] += 1
        chosen.refresh()

    assert all(n == pytest.approx(1000, abs=135) for n in counts.values())
    assert len(counts) == 4


@every_strategy
def test_may_be_told_of_attempts_whether_it_learns_or_not(kind: str) -> None:
    """Of its own backends and of those that it does not know."""
    backends = fleet(1, 1)
    made = strategy(kind)
    made.rebuild(backends[:1])
    for backend in backends:
        attempt = Attempt(backend, 1.0)
        attempt.first_byte = attempt.ended = 2.0
        made.observe(attempt, 2.0)

    assert made.pick(backends[:1], b"", 2.0) is backends[0]


@every_strategy
def test_may_be_told_of_sticky_picks_and_loads_whether_it_goes_by_them_or_not(kind: str) -> None:
    """Of the backends that are available, and of those that are not."""
    backends = fleet(1, 1, 1)
    made = strategy(kind)
    made.follow(backends)
    made.rebuild(backends[:2])
    for backend in backends:
        made.charge(backend)
        made.report(backend, 0.5, 1.0)

    assert {made.pick(backends[:2], b"%d" % i, float(i)) for i in range(100)} <= set(backends[:2])


@every_strategy
def test_the_same_chance_gives_the_same_picks(kind: str) -> None:
    """All that is random comes in with rng."""
    backends = fleet(3, 2, 1)

    def run() -> list[str]:
        made = strategy(kind, seed=12345)
        made.rebuild(backends)
        return [made.pick(backends, b"", 0.0).id for _ in range(100)]

    assert run() == run()
