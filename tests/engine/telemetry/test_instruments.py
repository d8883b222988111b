"""What a scrape says after a batch of exchanges."""

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.errors import BadRequest, ConnectFailed, HeadTimeout, NoRoute, ProxyError
from app.domain.exchange import Exchange
from app.domain.health import State
from app.engine.telemetry.instruments import Instruments
from settings.pools import BackendSettings
from settings.resilience import HealthSettings
from tests.support.exposition import parse


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


def instruments(*backends: Backend) -> Instruments:
    limited = [(("default", "false"), 3), (("trial", "true"), 5)]
    return Instruments(backends=lambda: backends, limited=lambda: limited, dropped=lambda: 7)


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
    """Health, requests in flight, limiters, the log's losses."""
    up, down = backend("b1"), backend("b2")
    metrics = instruments(up, down)
    up.in_flight, down.health.state = 4, State.DOWN

    found = scraped(metrics)

    assert (found["l7lb_backend_up api b1"], found["l7lb_backend_up api b2"]) == (1, 0)
    assert (found["l7lb_backend_in_flight api b1"], found["l7lb_backend_in_flight api b2"]) == (4, 0)
    assert (found["l7lb_rate_limited_total default false"], found["l7lb_rate_limited_total trial true"]) == (3, 5)
    assert found["l7lb_log_dropped_total"] == 7


def test_every_metric_is_in_the_list_under_a_name_that_says_its_unit() -> None:
    """Counters end in _total, histograms in _seconds; all have a help text."""
    metrics = instruments()

    families = parse(metrics.text())

    assert len(families) == len(metrics.all)
    for name, family in families.items():
        assert name.startswith("l7lb_")
        assert family.help_text.endswith(".")
        assert name.endswith("_total") == (family.kind == "counter")
        assert name.endswith("_seconds") == (family.kind == "histogram")
