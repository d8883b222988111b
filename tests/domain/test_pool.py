"""What the pool sees to, so that no strategy has to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any

import pytest

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.breaker import CONSECUTIVE, SLOW, Breaker, State
from app.domain.errors import ClientGone, Full, NoBackend, ResponseTimeout
from app.domain.exchange import Exchange
from app.domain.pool import Pool
from app.domain.strategies.first import First
from settings.pools import PoolSettings
from settings.resilience import HealthSettings
from tests.support.answers import answer
from tests.support.fleet import backend, fleet, pool, strategy

PROBED = HealthSettings(path="/health", interval=5.0, down_interval=2.0, transition_interval=1.0, rise=2, fall=3)


def test_available_is_kept_in_the_order_of_the_settings() -> None:
    """One tuple until something flips."""
    backends = fleet(1, 1, 1)
    chosen = pool(backends)
    backends[1].draining = True

    assert backends == chosen.available

    chosen.refresh()

    assert (backends[0], backends[2]) == chosen.available
    assert chosen.available is chosen.available


def test_nothing_available_is_refused_at_once_with_the_time_of_hope() -> None:
    """The soonest of those that a probe may bring back: a in 3 + 1 s, b in 7 s; c and d wait for the operator."""
    backends = [backend(name, health=PROBED) for name in "abcd"]
    backends[0].health.observe("refused", 100.0)
    backends[0].health.due = 103.0
    backends[1].health.due = 107.0
    backends[2].draining = True
    backends[3].weight = 0
    backends[3].health.observe("", 100.0)
    chosen = pool(tuple(backends))

    with pytest.raises(NoBackend, match=r"^pool p: 1 down, 1 checking, 1 draining, 1 weight 0$") as refused:
        chosen.pick(b"", (), 100.0)

    assert refused.value.retry_after == 4.0


def test_hope_is_never_less_than_a_second_away() -> None:
    """Nor where a probe is under way, where only the operator can help, or where there are no backends."""
    checking, draining = backend(health=PROBED), backend()
    draining.draining = True
    for backends in ((checking,), (draining,), ()):
        with pytest.raises(NoBackend) as refused:
            pool(backends).pick(b"", (), 100.0)
        assert refused.value.retry_after == 1.0


def test_a_pool_without_backends_says_so() -> None:
    """Its 503 is not to be taken for a failure."""
    with pytest.raises(NoBackend, match="pool p: no backends"):
        pool(()).pick(b"", (), 0.0)


def test_a_strategy_is_told_what_it_wants_to_learn() -> None:
    """And nobody is asked where it wants nothing: round robin must not pay for what others need."""
    chosen = pool(fleet(1, 1), "peak_ewma")
    a, b = chosen.backends
    for _ in range(20):
        chosen.observe(answer(a, 1.0, head=0.01), 1.0)
        chosen.observe(answer(b, 1.0, head=0.5), 1.0)

    assert Counter(chosen.pick(b"", (), 1.0).id for _ in range(100))["a"] > 90


@pytest.mark.parametrize(("said", "share"), [(b"0.9", 0.5), (b"90%", 0.5), (b"high", 1.0), (b"-1", 1.0)])
def test_a_backend_says_its_load_traefik_3745(said: bytes, share: float) -> None:
    """In a field that the strategy names; what is no load says nothing."""
    chosen = pool(fleet(1, 1), "reported")
    a, b = chosen.backends
    for second in range(60):
        for one, load in ((a, said), (b, b"0.3")):
            chosen.report(one, load, float(second))
        found = Counter(chosen.pick(b"", (), second + 0.5) for _ in range(100))

    assert chosen.load_header == b"x-lb-load"
    assert (found[a] < found[b] * share) == (share < 1.0)
    assert pool(fleet(1)).load_header == b""


def test_a_key_is_made_where_somebody_goes_by_it() -> None:
    """By the client where a strategy hashes and nothing is said; otherwise nothing is computed."""
    exchange = Exchange(0.0, "192.0.2.7", "http", "GET", "h", "/")

    assert pool(fleet(1)).affinity is None
    for kind, said, expected in (
        ("maglev", (), b"192.0.2.7"), ("maglev", ("path",), b"/a"), ("round_robin", ("path",), b"/a"),
    ):  # fmt: skip
        affinity = pool(fleet(1), kind, affinity=said).affinity
        assert affinity is not None
        assert affinity(exchange, [], b"/a?b") == expected


class Heard(First):
    """A strategy that says what it was told."""

    __slots__ = ("said",)
    learns = True

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def follow(self, backends: Sequence[Backend]) -> None:
        """Hear of them."""
        self.said.append(("follow", backends))

    def suffices(self, available: Sequence[Backend]) -> bool:
        """Hear of those who are left."""
        self.said.append(("suffices", available))
        return False

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Take the first."""
        self.said.append(("pick", available, key, now))
        return available[0]

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Hear of an attempt."""
        self.said.append(("observe", attempt, now, retry_after))

    def heard(self) -> list[tuple[object, ...]]:
        """What it was told since it was asked last."""
        said, self.said = self.said, []
        return said


def heard(backends: tuple[Backend, ...], **settings: Any) -> tuple[Pool, Heard]:
    """A pool of these, and its strategy, which has heard of them."""
    ours = Heard()
    chosen = Pool("p", PoolSettings(**settings), ours, backends)
    ours.heard()
    return chosen, ours


def test_a_strategy_hears_of_the_backends_there_are() -> None:
    """At the beginning and with every change."""
    ours = Heard()
    backends = fleet(1, 1)
    chosen = Pool("p", PoolSettings(), ours, backends)
    assert ours.heard() == [("follow", backends)]

    others = (backends[1], *fleet(1))
    chosen.change(others)
    assert ours.heard() == [("follow", others)]


class Plain:
    """A strategy of somebody else, with no word on what it wants."""

    def follow(self, backends: Sequence[Backend]) -> None:
        """Need nothing."""

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Need nothing."""

    def suffices(self, available: Sequence[Backend]) -> bool:
        """Know nothing."""
        return False

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Take the last."""
        return available[-1]

    def charge(self, backend: Backend) -> None:
        """Need nothing."""

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Not be told."""
        pytest.fail("nobody asked for it")


