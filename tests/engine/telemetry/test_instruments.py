"""What a scrape says after a batch of exchanges."""

import re
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.breaker import REASONS
from app.domain.errors import BadRequest, ConnectFailed, HeadTimeout, NoRoute, ProxyError
from app.domain.exchange import Exchange
from app.domain.health import State
from app.domain.pool import Pool
from app.engine.dispatch import Dispatcher
from app.engine.telemetry.instruments import GRACE, Instruments
from app.engine.telemetry.readings import RETRIES
from app.engine.telemetry.strain import Lag
from settings.pools import BackendSettings, PoolSettings
from settings.resilience import HealthSettings
from tests.support.answers import answer
from tests.support.clock import Clock
from tests.support.exposition import parse
from tests.support.fleet import strategy

ROOT = Path(__file__).parents[3]


def backend(name: str) -> Backend:
    return Backend("api", BackendSettings(url="http://10.0.0.1", id=name), HealthSettings(kind="none"))


def exchange(status: int, method: str = "GET", group: str = "web", error: ProxyError | None = None) -> Exchange:
    made = Exchange(100.0, "192.0.2.1", "https", method, "h", "/")
    made.ended, made.status, made.group, made.error = 100.02, status, group, error
    return made


def attempt(to: Backend, status: int, error: ProxyError | None = None) -> Attempt:
    made = Attempt(to, 100.0)
    made.status, made.error = status, error
    made.first_byte = 100.004 if status else 0.0
    return made


def dispatcher(*backends: Backend) -> Dispatcher:
    pool = Pool("api", PoolSettings(max_in_flight=9), strategy("round_robin"), backends)
    return Dispatcher(pool, rng=Random(7), clock=lambda: 100.0)


def instruments(
    *backends: Backend, lag: Lag | None = None, of: Dispatcher | None = None, clock: Clock | None = None
) -> Instruments:
    one = of or dispatcher(*backends)
    return Instruments(
        dispatchers=lambda: [one],
        limited=lambda: [(("default", "false"), 3), (("trial", "true"), 5)],
        mirrored=lambda: [(("web", "shadow", "full"), 4)],
        dropped=lambda: 7,
        lag=lag,
        clock=clock or Clock(),
    )


def scraped(of: Instruments) -> dict[str, float]:
    """Samples by name and label values: `l7lb_requests_total web GET 200`."""
    return {
        " ".join([name, *(value for _, value in labels)]): number
        for family in parse(of.text()).values()
        for (name, labels), number in family.samples.items()
    }


def test_requests_are_counted_by_group_method_and_status() -> None:
    """Methods that nobody defined, and statuses that are none, are one label each."""
    metrics = instruments()
    metrics.observe([exchange(200), exchange(200), exchange(404, "HEAD", ""), exchange(999)], 0.0)
    metrics.observe([exchange(200, "BREW")], 0.0)
    metrics.observe([exchange(200), exchange(200, "get")], 0.0)

    found = {name: number for name, number in scraped(metrics).items() if name.startswith("l7lb_requests_total")}

    assert found == {
        "l7lb_requests_total web GET 200": 3,
        "l7lb_requests_total  HEAD 404": 1,
        "l7lb_requests_total web other 200": 2,
        "l7lb_requests_total web GET other": 1,
    }


def test_time_and_bytes_are_counted_by_group() -> None:
    """The whole time, and body bytes both ways."""
    metrics, large, error = instruments(), exchange(200), exchange(404, group="", error=NoRoute())
    large.bytes_in, large.bytes_out = 10, 2000

    metrics.observe([large, large, error], 0.0)
    found = scraped(metrics)

    assert found["l7lb_request_duration_seconds_bucket web 0.01"] == 0
    assert found["l7lb_request_duration_seconds_bucket web 0.025"] == 2
    assert found["l7lb_request_duration_seconds_count web"] == 2
    assert (found["l7lb_bytes_in_total web"], found["l7lb_bytes_out_total web"]) == (20, 4000)
    assert found["l7lb_errors_total destination_not_found client"] == 1


def test_every_attempt_is_counted() -> None:
    """By status, or by the error where there is none; only those with a response have a time to its first byte."""
    metrics, first, second = instruments(), backend("b1"), backend("b2")
    retried = exchange(200)
    retried.attempts = [attempt(first, 0, ConnectFailed()), attempt(second, 200)]

    metrics.observe([retried], 0.0)
    found = scraped(metrics)

    assert found["l7lb_backend_requests_total api b1  connection_refused"] == 1
    assert found["l7lb_backend_requests_total api b2 200 "] == 1
    assert found["l7lb_backend_ttfb_seconds_bucket api b2 0.005"] == 1
    assert "l7lb_backend_ttfb_seconds_count api b1" not in found


