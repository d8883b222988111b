"""What the pool sees to, so that no strategy has to."""

import pytest

from app.domain.errors import NoBackend
from app.domain.exchange import Exchange
from settings.resilience import HealthSettings
from tests.support.fleet import backend, fleet, pool

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
    assert pool(fleet(1)).observe is None
    assert pool(fleet(1), "peak_ewma").observe is not None


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