def test_a_strategy_that_says_nothing_of_itself_wants_nothing() -> None:
    """No key, no field, no attempts."""
    chosen = Pool("p", PoolSettings(), Plain(), fleet(1, 1))  # type: ignore[arg-type]
    chosen.observe(answer(chosen.backends[0], 1.0), 1.0)

    assert (chosen.affinity, chosen.load_header) == (None, b"")
    assert chosen.pick(b"", (), 1.0) is chosen.backends[1]


def test_a_pool_goes_by_its_settings() -> None:
    chosen = pool(fleet(1), timeouts={"connect": 1.5})

    assert chosen.timeouts == chosen.settings.timeouts
    assert chosen.timeouts.connect == 1.5


def test_what_another_process_says_is_why_a_backend_is_suspect() -> None:
    chosen = pool(fleet(1, 1))
    chosen.suspect(chosen.backends[0], SLOW, 3.0)

    assert (chosen.backends[0].breaker.state, chosen.backends[0].breaker.reason) == (State.HALF_OPEN, SLOW)


def test_a_strategy_is_asked_whether_those_who_are_left_suffice() -> None:
    chosen, ours = heard(fleet(1, 1, 1))
    a, b, c = chosen.backends
    for one in (a, b):
        one.breaker.eject(CONSECUTIVE, 0.0, 0.0)
    chosen.settings = PoolSettings(breaker={"max_ejected": 1.0})
    chosen._ejections = type(chosen._ejections)(chosen.settings.breaker, chosen.backends, Random(1))
    chosen.refresh()

    assert ours.heard() == [("suffices", (c,))]


def test_a_strategy_hears_of_attempts_with_what_they_ask_for() -> None:
    """Also of a failure; of one that asks for no pause, that it is none."""
    chosen, ours = heard(fleet(1, 1))
    attempts = [answer(chosen.backends[0], 7.0, 429), answer(chosen.backends[0], 8.0, 503)]
    chosen.observe(attempts[0], 7.5, 3.0)
    chosen.observe(attempts[1], 8.0)

    assert ours.heard() == [("observe", attempts[0], 7.5, 3.0), ("observe", attempts[1], 8.0, 0.0)]


def test_a_strategy_gets_key_and_time_however_it_comes_to_be_asked() -> None:
    """Straight; with a limit; with one that was tried, or is full; and by way of a pool whose place another took."""
    chosen, ours = heard(fleet(1, 1))
    a, b = chosen.backends
    chosen.pick(b"key", (), 1.0)
    chosen.pick(b"key", (a,), 2.0)
    chosen.pick(b"key", (a, b), 3.0)
    assert ours.heard() == [
        ("pick", (a, b), b"key", 1.0),
        ("pick", (b,), b"key", 2.0),
        ("pick", (a, b), b"key", 3.0),
    ]

    a.max_in_flight = a.in_flight = 1
    chosen.refresh()
    assert chosen.pick(b"key", (), 4.0) is b
    assert ours.heard() == [("pick", (a, b), b"key", 4.0), ("pick", (b,), b"key", 4.0)]

    heir, its = heard(chosen.backends)
    chosen.yield_to(heir)
    chosen.pick(b"key", (), 5.0)
    assert (ours.heard(), its.heard()[-1]) == ([], ("pick", (a, b), b"key", 5.0))


def test_what_takes_the_place_of_a_pool_keeps_clients_where_a_cookie_keeps_them() -> None:
    chosen, _ = heard(fleet(1, 1))
    heir, its = heard(chosen.backends)
    chosen.yield_to(heir)

    assert chosen.pick(b"", (), 0.0, chosen.backends[1]) is chosen.backends[1]
    assert its.heard() == []


def test_a_pool_without_a_generator_of_its_own_goes_by_its_name() -> None:
    """So that what it does can be done again."""
    ends = set()
    for _ in range(3):
        chosen = Pool("p", PoolSettings(), strategy("first"), fleet(1, 1))
        fail(chosen, chosen.backends[0], 100.0)
        ends.add(chosen.backends[0].breaker.until)

    assert len(ends) == 1