def test_what_the_edge_refused_is_counted() -> None:
    """By error type and status."""
    metrics = instruments()
    metrics.refused([exchange(400, error=BadRequest()), exchange(408, error=HeadTimeout()), exchange(400)], 0.0)

    found = scraped(metrics)

    assert found["l7lb_refused_total http_request_error 400"] == 1
    assert found["l7lb_refused_total http_request_error 408"] == 1
    assert found["l7lb_refused_total  400"] == 1


def test_what_others_know_is_read_at_the_scrape() -> None:
    """Health, requests in flight, limiters, copies, the log's losses."""
    up, down = backend("b1"), backend("b2")
    metrics = instruments(up, down)
    up.in_flight, up.weight, down.health.state, down.draining = 4, 3, State.DOWN, True

    found = scraped(metrics)

    assert (found["l7lb_backend_up api b1"], found["l7lb_backend_up api b2"]) == (1, 0)
    assert (found["l7lb_backend_in_flight api b1"], found["l7lb_backend_in_flight api b2"]) == (4, 0)
    assert (found["l7lb_rate_limited_total default false"], found["l7lb_rate_limited_total trial true"]) == (3, 5)
    assert (found["l7lb_backend_weight api b1"], found["l7lb_backend_weight api b2"]) == (3, 1)
    assert (found["l7lb_backend_draining api b1"], found["l7lb_backend_draining api b2"]) == (0, 1)
    assert found["l7lb_mirrored_total web shadow full"] == 4
    assert found["l7lb_log_dropped_total"] == 7


def test_the_state_of_a_pool_is_read_at_the_scrape() -> None:
    """What is in flight and what waits, the limit as it is now, and panic as long as there is one."""
    one = dispatcher(backend("b1"), backend("b2"), backend("b3"))
    metrics = instruments(of=one)
    assert scraped(metrics)["l7lb_pool_limit api"] == 9

    one.waiting, one.refused, one.pool.in_flight, one.pool.limit = 2, 5, 7, 8
    for lost in one.pool.backends[:2]:
        lost.health.state = State.DOWN
    one.pool.refresh()
    found = scraped(metrics)

    assert {name: number for name, number in found.items() if name.startswith("l7lb_pool_")} == {
        "l7lb_pool_in_flight api": 7,
        "l7lb_pool_limit api": 8,
        "l7lb_pool_waiting api": 2,
        "l7lb_pool_refused_total api": 5,
        "l7lb_pool_panic api": 1,
        "l7lb_pool_panics_total api": 1,
    }

    for back in one.pool.backends:
        back.health.state = State.UP
    one.pool.refresh()

    assert (scraped(metrics)["l7lb_pool_panic api"], scraped(metrics)["l7lb_pool_panics_total api"]) == (0, 1)


def test_breakers_are_seen_traefik_3590() -> None:
    """Their state, and every reason from the first scrape on, so that the first ejection is a rise."""
    one = dispatcher(backend("b1"), backend("b2"))
    metrics, failing = instruments(of=one), one.pool.backends[0]
    quiet = {f"l7lb_backend_ejections_total api b{n} {reason}": 0 for n in (1, 2) for reason in REASONS}
    before = scraped(metrics)

    for _ in range(5):
        one.pool.observe(answer(failing, 100.0, 503), 100.0)
    ejected = scraped(metrics)
    one.pool.pick(b"", (), 200.0)

    assert quiet == {name: number for name, number in before.items() if name.startswith("l7lb_backend_ejections_")}
    assert [before[f"l7lb_backend_breaker api b{n}"] for n in (1, 2)] == [0, 0]
    assert [ejected[f"l7lb_backend_breaker api b{n}"] for n in (1, 2)] == [2, 0]
    assert ejected["l7lb_backend_ejections_total api b1 consecutive_failures"] == 1
    assert scraped(metrics)["l7lb_backend_breaker api b1"] == 1


def test_what_followed_a_failure_is_counted() -> None:
    """Every word of the policy has its series, but for what was not the backend's failure."""
    one = dispatcher(backend("b1"))
    one.retries.update(retried=3, budget=2, failure=9)

    found = scraped(instruments(of=one))

    words = {word: found[f"l7lb_retries_total api {word}"] for word in RETRIES}
    assert words == dict.fromkeys(RETRIES, 0) | {"retried": 3, "budget": 2}
    assert {"retried", "hedged", "attempts", "method", "body", "retry_after", "deadline", "budget"} <= set(words)
    assert "l7lb_retries_total api failure" not in found


