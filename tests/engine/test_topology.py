"""The one place where pools change: all or nothing, and who stays keeps what it has."""

import logging
from random import Random
from typing import Any

import pytest

from app.domain.health import State
from app.domain.membership import Change
from app.engine.topology import PATIENCE, Topology
from settings.root import Settings
from tests.support.answers import answer
from tests.support.clock import Clock

PROBED = {"path": "/health"}


def said(**pools: dict[str, Any]) -> Settings:
    """Settings with these pools."""
    return Settings.model_validate({"pools": pools, "initial_grace": "10s"})


def made(settings: Settings) -> tuple[Topology, Clock]:
    clock = Clock()
    topology = Topology(clock=clock, rng=Random(7))
    topology.apply(settings)
    return topology, clock


def test_a_pool_whose_settings_stay_keeps_its_object() -> None:
    """And with it where its strategy was; the mapping is a new one."""
    topology, _ = made(said(a={"backends": "http://x,http://y"}, b={"backends": "http://z"}))
    before = topology.pools

    topology.apply(said(a={"backends": "http://x,http://y"}, b={"backends": "http://z", "strategy": "first"}))

    assert topology.pools is not before
    assert topology.pools["a"] is before["a"]
    assert topology.pools["b"] is not before["b"]
    assert topology.pools["b"].backends == before["b"].backends


def test_a_reload_keeps_health_and_counters() -> None:
    """A backend that is UP takes requests through a reload, whatever else changes in its pool."""
    topology, _ = made(said(a={"backends": "http://x,http://y", "health": PROBED}))
    x, y = topology.pools["a"].backends
    topology.observe(x, "", 0.0)
    x.in_flight = 3

    change = topology.apply(said(a={"backends": "http://x|weight=4,http://n", "health": {"path": "/", "fall": 9}}))

    pool = topology.pools["a"]
    assert (x,) == pool.available
    assert (x.weight, x.in_flight, x.health.settings.fall) == (4, 3, 9)
    assert Change(joined=pool.backends[1:], left=(y,)) == change


def test_a_reload_keeps_an_ejection_and_hears_late_answers() -> None:
    """Of requests that were sent before: the pool that they were picked from hands them on."""
    four = {"backends": "http://x,http://y,http://z,http://n", "health": {"kind": "none"}}
    topology, _ = made(said(a=four))
    old = topology.pools["a"]
    x, y, *_ = old.backends
    for _ in range(5):
        old.observe(answer(x, 100.0, 503), 100.0)

    topology.apply(said(a=four | {"max_in_flight": 9}))

    pool = topology.pools["a"]
    assert x not in pool.available

    for _ in range(5):
        old.observe(answer(y, 101.0, 503), 101.0)

    assert pool.available == pool.backends[2:]


def test_two_pools_judge_the_same_address_for_themselves_caddy_4792() -> None:
    """Each has a backend of its own, with its own health, breaker and limit: what one sees is not the other's."""
    topology, _ = made(
        said(
            a={"backends": "http://x,http://y", "backend_max_in_flight": 3, "health": {"kind": "none"}},
            b={"backends": "http://x,http://y", "health": PROBED},
        )
    )
    a, b = topology.pools.values()
    for _ in range(5):
        a.observe(answer(a.backends[0], 100.0, 503), 100.0)
    for one in b.backends:
        topology.observe(one, "", 100.0)

    assert (len(a.available), len(b.available)) == (1, 2)
    assert (a.backends[1].max_in_flight, b.backends[1].max_in_flight) == (3, 0)


def test_what_becomes_of_a_backend_is_logged_traefik_3590(caplog: pytest.LogCaptureFixture) -> None:
    """With the pool, the backend and the reason; what calls for somebody is a warning."""
    topology, _ = made(said(a={"backends": "http://x|id=b,http://y,http://z", "breaker": {"jitter": 0}}))
    pool = topology.pools["a"]
    b, y, z = pool.backends
    with caplog.at_level(logging.INFO, "l7lb.pool"):
        for _ in range(5):
            pool.observe(answer(b, 100.0, 503), 100.0)
        pool.drain(z)
        pool.drain(y)
        pool.undrain(y)
    found = [(record.levelname, record.getMessage()) for record in caplog.records]

    assert found == [
        ("WARNING", "pool a: backend b is ejected for 30s: 5 failures in a row"),
        ("INFO", "pool a: backend b is back: closed, for the pool cannot spare it"),
    ]