def test_undrained_it_takes_part() -> None:
    chosen = pool(fleet(1, 1))
    a, _ = chosen.backends
    chosen.drain(a, 5.0)
    assert (a.draining, a.let_go, a in chosen.available) == (True, 5.0, False)

    chosen.undrain(a)

    assert a.draining is False
    assert a in chosen.available


def test_who_is_up_again_is_closed_from_then_on() -> None:
    chosen = pool(fleet(1, 1, health=PROBED))
    a, _ = chosen.backends
    a.health.observe("", 0.0)
    a.breaker.eject(CONSECUTIVE, 0.0, 0.0)
    chosen.flip(a, 9.0)

    assert (a.breaker.state, a.breaker.since) == (State.CLOSED, 9.0)


# Limits


def limited(*limits: int, **settings: Any) -> Pool:
    """A backend for each limit of its own; 0 is without."""
    backends = fleet(*[1] * len(limits))
    for one, limit in zip(backends, limits, strict=True):
        one.spec = one.spec.model_copy(update={"max_in_flight": limit})
    return pool(backends, **settings)


def filling(chosen: Pool, count: int) -> str:
    """Who takes as many requests that do not end."""
    taken = ""
    for _ in range(count):
        one = chosen.pick(b"", (), 0.0)
        one.in_flight += 1
        chosen.in_flight += 1
        taken += one.id
    return taken


def test_a_full_backend_takes_nothing_more() -> None:
    """The others do, until all are full; then it is said at once, and not as an outage."""
    chosen = limited(1, 2)

    assert sorted(filling(chosen, 3)) == ["a", "b", "b"]
    with pytest.raises(Full, match=r"^pool p: all of 2 backends are at their limit$") as refused:
        chosen.pick(b"", (), 0.0)
    assert (refused.value.status, refused.value.retry_after) == (503, 1.0)

    chosen.backends[0].in_flight -= 1

    assert filling(chosen, 1) == "a"


def test_a_backend_without_a_limit_of_its_own_has_the_pools() -> None:
    """0 of its own is without limit, whatever the pool says."""
    backends = (*fleet(1, 1), *limited(0).backends)
    chosen = pool(backends, backend_max_in_flight=7)

    assert [one.max_in_flight for one in chosen.backends] == [7, 7, 0]


def test_a_pool_has_a_limit_that_can_be_set() -> None:
    chosen = pool(fleet(1, 1), max_in_flight=3)
    filling(chosen, 3)
    with pytest.raises(Full, match=r"^pool p: 3 in flight, 3 is the limit$"):
        chosen.pick(b"", (), 0.0)

    chosen.limit = 4

    assert filling(chosen, 1)

    chosen.in_flight, chosen.limit = 1, 1
    with pytest.raises(Full):
        chosen.pick(b"", (), 0.0, chosen.backends[0])


def test_nobody_there_is_worse_than_full() -> None:
    """Nobody waits in a queue for a pool that is gone."""
    chosen = pool(fleet(1), max_in_flight=1)
    filling(chosen, 1)
    chosen.drain(chosen.backends[0])

    with pytest.raises(NoBackend) as refused:
        chosen.pick(b"", (), 0.0)
    assert not isinstance(refused.value, Full)


def test_a_second_attempt_goes_where_there_is_room_traefik_2723() -> None:
    """To one that was tried rather than to one that is full; to one that was not, rather than to any."""
    chosen = limited(1, 1, 0)
    a, b, c = chosen.backends

    assert {chosen.pick(b"", [a, c], 0.0) for _ in range(20)} == {b}

    b.in_flight = 1

    assert {chosen.pick(b"", [a], 0.0) for _ in range(20)} == {c}
    assert {chosen.pick(b"", [c], 0.0) for _ in range(20)} == {a}

    a.in_flight = 1

    assert chosen.pick(b"", [c], 0.0) is c


# Breakers


def fail(chosen: Pool, one: Backend, now: float, times: int = 5) -> None:
    for _ in range(times):
        chosen.observe(answer(one, now, 503), now)


def hearing(chosen: Pool) -> list[str]:
    """What the pool says from now on."""
    heard: list[str] = []
    chosen.tell = lambda sentence, one: heard.append(f"{one.id} {sentence}" if one else sentence)
    return heard


def steady(backends: tuple[Backend, ...], kind: str = "round_robin", **settings: Any) -> Pool:
    """A pool whose ejections have no jitter."""
    settings["breaker"] = {"jitter": 0.0} | settings.get("breaker", {})
    return pool(backends, kind, **settings)