@pytest.mark.parametrize("looks", [True, False])
def test_the_lag_of_the_loop_is_told_where_somebody_looks(looks: bool) -> None:
    """Nobody is told of a lag of 0 that was never measured."""
    found = scraped(instruments(lag=SimpleNamespace(seconds=0.25, refused=6) if looks else None))

    assert found.get("l7lb_loop_lag_seconds") == (0.25 if looks else None)
    assert found.get("l7lb_shed_total") == (6 if looks else None)


def test_what_was_counted_of_a_backend_that_left_is_told_for_a_while() -> None:
    """So that every scraper has the last of it. A late record is told then, too; the others keep their counts."""
    clock, one = Clock(), dispatcher(backend("b1"), backend("b2"))
    metrics, (stays, leaves) = instruments(of=one, clock=clock), one.pool.backends
    served = exchange(200)
    served.attempts = [attempt(stays, 200), attempt(leaves, 200)]
    metrics.observe([served], 0.0)

    one.pool.remove(leaves)
    told = {name: number for name, number in scraped(metrics).items() if " api b2" in name}
    assert told["l7lb_backend_requests_total api b2 200 "] == told["l7lb_backend_ttfb_seconds_count api b2"] == 1
    assert {name.split()[0] for name in told if not name.startswith("l7lb_backend_ttfb_seconds_")} == {
        "l7lb_backend_requests_total"
    }
    clock.advance(GRACE - 1)
    metrics.observe([served], 0.0)
    assert scraped(metrics)["l7lb_backend_requests_total api b2 200 "] == 2
    clock.advance(1)
    metrics.observe([served], 0.0)
    assert [name for name in scraped(metrics) if " api b2" in name] == []
    assert scraped(metrics)["l7lb_backend_requests_total api b1 200 "] == 3


def test_what_nobody_is_told_of_is_not_kept() -> None:
    """Else a process whose backends come and go would keep what it counted of all of them."""
    clock, one = Clock(), dispatcher(backend("b1"), backend("b2"))
    metrics, (stays, leaves) = instruments(of=one, clock=clock), one.pool.backends
    served = exchange(200)
    served.attempts = [attempt(stays, 200), attempt(leaves, 200)]
    metrics.observe([served], 0.0)
    one.pool.remove(leaves)

    for _ in range(3):
        metrics.text()
        clock.advance(GRACE)
    metrics.text()

    assert [*metrics.ttfb.values] == [("api", "b1")]
    assert [*metrics.attempts.values] == [("api", "b1", "200", "")]


def test_one_that_is_back_is_told_of_as_before() -> None:
    """However long it takes part then."""
    clock, one = Clock(), dispatcher(backend("b1"), backend("b2"))
    metrics, (stays, leaves) = instruments(of=one, clock=clock), one.pool.backends
    served = exchange(200)
    served.attempts = [attempt(leaves, 200)]
    metrics.observe([served], 0.0)
    one.pool.remove(leaves)
    metrics.text()
    clock.advance(GRACE - 1)
    one.pool.change((stays, leaves))
    metrics.text()
    one.pool.remove(leaves)
    clock.advance(GRACE - 1)

    assert scraped(metrics)["l7lb_backend_requests_total api b2 200 "] == 1


def test_every_metric_is_in_the_list_under_a_name_that_says_its_unit() -> None:
    """Counters end in _total, histograms in _seconds, as do gauges of time; all have a help text."""
    metrics = instruments()

    families = parse(metrics.text())

    assert len(families) == len(metrics.all)
    assert families["l7lb_workers"].samples == {("l7lb_workers", ()): 1}
    for name, family in families.items():
        assert name.startswith("l7lb_")
        assert family.help_text.endswith(".")
        assert name.endswith("_total") == (family.kind == "counter")
        assert family.kind == "gauge" or name.endswith("_seconds") == (family.kind == "histogram")


@pytest.mark.uncompiled  # there are no pages beside the wheel
def test_the_pages_name_no_metric_that_is_not_there() -> None:
    """A page that promises another is out of date."""
    named = {name for page in (ROOT / "docs").glob("*.md") for name in re.findall(r"\bl7lb_[a-z_]+", page.read_text())}

    assert "l7lb_retries_total" in named
    assert named <= {metric.name for metric in instruments().all}
