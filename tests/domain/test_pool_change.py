"""A pool whose backends come and go while it serves."""

from __future__ import annotations

from collections import Counter
from math import inf
from random import Random

import pytest

from app.domain.breaker import CLOSED
from app.domain.errors import NoBackend
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from settings.models import Choice
from settings.pools import PoolSettings
from tests.support.answers import answer
from tests.support.fleet import backend, fleet, pool, strategy


def test_who_stays_keeps_what_it_has_and_so_does_the_pool() -> None:
    """Its counters, its breaker; and who is new has the breaker and the limit that the settings say."""
    chosen = Pool("p", PoolSettings(backend_max_in_flight=7), strategy("round_robin"), fleet(1, 1, 1), rng=Random(7))
    a, b, c = chosen.backends
    for _ in range(5):
        chosen.observe(answer(a, 100.0, 503), 100.0)
    a.in_flight, chosen.in_flight = 3, 3
    new = backend("n")

    chosen.change((b, a, new))

    assert chosen.backends == (b, a, new)
    assert chosen.available == (b, new)
    assert (a.in_flight, chosen.in_flight, new.max_in_flight) == (3, 3, 7)
    assert {chosen.pick(b"", (), 101.0) for _ in range(20)} == {b, new}
    for _ in range(5):
        chosen.observe(answer(new, 102.0, 503), 102.0)
    assert new.breaker.state is CLOSED  # one of three may be out, and that is a
    chosen.change((b, new))
    for _ in range(5):
        chosen.observe(answer(new, 103.0, 503), 103.0)
    assert chosen.available == (b,)
    assert c not in chosen.leaving  # it had nothing


def test_who_is_gone_takes_nothing_new_and_is_there_until_it_is_idle() -> None:
    """Not even from a client that a cookie keeps at it, drained or not: where it was, somebody else may be."""
    chosen = Pool("p", PoolSettings(slow_start={"window": 10.0}), strategy("first"), fleet(1, 1, 1))  # type: ignore[arg-type]
    a, b, c = chosen.backends
    chosen.pick(b"", (), 0.0)
    a.in_flight = b.in_flight = 1
    b.draining = True

    chosen.change((c,))

    assert chosen.leaving == (a, b)
    assert (a.absence(0.0), a.entered) == ("draining", None)
    for gone in (a, b):
        assert chosen.pick(b"", (), 1.0, gone) is c
    a.in_flight = 0
    assert chosen.leaving == (b,)
    chosen.forget((b,))
    assert chosen.leaving == ()
    assert b.in_flight == 1


def test_one_that_comes_back_is_the_same() -> None:
    """As it left: one that was draining is draining."""
    chosen = pool(fleet(1, 1, 1))
    a, b, c = chosen.backends
    a.in_flight = b.in_flight = 1
    b.draining = True
    chosen.change((c,))

    chosen.change((a, b, c))

    assert chosen.leaving == ()
    assert chosen.available == (a, c)


def test_late_answers_of_one_that_is_gone_eject_nobody() -> None:
    chosen = pool(fleet(1, 1))
    a, b = chosen.backends
    heard: list[str] = []
    chosen.tell = lambda sentence, _: heard.append(sentence)
    chosen.change((b,))
    for _ in range(9):
        chosen.observe(answer(a, 100.0, 503), 100.0)

    assert heard == []
    assert chosen._ejections.due == inf


def test_what_is_leaving_goes_on_in_the_pool_that_takes_the_place() -> None:
    """Who is in there is not leaving; who is not is."""
    old = pool(fleet(1, 1, 1, 1))
    a, b, c, d = old.backends
    for one in (a, b, d):
        one.in_flight = 1
    old.change((c, d))
    new = pool((a, c))

    old.yield_to(new)

    assert new.leaving == (b, d)
    assert (a.leaving, b.leaving, c.leaving, d.leaving) == (False, True, False, True)


@pytest.mark.parametrize("kind", list(STRATEGIES))
def test_every_strategy_follows(kind: str) -> None:
    """From none to one to many and back, whatever it has learnt: nobody who is gone is picked, nobody left out."""
    chosen = Pool("p", PoolSettings(strategy=Choice(kind=kind), panic=0.0), strategy(kind), ())
    everybody = fleet(1, 2, 1, 1)
    rng = Random(7)
    now = 0.0
    for count in (1, 4, 2, 3, 1, 0, 4):
        members = tuple(rng.sample(everybody, count))
        chosen.change(members)
        if not members:
            with pytest.raises(NoBackend, match="no backends"):
                chosen.pick(b"k", (), now)
            continue
        picked: Counter[object] = Counter()
        for number in range(400):
            now += 0.001
            one = chosen.pick(b"%d" % number, (), now)
            picked[one] += 1
            chosen.observe(answer(one, now, head=0.01), now)
        assert set(picked) == set(members if kind != "first" else members[:1])