def test_the_whole_cycle_is_told_traefik_3590() -> None:
    """Which backend, why, for how long; and there is one reason why it is absent, and a count of them."""
    chosen = steady(fleet(1, 1))
    a, b = chosen.backends
    heard = hearing(chosen)
    fail(chosen, a, 100.0)

    assert chosen.available == (b,)
    assert a.absence(112.0) == "ejected: consecutive_failures until 18s from now"

    chosen.pick(b"", (), 129.9)

    assert chosen.available == (b,)

    picked = [chosen.pick(b"", (), 130.0) for _ in range(10)]

    assert picked.count(a) == 3  # as many as may find out
    assert (a.absence(130.0), a.breaker.state, a.available) == ("half-open", State.HALF_OPEN, True)

    fail(chosen, a, 131.0, 1)

    assert chosen.available == (b,)

    chosen.pick(b"", (), 191.0)
    for _ in range(3):
        chosen.observe(answer(a, 192.0), 192.0)

    assert (a.absence(192.0), chosen.available) == ("", (a, b))
    assert heard == [
        "a ejected for 30s: 5 failures in a row",
        "a back: half-open",
        "a ejected for 60s: failed again",
        "a back: half-open",
        "a back: closed",
    ]
    assert a.breaker.ejections == {CONSECUTIVE: 2}
    assert Counter(chosen.pick(b"", (), 192.0) for _ in range(10)) == {a: 5, b: 5}


def test_one_blip_removes_nobody_traefik_12390() -> None:
    """One probe that fails, or four answers in a row."""
    chosen = steady(fleet(1, 1, health=PROBED))
    a, b = chosen.backends
    for one in (a, b):
        one.health.observe("", 0.0)
        chosen.flip(one, 0.0)
    fail(chosen, a, 100.0, 4)

    assert not b.health.observe("timeout", 100.0)
    assert chosen.available == (a, b)


def test_jitter_makes_each_ejection_another() -> None:
    """By chance that is given, up to a tenth longer."""
    ends = set()
    for seed in range(20):
        chosen = Pool("p", PoolSettings(), strategy("first"), fleet(1, 1), rng=Random(seed))
        fail(chosen, chosen.backends[0], 100.0)
        ends.add(chosen.backends[0].breaker.until)

    assert len(ends) == 20
    assert min(ends) >= 130.0
    assert max(ends) <= 133.0


def test_no_more_than_half_are_ejected_envoy_27066() -> None:
    """Counted after: of four, two; the third stays for as long as they are out, and goes when one is back."""
    chosen = steady(fleet(1, 1, 1, 1))
    a, b, c, d = chosen.backends
    for one in (a, b, c, d):
        fail(chosen, one, 100.0)

    assert chosen.available == (c, d)

    fail(chosen, c, 120.0, 50)

    assert chosen.available == (c, d)

    chosen.pick(b"", (), 130.0)
    fail(chosen, c, 131.0, 50)  # a and b may be out again any moment

    assert chosen.available == (a, b, c, d)

    for _ in range(3):
        chosen.observe(answer(a, 132.0), 132.0)
    fail(chosen, c, 133.0, 1)

    assert chosen.available == (a, b, d)


def test_a_single_backend_is_never_ejected_frankendeploy_94() -> None:
    """Slow is not dead, nor is a 503 for some: with nobody else to ask, half of the answers are better than none."""
    chosen = steady(fleet(1), breaker={"slow": 0.1})
    (a,) = chosen.backends
    fail(chosen, a, 100.0, 200)
    for _ in range(200):
        chosen.observe(answer(a, 101.0, head=0.9), 101.0)

    assert chosen.pick(b"", (), 101.0) is a


def test_slow_ones_are_ejected_but_not_all() -> None:
    """Of three with a cap of all: the last one stays, and takes back the others when it goes."""
    chosen = steady(fleet(1, 1, 1, health=PROBED), breaker={"slow": 0.1, "max_ejected": 1.0}, panic=0)
    heard = hearing(chosen)
    for one in chosen.backends:
        one.health.observe("", 0.0)
    chosen.refresh()
    for one in chosen.backends:
        for _ in range(100):
            chosen.observe(answer(one, 100.0, head=0.9), 100.0)
    a, b, c = chosen.backends

    assert chosen.available == (c,)

    for _ in range(3):
        c.health.observe("refused", 105.0)
    chosen.flip(c, 105.0)

    assert chosen.available == (a, b)
    assert heard == [
        "a ejected for 30s: 20 of 20 slow",
        "b ejected for 30s: 20 of 20 slow",
        "a back: closed, for the pool cannot spare it",
        "b back: closed, for the pool cannot spare it",
    ]
    assert (a.breaker.ejections, c.breaker.ejections) == ({SLOW: 1}, {})


def test_slow_again_while_half_open_is_well_enough_where_nobody_else_is_left() -> None:
    chosen = steady(fleet(1, 1, health=PROBED), breaker={"slow": 0.1}, panic=0)
    a, b = chosen.backends
    for one in (a, b):
        one.health.observe("", 0.0)
    chosen.refresh()
    for _ in range(20):
        chosen.observe(answer(a, 100.0, head=0.9), 100.0)
    chosen.pick(b"", (), 130.0)
    for _ in range(3):
        b.health.observe("refused", 131.0)
    chosen.flip(b, 131.0)
    heard = hearing(chosen)
    chosen.observe(answer(a, 132.0, head=0.9), 132.0)

    assert (a.breaker.state, chosen.available, heard) == (State.CLOSED, (a,), ["a back: closed"])


