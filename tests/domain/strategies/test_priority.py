"""Levels, and what spills over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from pydantic import ValidationError

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from app.domain.strategies.first import First
from app.domain.strategies.priority import Priority
from settings.models import Choice
from settings.problems import Wrong
from settings.resilience import HealthSettings
from tests.support.fleet import fleet, pool


def levels(*sizes: int) -> tuple[Backend, ...]:
    """So many backends of level 0, of level 1 and so on, all UP."""
    backends = fleet(*[1] * sum(sizes), health=HealthSettings(kind="tcp", fall=1))
    numbers = [number for number, size in enumerate(sizes) for _ in range(size)]
    for backend, number in zip(backends, numbers, strict=True):
        backend.level = number
        backend.health.observe("", 0.0)
    return backends


def down(*backends: Backend) -> None:
    for backend in backends:
        backend.health.observe("refused", 1.0)


def counts(chosen: Pool, picks: int = 2000, tried: tuple[Backend, ...] = ()) -> Counter[int]:
    """How many each level had."""
    return Counter(chosen.pick(b"%d" % i, tried, i / 100).level for i in range(picks))


@pytest.mark.parametrize(
    ("left", "parts"),
    [
        ((100, 100), (1.0, 0.0)),
        ((72, 100), (1.0, 0.0)),
        ((71, 100), (0.994, 0.006)),
        ((50, 100), (0.70, 0.30)),
        ((25, 100), (0.35, 0.65)),
        ((0, 100), (1.0,)),
        ((25, 25), (0.5, 0.5)),
        ((5, 0), (1.0,)),
        ((50, 10, 100), (0.70, 0.14, 0.16)),
    ],
    ids=str,
)
def test_the_parts_are_those_of_envoy(left: tuple[int, ...], parts: tuple[float, ...]) -> None:
    """The table of its documentation, to which it shows whole percents, and a line with three levels."""
    backends = levels(*[100] * len(left))
    made = Priority(Priority.Options(), rng=Random(7))
    made.follow(backends)
    made.rebuild([b for level, n in enumerate(left) for b in backends[100 * level : 100 * level + n]])

    assert [level.part for level in made._levels] == pytest.approx(parts)


def test_health_is_by_weight() -> None:
    """Of weights 8, 1, 1 the heavy one is missing: 1.4 * 0.2 stays, whoever counts heads."""
    backends = levels(3, 1)
    backends[0].weight = 8
    down(backends[0])

    assert counts(pool(backends, "priority"))[0] == pytest.approx(560, abs=100)  # sigma 20


def test_a_level_without_weight_is_none() -> None:
    """All of level 0 have weight 0, as before they are taken away."""
    backends = levels(2, 1)
    backends[0].weight = backends[1].weight = 0

    assert counts(pool(backends, "priority")) == {1: 2000}


def test_the_level_is_drawn_by_its_part() -> None:
    """One of two of level 0 is draining: 0.7 and 0.3 of 2000; sigma is 20, the bound 5 of it."""
    backends = levels(2, 2)
    chosen = pool(backends, "priority")
    chosen.drain(backends[0])

    assert counts(chosen)[1] == pytest.approx(600, abs=100)

    chosen.undrain(backends[0])

    assert counts(chosen) == {0: 2000}


def test_more_spare_capacity_spills_less() -> None:
    """With 1000 a level gives nothing away until it is gone."""
    backends = levels(10, 1)
    down(*backends[:9])

    assert counts(pool(backends, "priority|overprovisioning=1000")) == {0: 2000}


def test_a_standby_bears_it_all_without_panic() -> None:
    """Two of three are DOWN, and the one of level 1 is there for that: no request goes to those that are DOWN."""
    backends = levels(2, 1)
    down(*backends[:2])
    chosen = pool(backends, "priority")

    assert counts(chosen) == {1: 2000}
    assert not chosen.panic


def test_in_panic_levels_are_as_strong_as_what_is_fit_of_them() -> None:
    """Level 0 is gone, and 1 of 4 is left of level 1: all go to level 1, to those that are DOWN there as well."""
    backends = levels(2, 4)
    down(*backends[:5])
    chosen = pool(backends, "priority")

    assert chosen.panic
    assert {chosen.pick(b"", (), 0.0) for _ in range(100)} == set(backends[2:])


def test_where_nobody_is_fit_all_levels_are_as_they_stand() -> None:
    """All are ejected, which is panic: level 0 has it all."""
    backends = levels(2, 2)
    for one in backends:
        one.breaker.eject("failure_ratio", 0.0, 0.0)
    made = Priority(Priority.Options(), rng=Random(7))
    made.follow(backends)
    made.rebuild(backends)

    assert {made.pick(backends, b"", 0.0).level for _ in range(100)} == {0}


def test_second_attempts_go_on_to_the_next_level_when_the_first_was_tried() -> None:
    """While one of level 0 is left they stay there; then level 1 takes what was not its part."""
    backends = levels(2, 2)
    chosen = pool(backends, "priority")

    assert counts(chosen, 100, backends[:1]) == {0: 100}
    assert counts(chosen, 100, backends[:2]) == {1: 100}
    assert counts(chosen, 100, backends) == {0: 100}


def test_second_attempts_keep_to_the_parts() -> None:
    """Level 0 has two left of five: 1.4 * 0.4, of which one was tried."""
    backends = levels(5, 5)
    down(*backends[:3])

    assert counts(pool(backends, "priority"), tried=backends[3:4])[0] == pytest.approx(1120, abs=115)  # sigma 22


@pytest.mark.parametrize("kind", ["rendezvous", "ring_hash", "maglev"])
def test_only_the_keys_that_spill_over_move(kind: str) -> None:
    """One of two of level 0 goes: its keys move, and 0.3 of all go to level 1; the others stay where they were.

    The keys of the other one that move are those of the 0.3: Binomial(1000, 0.3), sigma 15; the bound is 5 of it.
    """
    backends = levels(2, 2)
    chosen = pool(backends, f"priority|within={kind}")
    keys = [b"%d" % i for i in range(2000)]
    before = {key: chosen.pick(key, (), 0.0) for key in keys}
    chosen.drain(backends[0])
    after = {key: chosen.pick(key, (), 0.0) for key in keys}
    kept = [key for key in keys if before[key] is backends[1]]
    moved = [key for key in kept if after[key] is not backends[1]]

    assert all(after[key].level == 1 for key in moved)
    assert len(moved) / len(kept) == pytest.approx(0.3, abs=0.075)
    assert {key: chosen.pick(key, (), 0.0) for key in keys} == after


def test_within_a_level_weights_are_those_of_the_strategy() -> None:
    """Round robin, where nothing else is said."""
    backends = levels(2, 1)
    backends[0].weight = 3
    chosen = pool(backends, "priority")

    assert Counter(chosen.pick(b"", (), 0.0).id for _ in range(400)) == {"a": 300, "b": 100}


def test_it_is_what_the_strategy_within_is() -> None:
    """Keyed, learning, or told loads; otherwise nobody makes keys, observes or reads a field for nothing."""

    def made(within: str) -> tuple[bool, bool, bytes]:
        one = STRATEGIES.build(Choice(kind="priority", within=within), rng=Random(7))
        return one.keyed, one.learns, one.header

    assert made("round_robin") == (False, False, b"")
    assert made("maglev") == (True, False, b"")
    assert made("peak_ewma") == (False, True, b"")
    assert made("reported") == (False, True, b"x-lb-load")


def test_what_is_learnt_is_learnt_in_its_level() -> None:
    """The slow one of level 0 has one trial, and is avoided."""
    backends = levels(2, 2)
    chosen = pool(backends, "priority|within=peak_ewma")
    for backend, seconds in ((backends[0], 1.0), (backends[1], 0.01)):
        attempt = Attempt(backend, 100.0)
        attempt.status, attempt.first_byte = 200, 100.0 + seconds
        attempt.ended = attempt.first_byte
        chosen.observe(attempt, attempt.ended)

    picked = Counter(chosen.pick(b"", (), 101.0).id for _ in range(100))

    assert picked["b"] >= 99


class Heard(First):
    """A strategy within that says what it was told."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Take the first."""
        self.said.append(("pick", available, key, now))
        return available[0]

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Hear of an attempt."""
        self.said.append(("observe", attempt, now, retry_after))

    def report(self, backend: Backend, load: float, now: float) -> None:
        """Hear of a load."""
        self.said.append(("report", backend, load, now))

    def charge(self, backend: Backend) -> None:
        """Hear of a turn."""
        self.said.append(("charge", backend))


def test_the_strategy_of_a_level_hears_all_that_is_said_of_its_backends() -> None:
    """And nothing of those of another level."""
    backends = levels(1, 1)
    made = Priority(Priority.Options(), rng=Random(7))
    made._strategies = {0: Heard(), 1: (within := Heard())}
    made.rebuild(backends)
    attempt = Attempt(backends[1], 1.0)

    made.observe(attempt, 2.0, 3.0)
    made.report(backends[1], 0.5, 4.0)
    made.charge(backends[1])
    made.pick(backends[1:], b"key", 5.0)
    made.report(backends[0], 0.7, 6.0)

    assert within.said == [
        ("observe", attempt, 2.0, 3.0),
        ("report", backends[1], 0.5, 4.0),
        ("charge", backends[1]),
        ("pick", backends[1:], b"key", 5.0),
    ]


class Plain:
    """A strategy of somebody else, with no word on what it wants."""

    def __init__(self, options: object, **services: object) -> None:
        """Need nothing."""


def test_it_wants_nothing_where_the_strategy_within_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES._table, "plain", Plain)
    made = Priority(Priority.Options(within=Choice(kind="plain")), rng=Random(7))

    assert (made.keyed, made.learns, made.header) == (False, False, b"")


@pytest.mark.parametrize(("kind", "same"), [("maglev", True), ("round_robin", False)])
def test_a_key_decides_the_level_only_where_the_strategy_goes_by_keys(kind: str, same: bool) -> None:
    """And without a key chance does: 0.7 and 0.3, as one of two of level 0 is away."""
    backends = levels(2, 2)
    chosen = pool(backends, f"priority|within={kind}")
    chosen.drain(backends[0])

    assert (len({chosen.pick(b"key", (), 0.0).level for _ in range(100)}) == 1) == same
    assert {chosen.pick(b"", (), 0.0).level for _ in range(100)} == {0, 1}


def test_second_attempts_keep_to_the_level_of_their_key() -> None:
    """One of three of level 0 is away: 0.93 and 0.07."""
    backends = levels(5, 5)
    down(*backends[:3])
    chosen = pool(backends, "priority|within=maglev")
    keys = [b"%d" % i for i in range(200)]
    first = {key: chosen.pick(key, (), 0.0) for key in keys}

    assert [key for key in keys if chosen.pick(key, (first[key],), 0.0).level != first[key].level] == []


def test_which_keys_spill_over_is_the_same_in_every_process() -> None:
    """Written down once: another version that drew otherwise would move them."""
    backends = levels(2, 2)
    chosen = pool(backends, "priority|within=maglev")
    chosen.drain(backends[0])

    assert "".join(str(chosen.pick(b"%d" % i, (), 0.0).level) for i in range(40)) == SPILLED


SPILLED = "0000000001101010000010000001001101010110"


def test_sticky_picks_and_loads_are_told_to_its_level() -> None:
    """A charged one lets its turn go by, as in round robin."""
    backends = levels(2, 1)
    made = STRATEGIES.build(Choice(kind="priority"), rng=Random(7))
    made.rebuild(backends)
    made.charge(backends[0])

    assert "".join(made.pick(backends, b"", 0.0).id for _ in range(3)) == "bab"


@pytest.mark.parametrize(
    ("within", "message"),
    [
        ("p2", "unknown kind 'p2': did you mean 'p2c'?"),
        ({"kind": "nothing_like_it"}, "unknown kind 'nothing_like_it': there are first, "),
        (
            {"kind": "maglev", "table": 4},
            "maglev: table: Input should be greater than or equal to 251: write the options that docs",
        ),
    ],
)
def test_a_strategy_within_that_cannot_be_built_is_refused(within: object, message: str) -> None:
    """When the settings are read, not when a level is used for the first time."""
    with pytest.raises(ValidationError) as caught:
        STRATEGIES.options(Choice(kind="priority", within=within))
    (wrong,) = caught.value.errors()

    assert wrong["loc"] == ("within",)
    assert isinstance(wrong["ctx"]["error"], Wrong)
    assert str(wrong["ctx"]["error"]).startswith(message)
