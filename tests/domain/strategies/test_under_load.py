"""What strategies make of backends that are not alike, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.domain.backend import Backend
from app.domain.strategies import STRATEGIES
from tests.support.fleet import fleet, pool
from tests.support.steps import steps
from tests.support.traffic import flow, percentile, shares, steadily

TIMED = ["least_time", "peak_ewma"]
ADAPTIVE = ["least_connections", "p2c", *TIMED]
LINEAR = {"least_connections", "least_time", "rendezvous"}  # as docs/strategies.md says

every_adaptive = pytest.mark.parametrize("kind", ADAPTIVE)
every_timed = pytest.mark.parametrize("kind", TIMED)


@every_adaptive
def test_a_slow_backend_gets_less_and_is_not_starved(kind: str) -> None:
    """One of five takes ten times as long: it gets less than half a fair share, and more than a hundredth of one.

    Of 6000, a fair share is 1200. Those that go by latency take one in 64 picks blindly, of which a fifth are its:
    Binomial(6000, 1/320) has mean 19 and sigma 4.3, so that a hundredth, 12, would need the trials after idleness as
    well: one in decay * ln(10 / 1.25) = 21 s at most, 3 in the 60 s, and more where the others are busy.
    """
    chosen = pool(fleet(1, 1, 1, 1, 1), kind)

    served = shares(flow(chosen, steadily(dict.fromkeys("abcd", 0.02) | {"e": 0.2}), rate=100, seconds=60))

    assert 12 < served["e"] < 600


@every_adaptive
def test_a_few_slow_answers_are_forgiven(kind: str) -> None:
    """One of five alike is slow for 2 s: of 1500 requests in a minute it gets 150 or more (traefik issue 12306: 5).

    A peak of ten times the usual has decayed to what counts as alike after 10 s * ln(10 / 1.25) = 21 s. So it has its
    fair share, 5 a second, for 60 - 2 - 21 s at least: 185, sigma 12; the bound is 3 sigma below.
    """
    chosen = pool(fleet(1, 1, 1, 1, 1), kind)
    usual = steadily(dict.fromkeys("abcde", 0.04))

    def answer(backend: Backend, now: float) -> tuple[float, int]:
        seconds, status = usual(backend, now)
        return (seconds * 10 if backend.id == "b" and now < 2 else seconds), status

    assert shares(flow(chosen, answer, rate=25, seconds=60))["b"] >= 150


def test_peak_ewma_halves_the_tail_of_one_slow_backend() -> None:
    """With one of five ten times as slow, to round robin the slow fifth is the 99th percentile; to peak_ewma it is not.

    At most 1/320 of the picks are blind and its, and a trial each 21 s or so adds 1/2000: under 1 %.
    """
    tails = [
        percentile(
            flow(
                pool(fleet(1, 1, 1, 1, 1), kind),
                steadily(dict.fromkeys("abcd", 0.02) | {"e": 0.2}),
                rate=100,
                seconds=60,
            ),
            0.99,
        )
        for kind in ("peak_ewma", "round_robin")
    ]

    assert tails[0] <= tails[1] / 2


@every_timed
def test_failing_fast_is_not_attractive(kind: str) -> None:
    """A backend that answers 503 in 1 ms, where others take 20, gets less than 2 % of the requests, a fair share is 25.

    Blind picks are 1/64, a quarter of them its: 0.4 %; a trial each 10 s * ln(5 / 0.02) = 55 s adds next to nothing,
    the picks before the first answer a handful.
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
    """A backend back in the pool takes 2 s for its first answers: until then it gets a handful of requests, not 50.

    One is the trial; of 200 requests 3 are blind, a quarter of them its. Binomial(200, 1/256): over 6 in one of 10^6.
    """
    backends = fleet(1, 1, 1, 1)
    backends[3].draining = True
    chosen = pool(backends, kind)

    def enter() -> None:
        backends[3].draining = False
        chosen.refresh()

    answer = steadily(dict.fromkeys("abc", 0.02) | {"d": 2.0})

    served = flow(chosen, answer, rate=100, seconds=12, events={10.0: enter})

    assert 1 <= shares(served, 10, 11.8)["d"] <= 7


@pytest.mark.parametrize("kind", sorted({*STRATEGIES} - {"first"}))
def test_the_cost_of_a_pick_is_as_stated(kind: str) -> None:
    """Counted: 400 backends cost a pick at most twice what 20 do, but where docs/strategies.md says O(n)."""
    few, many = steps(pool(fleet(*[1, 2] * 10), kind)), steps(pool(fleet(*[1, 2] * 200), kind))

    assert (many <= 2 * few) == (kind not in LINEAR)