@pytest.mark.parametrize("goes", ["drain", "weigh"])
def test_who_is_left_alone_is_let_off(goes: str) -> None:
    """One of two was ejected; when the other goes, the pool is one of a single backend."""
    chosen = steady(fleet(1, 1))
    a, b = chosen.backends
    fail(chosen, a, 100.0)
    heard = hearing(chosen)
    chosen.drain(b) if goes == "drain" else chosen.weigh(b, 0)

    assert (chosen.available, heard) == ((a,), ["a back: closed, for the pool cannot spare it"])


def test_a_probe_that_passes_again_ends_an_ejection() -> None:
    """What has come up again is not what failed. A probe that passes as ever says nothing of the kind."""
    chosen = steady(fleet(1, 1, health=PROBED))
    a, b = chosen.backends
    for one in (a, b):
        assert one.health.observe("", 0.0)
        chosen.flip(one, 0.0)
    fail(chosen, a, 100.0)

    assert not a.health.observe("", 101.0)
    assert chosen.available == (b,)

    for _ in range(3):
        a.health.observe("refused", 102.0)
    chosen.flip(a, 102.0)

    assert a.absence(102.0) == "down"

    heard = hearing(chosen)
    for _ in range(2):
        a.health.observe("", 103.0)
    chosen.flip(a, 103.0)

    assert (chosen.available, heard) == ((a, b), ["a back: closed, for its probes pass"])


def test_nobody_is_stuck_unhealthy_kong_15001() -> None:
    """Every answer that a backend can give after its ejection leads back, also none at all: no restart is needed."""
    for status, error in ((200, None), (404, None), (500, None), (0, ClientGone()), (0, None)):
        chosen = steady(fleet(1, 1))
        a, _ = chosen.backends
        fail(chosen, a, 100.0)
        now = 130.0
        while a.breaker.state is not State.CLOSED and now < 200.0:
            for _ in range(9):
                chosen.pick(b"", (), now)
            if status:
                chosen.observe(answer(a, now + 1, status, error=error), now + 1)
            now += 10.0
            assert a.breaker.state is not State.OPEN
        assert (a.breaker.state is State.CLOSED) == bool(status)

        chosen.pick(b"", (), now + 30.0)  # those that never answered make room again

        assert a in {chosen.pick(b"", (), now + 30.0) for _ in range(2)}


def test_outliers_are_looked_for_once_a_bucket() -> None:
    """And ejected as far as the pool can spare them."""
    chosen = steady(fleet(*[1] * 6), breaker={"outliers": 1.9, "consecutive": 0})
    heard = hearing(chosen)
    chosen.pick(b"", (), 100.0)
    for one in chosen.backends:
        for i in range(20):
            chosen.observe(answer(one, 100.0, 503 if one.id == "f" and i % 3 == 0 else 200), 100.0)
    chosen.pick(b"", (), 100.5)

    assert heard == []

    chosen.pick(b"", (), 101.0)

    assert heard == ["f ejected for 30s: 65% succeed, 94% in the pool"]

    chosen.pick(b"", (), 131.0)

    assert heard[1:] == ["f back: half-open"]


def test_an_outlier_that_cannot_be_spared_stays() -> None:
    chosen = steady(fleet(*[1] * 6), breaker={"outliers": 1.9, "max_ejected": 0.17})
    a, f = chosen.backends[0], chosen.backends[5]
    chosen.pick(b"", (), 99.0)
    for one in chosen.backends:
        for i in range(20):
            chosen.observe(answer(one, 100.0, 503 if one is f and i % 3 == 0 else 200), 100.0)
    fail(chosen, a, 100.0)
    chosen.pick(b"", (), 101.0)

    assert chosen.available == chosen.backends[1:]


def test_switched_off_nobody_is_ejected_and_nothing_is_counted() -> None:
    chosen = steady(fleet(1, 1), breaker={"enabled": False, "outliers": 1.0})
    for one in chosen.backends:
        fail(chosen, one, 100.0, 100)
        chosen.observe(answer(one, 100.0), 100.0)

    assert chosen.available == chosen.backends
    assert chosen._due == float("inf")
    assert all(one.breaker.counts()[1] == 0 for one in chosen.backends)


@pytest.mark.uncompiled
@pytest.mark.parametrize("enabled", [True, False])
def test_a_pass_is_counted_in_one_call(enabled: bool) -> None:
    """What nearly every request ends with must not cost a walk through the rules; the breaker is not even asked."""
    chosen = steady(fleet(1, 1), breaker={"enabled": enabled})
    a, _ = chosen.backends
    chosen.observe(answer(a, 100.0), 100.0)
    chosen._ejections = None  # type: ignore[assignment]  # whoever asks it fails
    for _ in range(3):
        chosen.observe(answer(a, 100.5), 100.5)

    assert a.breaker.requests == 4


