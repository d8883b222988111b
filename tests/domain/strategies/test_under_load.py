"""What strategies make of backends that are not alike, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.domain.backend import Backend
from app.domain.strategies import STRATEGIES
from tests.support.fleet import backend, fleet, pool
from tests.support.steps import steps
from tests.support.traffic import flow, percentile, shares, steadily

TIMED = ["least_time", "peak_ewma"]
ADAPTIVE = ["least_connections", "p2c", *TIMED]
LINEAR = {"least_connections", "least_time", "rendezvous"}  # as docs/strategies.md says

every_adaptive = pytest.mark.parametrize("kind", ADAPTIVE)
every_timed = pytest.mark.parametrize("kind", TIMED)


@every_adaptive
def test_a_slow_backend_gets_less_and_is_not_starved(kind: str) -> None:
    """One of five takes ten times as long: it gets less than half a fair share, and more than 5 of each 1500 requests.

    Of 6000, a fair share is 1200. Those that go by latency try it once in 150 + 16 * 5 = 230 picks: 26 times; the waits
    for the draw are geometric of mean 80, so that sigma is 80 * sqrt(26) / 230 = 1.8 of them, and 20 is 3 sigma below.
    Trials after idleness come on top.
    """
    chosen = pool(fleet(1, 1, 1, 1, 1), kind)

    served = shares(flow(chosen, steadily(dict.fromkeys("abcd", 0.02) | {"e": 0.2}), rate=100, seconds=60))

    assert 20 < served["e"] < 600


@every_adaptive
def test_a_few_slow_answers_are_forgiven(kind: str) -> None:
    """One of five alike is slow for 2 s: of 1500 requests in a minute it gets 150 or more (traefik issue 12306: 5).

    It is tried once in 230 picks, 9 s on average, and with one good answer it is as good as any. So it has its fair
    share, 5 a second, for 60 - 2 - 9 s: 245. The wait beyond 6 s is exponential of mean 3.2 s: 150 would be one of 22 s
    (in e^-7 of the runs) or, after one of 15 s, a count 4 sigma under the mean.
    """
    chosen = pool(fleet(1, 1, 1, 1, 1), kind)
    usual = steadily(dict.fromkeys("abcde", 0.04))

    def answer(backend: Backend, now: float) -> tuple[float, int]:
        seconds, status = usual(backend, now)
        return (seconds * 10 if backend.id == "b" and now < 2 else seconds), status

    assert shares(flow(chosen, answer, rate=25, seconds=60))["b"] >= 150


@every_timed
@pytest.mark.parametrize("rate", [5, 20, 100, 400])
@pytest.mark.parametrize("others", ["a", "ab", "abcd"])
def test_the_tail_of_one_slow_backend_is_not_seen(kind: str, others: str, rate: float) -> None:
    """With one of n ten times as slow, to round robin its share is the 99th percentile; to these it is not.

    It gets less than 1 % of the requests. Every trial comes 150 picks or more after the one before, or 208, which is
    100 * ln(10 / 1.25), where idleness alone brings it: under 1 / 150. Where much is in flight, it is taken when the
    other has 12.5 times as much, at a tenth of the latency: 1 / 125 of the requests, and no trials besides.
    """
    seconds = dict.fromkeys(others, 0.02) | {"z": 0.2}

    def tail(kind: str) -> float:
        backends = tuple(backend(name) for name in seconds)
        return percentile(flow(pool(backends, kind), steadily(seconds), rate=rate, seconds=6000 / rate), 0.99)

    assert tail(kind) <= tail("round_robin") / 2


@every_timed
def test_failing_fast_is_not_attractive(kind: str) -> None:
    """A backend that answers 503 in 1 ms, where others take 20, gets less than 2 % of the requests, a fair share is 25.

    It is tried once in 150 + 16 * 4 picks: 0.5 %; the picks before the first answer are a handful.
    """
    chosen = pool(fleet(1, 1, 1, 1), kind)
    usual = steadily(dict.fromkeys("abcd", 0.02))

    def answer(backend: Backend, now: float) -> tuple[float, int]:
        return (0.001, 503) if backend.id == "c" else usual(backend, now)

    served = flow(chosen, answer, rate=100, seconds=60)

    assert 0 < shares(served)["c"] < len(served) * 0.02


@pytest.mark.parametrize("kind", [kind for kind in STRATEGIES if kind != "first"])
def test_no_herd_on_a_backend_that_returns(kind: str) -> None:
    """In its first second back, one of four gets at most twice its fair share.

    Of 100 requests, 25 are fair; the widest, those of chance, are Poisson(25) or less: sigma 5, the bound is 5 sigma.
    Least connections fill it up to what the others have in flight: 100 * 0.05 / 3, 2 requests, and then go on evenly.
    """
    backends = fleet(1, 1, 1, 1)
    chosen = pool(backends, kind)

    def set_draining(value: bool) -> Callable[[], None]:
        def event() -> None:
            backends[0].draining = value
            chosen.refresh()

        return event

    events = {10.0: set_draining(True), 40.0: set_draining(False)}

    served = flow(chosen, steadily(dict.fromkeys("abcd", 0.05)), rate=100, seconds=45, events=events)

    assert shares(served, 10.1, 40)["a"] == 0
    assert 0 < shares(served, 40, 41)["a"] <= 50


@every_timed
def test_one_request_finds_out_about_a_cold_backend(kind: str) -> None:
    """A backend back in the pool takes 2 s for its first answers: until then it gets one request, not 50."""
    backends = fleet(1, 1, 1, 1)
    backends[3].draining = True
    chosen = pool(backends, kind)

    def enter() -> None:
        backends[3].draining = False
        chosen.refresh()

    answer = steadily(dict.fromkeys("abc", 0.02) | {"d": 2.0})

    served = flow(chosen, answer, rate=100, seconds=12, events={10.0: enter})

    assert shares(served, 10, 11.8)["d"] == 1


@pytest.mark.parametrize("kind", sorted({*STRATEGIES} - {"first"}))
def test_the_cost_of_a_pick_is_as_stated(kind: str) -> None:
    """Counted: 400 backends cost a pick at most twice what 20 do, but where docs/strategies.md says O(n)."""
    few, many = steps(pool(fleet(*[1, 2] * 10), kind)), steps(pool(fleet(*[1, 2] * 200), kind))

    assert (many <= 2 * few) == (kind not in LINEAR)
