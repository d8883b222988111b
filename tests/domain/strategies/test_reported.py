"""Shares that follow what the backends say: their load is simulated as what they get beside what they can bear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import inf, nan
from random import Random

import pytest

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.errors import ConnectFailed
from app.domain.strategies.reported import Reported, load_of
from tests.support.fleet import fleet


def built(backends: tuple[Backend, ...], decay: float = 5.0) -> Reported:
    made = Reported(Reported.Options(decay=decay), rng=Random(7))
    made.rebuild(backends)
    return made


def ended(backend: Backend, now: float, status: int = 200) -> Attempt:
    attempt = Attempt(backend, now - 0.01)
    attempt.status, attempt.ended = status, now
    return attempt


def loop(
    made: Reported, capacity: Mapping[Backend, float], *, rate: int, since: float, seconds: int, silent: bool = False
) -> list[Counter[str]]:
    """*rate* requests a second, whose answers tell the load of the second before; what each had in each second."""
    backends = tuple(capacity)
    before = Counter({backend.id: rate / len(backends) for backend in backends})
    seen = []
    for second in range(seconds):
        had: Counter[str] = Counter()
        for i in range(rate):
            now = since + second + i / rate
            backend = made.pick(made._whole, b"", now)
            had[backend.id] += 1
            made.observe(ended(backend, now), now)
            if not silent:
                made.report(backend, before[backend.id] / capacity[backend], now)
        seen.append(had)
        before = had
    return seen


def test_each_gets_what_it_can_bear() -> None:
    """Traefik issue 3745: weights from the application. Capacities 3 to 2 to 1 get 3/6, 2/6 and 1/6 of the requests."""
    capacity = dict(zip(fleet(1, 1, 1), (300.0, 200.0, 100.0), strict=True))

    last = loop(built(tuple(capacity)), capacity, rate=240, since=100.0, seconds=60)[-1]

    assert [last[name] for name in "abc"] == pytest.approx([120, 80, 40], abs=8)


def test_weights_are_where_it_begins() -> None:
    """Loads alike leave them as they are."""
    capacity = dict(zip(fleet(3, 1), (300.0, 100.0), strict=True))
    made = built(tuple(capacity))

    had = Counter(made.pick(made._whole, b"", 100.0).id for _ in range(400))

    assert had["a"] == pytest.approx(300, abs=1)
    assert loop(made, capacity, rate=200, since=100.0, seconds=20)[-1]["a"] == pytest.approx(150, abs=4)


def test_it_does_not_swing_when_all_are_nearly_full() -> None:
    """At 95 % of two alike, each keeps half, second by second; by what is free, shares would swing ever wider."""
    capacity = dict.fromkeys(fleet(1, 1), 100.0)

    seen = loop(built(tuple(capacity)), capacity, rate=190, since=100.0, seconds=60)

    assert all(85 <= had["a"] <= 105 for had in seen)


def test_the_time_constant_is_that_of_the_options() -> None:
    """Loads of 0.8 and 0.2, which stay: after t of decay the logarithms are bent by ln 2 * t each way."""
    backends = fleet(1, 1)
    made = built(backends, decay=10.0)
    for second in range(11):
        made.report(backends[0], 0.8, 100.0 + second)
        made.report(backends[1], 0.2, 100.0 + second)
        made.pick(backends, b"", 101.0 + second)
    had = Counter(made.pick(backends, b"", 111.1).id for _ in range(3000))

    # 11 steps of 1 - exp(-0.1) each: 1.047 of ln 2 either way
    assert had["b"] / had["a"] == pytest.approx(4**1.047, rel=0.1)


def test_nobody_is_starved() -> None:
    """One says full for ever, the other nearly idle: 8 to 1/8 is the worst, one of 65; of 1500 requests 23, not 5."""
    backends = fleet(1, 1)
    made = built(backends)
    had: Counter[str] = Counter()
    for tick in range(60_000):
        now = 100.0 + tick / 100
        had[made.pick(backends, b"", now).id] += tick >= 58_500
        made.report(backends[0], 1.0, now)
        made.report(backends[1], 0.051, now)

    assert had["a"] == pytest.approx(23, abs=1)


def test_where_all_are_idle_all_go_back_to_their_weights() -> None:
    """One was slow, and full; when all is well again little is to do for anybody: that is no reason to keep it down."""
    backends = fleet(1, 1)
    made = built(backends)
    had: Counter[str] = Counter()
    for tick in range(6000):
        now = 100.0 + tick / 100
        backend = made.pick(backends, b"", now)
        had[backend.id] += tick >= 5900
        made.report(backend, 1.0 if backend.id == "a" and tick < 3000 else 0.01, now)

    assert had["a"] == pytest.approx(50, abs=2)


def test_no_herd_on_who_says_idle() -> None:
    """A backend that begins, beside three at 0.9, gets more and more: at most a fifth more in each second."""
    backends = fleet(1, 1, 1, 1)
    made = built(backends)
    seen = []
    for second in range(20):
        had: Counter[str] = Counter()
        for i in range(400):
            now = 100.0 + second + i / 400
            had[made.pick(backends, b"", now).id] += 1
            for backend in backends:
                made.report(backend, 0.05 if backend.id == "d" else 0.9, now)
        seen.append(had["d"])

    # ln(0.9 / 0.05) * (1 - exp(-1 / 5)) = 0.52 a second between the two: 1.69 times, of a share of 1/4
    assert seen[0] == pytest.approx(100, abs=1)
    assert all(after <= before * 1.69 + 4 for before, after in pairwise(seen))


def test_what_was_said_ages() -> None:
    """Who falls silent keeps its share for 3 * decay, and from then on goes back to its weight."""
    capacity = dict(zip(fleet(1, 1), (200.0, 50.0), strict=True))
    made = built(tuple(capacity))
    bent = loop(made, capacity, rate=100, since=100.0, seconds=60)[-1]
    silence = loop(made, capacity, rate=100, since=160.0, seconds=60, silent=True)

    assert bent["b"] == pytest.approx(20, abs=3)
    assert silence[13]["b"] == pytest.approx(20, abs=3)
    assert silence[-1]["b"] == pytest.approx(50, abs=2)
    assert made._due == inf  # and nothing is looked at any more


def test_who_never_says_anything_has_its_weight() -> None:
    """Beside others that do, and are bent among themselves; its failures alone are no load."""
    capacity = dict(zip(fleet(1, 1, 1), (300.0, 100.0, inf), strict=True))
    made = built(tuple(capacity))
    silent = tuple(capacity)[2]
    for second in range(40):
        for i in range(100):
            now = 100.0 + second + i / 100
            for backend, load in zip(capacity, (0.2, 0.8), strict=False):
                made.report(backend, load, now)
            made.observe(ended(silent, now, status=503 if i % 2 else 200), now)
            made.pick(made._whole, b"", now)

    assert made._said[silent].bent == 0.0


@pytest.mark.parametrize("says", [True, False])
def test_failing_fast_is_not_idle(says: bool) -> None:
    """One of two fails all, which is full, whatever its field says; the other is at 0.3: it gets under a fifth."""
    good, bad = backends = fleet(1, 1)
    made = built(backends)
    had: Counter[str] = Counter()
    for tick in range(3000):
        now = 100.0 + tick / 100
        backend = made.pick(backends, b"", now)
        had[backend.id] += tick >= 2000
        made.observe(ended(backend, now, status=503 if backend is bad else 200), now)
        if backend is good:
            made.report(good, 0.3, now)
        elif says:
            made.report(bad, 0.0, now)

    assert 0 < had["b"] < 200


def test_an_error_of_the_backend_is_a_failure() -> None:
    """No response at all says full as well."""
    backends = fleet(1, 1)
    made = built(backends)
    attempt = ended(backends[0], 100.0, status=0)
    attempt.error = ConnectFailed("refused")
    made.observe(attempt, 100.0)

    assert made._said[backends[0]].load() == 1.0


def test_only_loads_are_taken() -> None:
    """No number, or one below nothing, is ignored; one above 1 is 1. Of a backend that is not there nothing is kept."""
    here, gone = fleet(1, 1)
    made = built((here,))
    for value in (nan, -0.1, -inf):
        made.report(here, value, 100.0)

    assert made._said[here].load() is None

    made.report(here, 3.5, 100.0)
    made.report(gone, 0.5, 100.0)
    made.observe(ended(gone, 100.0), 100.0)

    assert made._said[here].load() == 1.0
    assert gone not in made._said


def test_who_comes_back_starts_with_its_weight() -> None:
    """What it said before is of another time; who stayed keeps what it has."""
    capacity = dict(zip(fleet(1, 1, 1), (300.0, 100.0, 100.0), strict=True))
    made = built(tuple(capacity))
    loop(made, capacity, rate=150, since=100.0, seconds=30)
    backends = made._whole
    stayed = made._said[backends[0]].bent
    made.rebuild(backends[:2])
    made.rebuild(backends)

    assert made._said[backends[0]].bent == stayed > 0.3
    assert made._said[backends[2]].bent == 0.0


def test_second_attempts_go_by_load_as_well() -> None:
    """Of three, the first was tried: the others share as 0.2 and 0.8 bent them, about 3 to 1 after 5 s."""
    backends = fleet(1, 1, 1)
    made = built(backends)
    for second in range(6):
        for backend, load in zip(backends, (0.4, 0.2, 0.8), strict=True):
            made.report(backend, load, 100.0 + second)
        made.pick(backends, b"", 101.0 + second)
    had = Counter(made.pick(backends[1:], b"", 106.5).id for _ in range(2000))

    # 6 steps of 1 - exp(-0.2) each: 1.088 of ln 4 between the two
    assert had["b"] / had["c"] == pytest.approx(4**1.088, rel=0.25)


@pytest.mark.parametrize(
    ("value", "load"),
    [
        (b"0", 0.0), (b"1", 1.0), (b"0.75", 0.75), (b".5", 0.5), (b" 75% ", 0.75), (b"120%", 1.2), (b"3.5", 3.5),
        (b"", None), (b"%", None), (b".", None), (b"nan", None), (b"-1", None), (b"1e3", None), (b"0,5", None),
        (b"idle", None), (b"1_0", None), (b"0.5;q=1", None), (b"9" * 400, None),
    ],
)  # fmt: skip
def test_what_a_field_says(value: bytes, load: float | None) -> None:
    """A number or a percentage, and nothing that only looks like one."""
    assert load_of(value) == (load if load is None else pytest.approx(load))


def test_the_name_of_the_field_is_as_fields_are_kept() -> None:
    """In lower case."""
    assert Reported(Reported.Options(header="X-Load"), rng=Random(7)).header == b"x-load"