def test_what_the_pool_counts_itself_is_what_the_breaker_would_count() -> None:
    """The short way for passes leads where the long one does."""
    rng = Random(3)
    chosen = steady(fleet(1), breaker={"slow": 0.5, "consecutive": 0, "failure_ratio": 0.0, "slow_ratio": 1.0})
    (a,) = chosen.backends
    alone = Breaker(a.breaker.settings)
    now = 100.0
    for _ in range(2000):
        now += rng.choice([0.0, 0.01, 0.3, 3.0])
        attempt = answer(
            a,
            now,
            rng.choice([200, 200, 200, 404, 500, 502, 0]),
            error=rng.choice([None, None, None, ResponseTimeout(), ClientGone()]),
            head=rng.choice([0.1, 0.5, 0.9]),
        )
        chosen.observe(attempt, now)
        alone.observe(attempt, now)

        assert (a.breaker.counts(), a.breaker.streak) == (alone.counts(), alone.streak)


# Panic


def probed(states: str, kind: str = "round_robin", **settings: Any) -> Pool:
    """A backend a letter: u UP, d DOWN, c CHECKING, x draining."""
    backends = fleet(*[1] * len(states), health=PROBED.model_copy(update={"fall": 1, "rise": 1}))
    for one, state in zip(backends, states, strict=True):
        if state != "c":
            one.health.observe("refused" if state == "d" else "", 0.0)
        one.draining = state == "x"
    return steady(backends, kind, **settings)


@pytest.mark.parametrize(
    ("states", "used", "panic"),
    [
        ("uudd", "ab", False), ("uddd", "abcd", True), ("uddx", "abc", True), ("dddd", "", False),
        ("uddc", "abc", True), ("uccc", "a", False), ("uxxx", "a", False), ("cccc", "", False), ("u", "a", False),
        ("d", "", False), ("ud", "a", False),
    ],
)  # fmt: skip
def test_in_a_panic_the_unfit_are_used_as_well(states: str, used: str, panic: bool) -> None:
    """But never who is draining, nor who has not been probed (traefik issue 12654); and nobody where none is UP."""
    chosen = probed(states)

    assert ("".join(one.id for one in chosen.available), chosen.panic) == (used, panic)
    assert {chosen.pick(b"", (), 0.0).id for _ in range(20 if used else 0)} == set(used)


def test_panic_is_told_and_counted() -> None:
    """When it begins and when it is over: once each."""
    chosen = probed("uudd")
    a, _, c, d = chosen.backends
    heard = hearing(chosen)
    a.health.observe("refused", 1.0)
    chosen.flip(a, 1.0)
    chosen.refresh()

    assert (chosen.panic, chosen.panics) == (True, 1)

    for one in (c, d):
        one.health.observe("", 2.0)
        chosen.flip(one, 2.0)

    assert (chosen.panic, chosen.panics) == (False, 1)
    assert heard == ["panic: 1 of 4 available", "panic is over: 2 of 4 available"]


def test_in_a_panic_ejections_mean_nothing_for_picking() -> None:
    """They go on all the same: who is half-open finds out, without a limit to it, and the panic ends when it is closed.

    Else a whole pool that is half-open would let three requests through for each backend, and refuse the others.
    """
    chosen = probed("uudd", breaker={"max_ejected": 1.0})
    a, *_ = chosen.backends
    fail(chosen, a, 100.0)
    for now, state in ((101.0, State.OPEN), (130.0, State.HALF_OPEN)):
        assert chosen.panic
        assert Counter(chosen.pick(b"", (), now) for _ in range(40)) == dict.fromkeys(chosen.backends, 10)
        assert a.breaker.state is state
    for _ in range(3):
        assert chosen.panic
        chosen.observe(answer(a, 131.0), 131.0)

    assert not chosen.panic


def test_in_a_panic_a_full_backend_is_full() -> None:
    chosen = probed("uddd", backend_max_in_flight=1)

    assert sorted(filling(chosen, 4)) == ["a", "b", "c", "d"]
    with pytest.raises(Full):
        chosen.pick(b"", (), 0.0)


def test_no_panic_where_it_is_off() -> None:
    chosen = probed("uddd", panic=0)

    assert (len(chosen.available), chosen.panic) == (1, False)


def test_no_panic_where_the_few_suffice() -> None:
    """For first, one is all there ever is; with nobody left that helps nobody."""
    chosen = probed("udd", "first", breaker={"max_ejected": 1.0})

    assert (len(chosen.available), chosen.panic) == (1, False)

    fail(chosen, chosen.backends[0], 100.0)

    assert (len(chosen.available), chosen.panic) == (3, True)


def test_hope_is_the_end_of_an_ejection() -> None:
    """Or a probe that passes, which ends it before its time, for who is DOWN besides."""
    chosen = steady(fleet(1, 1), panic=0, breaker={"max_ejected": 1.0})
    a, b = chosen.backends
    fail(chosen, a, 100.0)
    fail(chosen, b, 105.0)

    with pytest.raises(
        NoBackend,
        match=r"^pool p: 1 ejected: consecutive_failures until 20s from now, 1 ejected: \w+ until 25s from now$",
    ) as refused:
        chosen.pick(b"", (), 110.0)
    assert refused.value.retry_after == 20.0

    down = backend(health=PROBED)
    down.health.observe("refused", 100.0)
    down.health.due = 102.0
    down.breaker.eject(CONSECUTIVE, 100.0, 0.0)

    assert down.back_in(100.0) == 3.0