def test_panic_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A flip of health begins it and ends it."""
    topology, _ = made(said(a={"backends": "http://x,http://y,http://z", "health": PROBED | {"fall": 1}}))
    x, y, z = topology.pools["a"].backends
    with caplog.at_level(logging.INFO, "l7lb.pool"):
        for backend, failure in ((x, ""), (y, "refused"), (z, "refused"), (y, ""), (y, "")):
            topology.observe(backend, failure, 1.0)
    found = [(record.levelname, record.getMessage()) for record in caplog.records]

    assert found == [
        ("WARNING", "pool a: panic: 1 of 3 available"),
        ("INFO", "pool a: panic is over: 2 of 3 available"),
    ]


def test_a_probe_that_passes_again_closes_the_breaker() -> None:
    topology, _ = made(said(a={"backends": "http://x,http://y", "health": PROBED | {"fall": 1, "rise": 1}}))
    pool = topology.pools["a"]
    x, y = pool.backends
    for one in (x, y):
        topology.observe(one, "", 99.0)
    for _ in range(5):
        pool.observe(answer(x, 100.0, 503), 100.0)
    for failure in ("refused", ""):
        topology.observe(x, failure, 101.0)

    assert pool.available == (x, y)


def test_wrong_settings_change_nothing() -> None:
    """Not even in the pools before the wrong one."""
    topology, _ = made(said(a={"backends": "http://x"}))
    pools, (x,) = topology.pools, topology.pools["a"].backends

    with pytest.raises(ValueError, match="did you mean 'random'"):
        topology.apply(said(a={"backends": "http://x|weight=2"}, b={"backends": "http://y", "strategy": "randon"}))

    assert topology.pools is pools
    assert x.weight == 1


def test_the_listeners_hear_of_every_change() -> None:
    """Those of a pool that goes have left, too; nobody hears anything after he has stopped listening."""
    topology, _ = made(said(a={"backends": "http://x"}, b={"backends": "http://y"}))
    (y,) = topology.pools["b"].backends
    heard: list[Change] = []
    unlisten = topology.listen(heard.append)

    topology.apply(said(a={"backends": "http://x"}))
    unlisten()
    topology.apply(said())

    assert [Change(joined=(), left=(y,))] == heard


def test_a_listener_that_fails_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    """The change has been made, and who hears of it next would not be of one mind with the rest."""
    topology, _ = made(said(a={"backends": "http://x"}))
    heard: list[Change] = []

    def fail(_: Change) -> None:
        raise OSError("the file has gone")

    topology.listen(fail)
    topology.listen(heard.append)

    change = topology.apply(said(a={"backends": "http://y"}))

    assert heard == [change]
    assert [backend.id for backend in topology.pools["a"].backends] == ["y:80"]
    assert "the file has gone" in caplog.text


def test_one_that_is_removed_has_left() -> None:
    """The pool keeps its object; settings that do not change it do not bring the backend back."""
    settings = said(a={"backends": "http://x,http://y"})
    topology, _ = made(settings)
    pool = topology.pools["a"]
    x, y = pool.backends
    heard: list[Change] = []
    topology.listen(heard.append)

    topology.remove(x)

    assert topology.pools["a"] is pool
    assert (y,) == pool.backends
    assert [Change(joined=(), left=(x,))] == heard
    topology.apply(settings)
    assert (y,) == topology.pools["a"].backends

    topology.apply(said(a={"backends": "http://x,http://y,http://z"}))
    assert [backend.id for backend in topology.pools["a"].backends] == ["x:80", "y:80", "z:80"]


def test_a_flip_is_seen_by_the_next_pick() -> None:
    """The available are looked at when health flips, not per request."""
    topology, _ = made(said(a={"backends": "http://x,http://y", "health": PROBED}))
    x, y = topology.pools["a"].backends

    assert topology.observe(x, "", 1.0)
    assert not topology.observe(x, "", 2.0)
    assert x is topology.pools["a"].pick(b"", (), 2.0)
    assert topology.observe(y, "refused", 2.0)
    assert (x,) == topology.pools["a"].available


def test_a_late_answer_of_one_who_left_does_no_harm() -> None:
    """Its probe was under way when its pool went."""
    topology, _ = made(said(a={"backends": "http://x", "health": PROBED}))
    (x,) = topology.pools["a"].backends
    topology.apply(said())

    assert topology.observe(x, "", 1.0)
    assert State.UP is x.health.state


def test_ready_when_every_pool_has_one_available() -> None:
    """A pool without backends is nobody to wait for."""
    topology, clock = made(
        said(
            a={"backends": "http://x,http://y", "health": PROBED},
            b={"backends": "http://z", "health": PROBED},
            empty={},
        )
    )
    for backend in topology.pools["a"].backends:
        topology.observe(backend, "", 0.0)
    empty = {"available": 0, "backends": 0}

    assert (
        False,
        {"a": {"available": 2, "backends": 2}, "b": {"available": 0, "backends": 1}, "empty": empty},
    ) == topology.ready(clock.now)

    topology.observe(topology.pools["b"].backends[0], "", 0.0)

    assert topology.ready(clock.now)[0]


def test_ready_after_the_grace_time_in_any_case() -> None:
    """Counted from the first settings: a reload does not close the gate."""
    topology, clock = made(said(a={"backends": "http://x", "health": PROBED}))

    assert not topology.ready(clock.advance(9.9))[0]
    assert topology.ready(clock.advance(0.1))[0]

    topology.apply(said(b={"backends": "http://y", "health": PROBED}))

    assert topology.ready(clock.now)[0]


def test_ready_stays() -> None:
    """A pool that is lost later must not take the others out of service."""
    topology, clock = made(said(a={"backends": "http://x", "health": PROBED | {"fall": 1}}))
    (x,) = topology.pools["a"].backends
    topology.observe(x, "", 0.0)

    assert topology.ready(clock.now)[0]

    topology.observe(x, "refused", 0.0)

    assert topology.ready(clock.advance(1.0)) == (True, {"a": {"available": 0, "backends": 1}})


def test_not_ready_without_settings() -> None:
    """Before the first `apply` there is nothing to serve."""
    assert Topology().ready(0.0) == (False, {})


def test_who_is_leaving_lets_its_clients_go_in_the_end() -> None:
    """What has no end of its own at it, such as a WebSocket, is ended then; unless it is named again."""
    topology, clock = made(said(a={"backends": "http://x,http://y"}))
    x, _ = topology.pools["a"].backends
    x.in_flight = 1

    topology.apply(said(a={"backends": "http://y"}))

    assert (x.leaving, x.let_go) == (True, clock() + PATIENCE)
    topology.apply(said(a={"backends": "http://x,http://y"}))
    assert (x.leaving, x.draining) == (False, False)