# Stuck


def test_a_cookie_keeps_its_client_while_the_backend_is_fit_traefik_1299() -> None:
    """Not one that is DOWN, ejected, full, without weight, or was tried in vain: then any other, and no error."""
    stays: list[Callable[[Pool, Backend], None]] = [
        lambda chosen, one: None,
        lambda chosen, one: setattr(one, "in_flight", 8),
    ]
    goes: list[Callable[[Pool, Backend], None]] = [
        lambda chosen, one: fail(chosen, one, 100.0),
        lambda chosen, one: chosen.flip(one, 100.0) if one.health.observe("refused", 100.0) else None,
        lambda chosen, one: setattr(one, "in_flight", 9),
        lambda chosen, one: chosen.weigh(one, 0),
    ]
    for happens in stays + goes:
        chosen = probed("uuu", backend_max_in_flight=9)
        a = chosen.backends[0]
        happens(chosen, a)
        picked = {chosen.pick(b"", (), 101.0, a) for _ in range(9)}

        assert (picked == {a}) == (happens in stays)
        assert a in picked or picked == set(chosen.backends[1:])
        assert a not in {chosen.pick(b"", [a], 101.0, a) for _ in range(9)}


def test_a_client_does_not_stay_at_one_that_fails_in_a_panic() -> None:
    """It gets no more than its turn there."""
    chosen = probed("uddd")
    d = chosen.backends[3]

    assert Counter(chosen.pick(b"", (), 0.0, d) for _ in range(40))[d] == 10


@pytest.mark.parametrize("kept", [True, False])
def test_draining_ones_keep_their_clients_if_asked(kept: bool) -> None:
    """And get nobody else; who is DOWN besides keeps nobody."""
    chosen = probed("uu", sticky={"enabled": True, "keys": "0123456789abcdef", "draining": kept})
    a, b = chosen.backends
    chosen.drain(a)

    assert chosen.pick(b"", (), 1.0, a) is (a if kept else b)
    assert {chosen.pick(b"", (), 1.0) for _ in range(9)} == {b}

    chosen.drain(b)

    assert not kept or chosen.pick(b"", (), 1.0, a) is a  # where nobody else is

    a.health.observe("refused", 2.0)
    chosen.flip(a, 2.0)
    with pytest.raises(NoBackend):
        chosen.pick(b"", (), 2.0, a)


def test_a_draining_one_keeps_its_clients_until_it_lets_them_go() -> None:
    """And keeps them again when it is back."""
    chosen = probed("uu", sticky={"enabled": True, "keys": "0123456789abcdef"})
    a, b = chosen.backends
    chosen.drain(a, 10.0)

    assert [chosen.pick(b"", (), now, a) for now in (9.9, 10.0)] == [a, b]

    chosen.undrain(a)

    assert chosen.pick(b"", (), 11.0, a) is a


def test_a_draining_one_that_fails_is_ejected_from_its_clients() -> None:
    """Whatever the cap, for no traffic is missed; a half-open one finds out with three of them."""
    chosen = probed("uu")
    a, b = chosen.backends
    chosen.drain(a)
    fail(chosen, a, 100.0)

    assert chosen.pick(b"", (), 101.0, a) is b
    assert [chosen.pick(b"", (), 130.0, a) for _ in range(5)] == [a, a, a, b, b]


def test_what_a_cookie_picked_is_charged() -> None:
    """New clients go to the others meanwhile; not where it is draining, and has no turns."""
    chosen = probed("uu")
    a, b = chosen.backends
    charged: list[Backend] = []
    chosen._charge = charged.append
    for stuck in (a, None, b):
        chosen.pick(b"", (), 0.0, stuck)
    chosen.drain(a)
    chosen.pick(b"", (), 0.0, a)

    assert charged == [a, b]


# At run time


def test_draining_ends_with_a_slow_start() -> None:
    chosen = steady(fleet(1, 1), slow_start={"window": 20.0})
    a, b = chosen.backends
    chosen.pick(b"", (), 0.0)
    chosen.drain(a)

    assert {chosen.pick(b"", (), 50.0) for _ in range(9)} == {b}
    assert a.idle

    chosen.undrain(a)

    assert Counter(chosen.pick(b"", (), 100.0) for _ in range(110)) == {a: 10, b: 100}
    assert Counter(chosen.pick(b"", (), 120.0) for _ in range(110)) == {a: 55, b: 55}


def test_an_ejection_ends_with_a_slow_start_traefik_4845() -> None:
    """Three find out; when it is closed, it has its share of then."""
    chosen = steady(fleet(1, 1), slow_start={"window": 20.0})
    a, b = chosen.backends
    chosen.pick(b"", (), 0.0)
    fail(chosen, a, 100.0)
    chosen.pick(b"", (), 130.0)
    for _ in range(3):
        chosen.observe(answer(a, 132.0), 132.0)

    assert Counter(chosen.pick(b"", (), 140.0) for _ in range(90)) == {a: 30, b: 60}


def test_a_weight_holds_from_the_next_pick_on() -> None:
    chosen = steady(fleet(1, 1))
    a, b = chosen.backends
    chosen.weigh(a, 3)

    assert Counter(chosen.pick(b"", (), 0.0) for _ in range(8)) == {a: 6, b: 2}


def test_one_that_is_removed_is_missed_by_nobody() -> None:
    """Not by the cookies that lead to it, drained or not; and the others are as many as there are."""
    chosen = steady(fleet(1, 1, 1, 1, 1), "priority")
    a, b, *rest = chosen.backends
    chosen.drain(a)
    chosen.remove(a)
    fail(chosen, b, 100.0)

    assert chosen.backends == (b, *rest)
    assert chosen.available == tuple(rest)
    assert {chosen.pick(b"", (), 101.0, a) for _ in range(30)} == set(rest)
    assert not chosen.panic

    chosen.remove(b)  # ejected

    assert {chosen.pick(b"", (), 1000.0) for _ in range(30)} == set(rest)
    assert chosen._ejections.due == inf  # nobody is left to let in again
    for last in rest:
        chosen.remove(last)
    with pytest.raises(NoBackend, match="no backends"):
        chosen.pick(b"", (), 1001.0, a)


def test_what_began_before_a_reload_ends_in_the_pool_of_now() -> None:
    """Its answers, and its further attempts: the old pool hears of nothing any more."""
    old = steady(fleet(1, 1, 1))
    a, b, _ = old.backends
    new = steady((a, b), breaker={"consecutive": 2})
    old.yield_to(new)
    heard = hearing(new)
    fail(old, a, 100.0, 2)

    assert new.available == (b,)
    assert heard == ["a ejected for 30s: 2 failures in a row"]
    assert {old.pick(b"", (), 101.0) for _ in range(9)} == {b}
    assert old.pick(b"", (), 101.0, b) is b
    assert {old.pick(b"", (), 130.0) for _ in range(9)} == {a, b}


@pytest.mark.parametrize(("before", "after", "panics"), [("uddd", "uddd", 1), ("uu", "uddd", 1), ("uddd", "uu", 1)])
def test_a_panic_that_goes_on_is_one(before: str, after: str, panics: int) -> None:
    old, new = probed(before), probed(after)
    old.yield_to(new)

    assert new.panics == panics


# What another process has ejected


def test_a_hint_lets_few_requests_through_and_is_told() -> None:
    """It is available, so that there is somebody to find out."""
    backends, told = fleet(1, 1, 1), list[str]()
    found = pool(backends, breaker={"half_open": 1})
    found.tell = lambda sentence, backend: told.append(f"{backend and backend.id} {sentence}")
    found.suspect(backends[0], CONSECUTIVE, 0.0)

    picked = Counter(found.pick(b"", (), 1.0).id for _ in range(9))

    assert picked["a"] == 1
    assert told == ["a suspect: half-open, for another worker ejected it"]
    found.observe(answer(backends[0], 1.0, 503), 1.1)
    assert backends[0].breaker.state is State.OPEN
    assert told[1].startswith("a ejected for")


@pytest.mark.parametrize(
    ("others", "settings", "heard"),
    [
        (2, {}, True),
        (0, {}, False),  # nobody else is there
        (2, {"breaker": {"enabled": False}}, False),
        (2, {"panic": 0.9}, False),  # two of three would be too few
        (1, {"panic": 0.5}, True),
        (1, {"panic": 0.6}, False),
        (3, {"panic": 0.0}, True),
    ],
)
def test_a_hint_is_not_worth_a_panic(others: int, settings: dict[str, Any], heard: bool) -> None:
    """It is heard as far as the pool can spare the backend, and no further."""
    backends = fleet(*[1] * (others + 1))
    found = pool(backends, **settings)
    found.suspect(backends[0], CONSECUTIVE, 0.0)
    assert (backends[0].breaker.state is State.HALF_OPEN) == heard
    assert not found.panic


def test_no_more_are_suspected_than_may_be_ejected() -> None:
    """One by one, all of them."""
    backends = fleet(*[1] * 10)
    found = pool(backends, breaker={"max_ejected": 0.3}, panic=0.2)
    for one in backends:
        found.suspect(one, CONSECUTIVE, 0.0)
    assert sum(one.breaker.state is State.HALF_OPEN for one in backends) == 3


def test_what_is_known_here_is_better_than_a_hint() -> None:
    """Who is ejected, or is being tried, is left as it is."""
    backends = fleet(1, 1, 1)
    found = pool(backends)
    for _ in range(5):
        found.observe(answer(backends[0], 0.1, 503), 0.1)
    until = backends[0].breaker.until
    found.suspect(backends[0], SLOW, 1.0)
    assert (backends[0].breaker.state, backends[0].breaker.reason) == (State.OPEN, CONSECUTIVE)
    found.pick(b"", (), until)
    found.suspect(backends[0], SLOW, until + 1)
    assert (backends[0].breaker.since, backends[0].breaker.reason) == (until, CONSECUTIVE)
