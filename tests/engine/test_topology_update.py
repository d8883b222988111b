"""What sources say of a pool, merged, while it serves: who comes, who stays, and how one goes."""

from __future__ import annotations

import logging
from random import Random
from typing import Any

import pytest

from app.domain.backend import Backend
from app.domain.membership import Change
from app.domain.pool import Pool
from app.engine.topology import HOLD, PATIENCE, Topology
from settings.pools import BackendSettings
from settings.root import Settings
from tests.support.clock import Clock

UNPROBED = {"kind": "none"}
PROBED = {"path": "/health"}


def said(**pools: dict[str, Any]) -> Settings:
    return Settings.model_validate({"pools": pools})


def made(settings: Settings) -> tuple[Topology, Clock]:
    clock = Clock()
    topology = Topology(clock=clock, rng=Random(7))
    topology.apply(settings)
    return topology, clock


def backends(*lines: str) -> frozenset[BackendSettings]:
    return frozenset(BackendSettings.model_validate(line) for line in lines)


def names(members: tuple[Backend, ...]) -> list[str]:
    return [backend.id for backend in members]


def ids(pool: Pool) -> list[str]:
    return names(pool.backends)


def test_what_sources_say_joins_what_the_settings_say() -> None:
    """The settings have the last word, then any other, then the pool's own source; each in the order of the ids."""
    topology, _ = made(
        said(a={"backends": "http://s|id=x|weight=5", "source": {"kind": "dns", "name": "n"}, "health": UNPROBED})
    )
    pool = topology.pools["a"]

    topology.update("a", "dns", backends("http://d|id=y|weight=2", "http://d|id=b", "http://d|id=x"))
    change = topology.update("a", "admin", backends("http://m|id=y", "http://m|id=z"))

    assert topology.pools["a"] is pool
    assert [(one.id, one.host, one.weight) for one in pool.backends] == [
        ("x", "s", 5), ("y", "m", 1), ("z", "m", 1), ("b", "d", 1),
    ]  # fmt: skip
    assert (names(change.joined), names(change.left)) == (["y", "z"], ["y"])
    assert pool.available == pool.backends


def test_the_same_answer_changes_nothing_and_tells_nobody() -> None:
    """However often it comes; nor does one that only says what another has said before."""
    topology, _ = made(said(a={"backends": "http://s", "health": UNPROBED}))
    topology.update("a", "dns", backends("http://x"))
    heard: list[Change] = []
    topology.listen(heard.append)
    pool, members = topology.pools["a"], topology.pools["a"].backends

    for source, lines in (("dns", ["http://x"]), ("file", ["http://s|weight=9", "http://x"]), ("none", [])):
        assert topology.update("a", source, backends(*lines)) == Change((), ())

    assert heard == []
    assert pool.backends is members


def test_another_weight_is_heeded_and_one_that_somebody_set_stays() -> None:
    """Until the source says another: that of before says nothing of what the operator did since."""
    topology, _ = made(said(a={"health": UNPROBED, "backend_max_in_flight": 4}))
    topology.update("a", "dns", backends("http://x", "http://y"))
    pool = topology.pools["a"]
    x, y = pool.backends
    pool.weigh(x, 7)

    topology.update("a", "dns", backends("http://x", "http://y|weight=3|max_in_flight=2"))

    assert (x.weight, y.weight) == (7, 3)
    assert (x.max_in_flight, y.max_in_flight) == (4, 2)
    assert pool.backends == (x, y)


def test_an_unknown_pool() -> None:
    topology, _ = made(said())

    with pytest.raises(KeyError):
        topology.update("a", "dns", backends("http://x"))

    topology.apply(said(a={}))
    assert topology.pools["a"].backends == ()


def test_who_left_finishes_what_it_has_and_takes_nothing_new_nginx_dynamic_upstream() -> None:
    """The listeners hear of it at once, so nobody probes it any more; it is shown until it is idle."""
    topology, _ = made(said(a={"health": UNPROBED}))
    topology.update("a", "dns", backends("http://x", "http://y"))
    pool = topology.pools["a"]
    x, y = pool.backends
    x.in_flight = 2
    heard: list[Change] = []
    topology.listen(heard.append)

    topology.update("a", "dns", backends("http://y"))

    assert heard == [Change((), (x,))]
    assert pool.backends == (y,)
    assert pool.leaving == (x,)
    assert {pool.pick(b"", (), 1.0) for _ in range(9)} == {y}
    x.in_flight = 0
    assert pool.leaving == ()


def test_one_that_does_not_get_idle_is_not_waited_for_for_ever() -> None:
    topology, clock = made(said(a={"health": UNPROBED}))
    topology.update("a", "dns", backends("http://x", "http://y", "http://z"))
    pool = topology.pools["a"]
    x, y, _ = pool.backends
    x.in_flight = y.in_flight = 1
    topology.update("a", "dns", backends("http://z"))
    y.in_flight = 0

    clock.advance(PATIENCE - 1.0)
    topology.tidy()
    assert pool.leaving == (x,)
    clock.advance(1.0)
    topology.tidy()

    assert pool.leaving == ()
    assert topology._leaving == {}
    assert x.in_flight == 1


def test_one_that_comes_back_in_time_is_the_same() -> None:
    """With its requests, its health, and what the operator did; and nobody waits for it to go any more."""
    topology, clock = made(said(a={"health": PROBED}))
    topology.update("a", "dns", backends("http://x", "http://y"))
    pool = topology.pools["a"]
    x, y = pool.backends
    for one in (x, y):
        topology.observe(one, "", 0.0)
    x.in_flight = 1
    topology.update("a", "dns", backends("http://y"))
    change = topology.update("a", "dns", backends("http://x", "http://y"))

    assert change == Change((x,), ())
    assert pool.available == (x, y)
    clock.advance(PATIENCE)
    topology.tidy()
    assert pool.backends == (x, y)
    assert topology._leaving == {}


def test_the_last_ones_go_on_until_a_new_one_is_up_traefik_12654() -> None:
    """All replaced at once, as a rolling update ends: no moment without anybody."""
    topology, _ = made(said(a={"health": PROBED}))
    topology.update("a", "dns", backends("http://x", "http://y"))
    pool = topology.pools["a"]
    x, y = pool.backends
    topology.observe(x, "", 0.0)
    topology.observe(y, "refused", 0.0)

    change = topology.update("a", "dns", backends("http://n", "http://m"))

    assert (names(change.joined), change.left) == (["m:80", "n:80"], (y,))
    assert ids(pool) == ["m:80", "n:80", "x:80"]
    assert pool.pick(b"", (), 1.0) is x
    topology.observe(pool.backends[0], "refused", 1.0)
    assert pool.pick(b"", (), 1.0) is x

    heard: list[Change] = []
    topology.listen(heard.append)
    topology.observe(pool.backends[1], "", 2.0)

    assert heard == [Change((), (x,))]
    assert ids(pool) == ["m:80", "n:80"]
    assert [pool.pick(b"", (), 2.0).id for _ in range(3)] == ["n:80"] * 3


def test_an_answer_without_backends_does_not_empty_a_pool_at_once() -> None:
    """It is believed when nothing else was said for a while, however often it came; a new answer ends it."""
    topology, clock = made(said(a={"health": UNPROBED}))
    topology.update("a", "dns", backends("http://x", "http://y"))
    pool = topology.pools["a"]
    before = pool.backends
    topology.update("a", "dns", backends())
    clock.advance(HOLD / 2)
    topology.tidy()

    assert pool.available == before
    topology.update("a", "dns", backends("http://x"))
    assert ids(pool) == ["x:80"]

    topology.update("a", "dns", backends())
    clock.advance(HOLD / 2)
    topology.update("a", "file", backends())
    clock.advance(HOLD / 2)
    topology.tidy()
    assert pool.backends == ()
    assert topology._held == {}


def test_one_that_goes_down_is_not_held() -> None:
    """It is gone, as its source said; and what else is held in another pool is nobody's business."""
    topology, clock = made(said(a={"health": PROBED | {"fall": 1}}, b={"health": UNPROBED}))
    for name in ("a", "b"):
        topology.update(name, "dns", backends("http://x"))
    (x,) = topology.pools["a"].backends
    topology.observe(x, "", 0.0)
    for name in ("a", "b"):
        topology.update(name, "dns", backends())

    topology.observe(x, "refused", 1.0)

    assert topology.pools["a"].backends == ()
    assert ids(topology.pools["b"]) == ["x:80"]
    topology.apply(said(a={"health": PROBED}))
    clock.advance(HOLD)
    topology.tidy()
    assert topology._held == {}


def test_settings_that_change_keep_what_the_sources_said() -> None:
    """Until they say something else; and one that is not asked any more has said nothing."""
    file = {"kind": "file", "path": "x"}
    topology, _ = made(said(a={"source": file, "health": UNPROBED}, b={"health": UNPROBED}))
    for name in ("a", "b"):
        topology.update(name, "file", backends("http://x"))
    topology.update("a", "admin", backends("http://m"))
    (m, x) = topology.pools["a"].backends

    topology.apply(said(a={"source": file | {"interval": "2s"}, "health": UNPROBED, "max_in_flight": 5}))
    assert topology.pools["a"].backends == (m, x)
    assert "b" not in topology._said

    topology.apply(said(a={"source": {"kind": "dns", "name": "n"}, "health": UNPROBED}))
    assert topology.pools["a"].backends == (m,)


def test_one_that_comes_back_by_a_reload_is_the_same() -> None:
    topology, _ = made(said(a={"backends": "http://x,http://y", "health": PROBED}))
    x, y = topology.pools["a"].backends
    x.in_flight = 1
    topology.apply(said(a={"backends": "http://y", "health": PROBED}))
    assert topology.pools["a"].leaving == (x,)

    change = topology.apply(said(a={"backends": "http://x,http://y", "health": PROBED}))

    assert topology.pools["a"].backends == (x, y)
    assert change == Change((x,), ())
    assert topology.pools["a"].leaving == ()


def test_one_that_somebody_removed_stays_away() -> None:
    """Until its source says something else of it, or has stopped to name it, and begins anew."""
    topology, _ = made(said(a={"health": UNPROBED}))
    topology.update("a", "dns", backends("http://x", "http://y"))
    pool = topology.pools["a"]
    topology.remove(pool.backends[0])

    topology.update("a", "dns", backends("http://x", "http://y", "http://z"))
    assert ids(pool) == ["y:80", "z:80"]

    topology.update("a", "dns", backends("http://y"))
    topology.update("a", "dns", backends("http://x", "http://y"))
    assert ids(pool) == ["x:80", "y:80"]

    topology.remove(pool.backends[0])
    topology.update("a", "dns", backends("http://x|weight=2", "http://y"))
    assert ids(pool) == ["x:80", "y:80"]


def test_not_ready_before_a_source_has_spoken() -> None:
    """Else the first requests would find nobody; that there is nobody is an answer, too."""
    topology, clock = made(said(a={"source": {"kind": "dns", "name": "n"}, "health": PROBED}))

    assert topology.ready(clock.now) == (False, {"a": {"available": 0, "backends": 0}})
    topology.update("a", "dns", backends("http://x"))
    assert not topology.ready(clock.now)[0]
    topology.observe(topology.pools["a"].backends[0], "", 0.0)
    assert topology.ready(clock.now)[0]

    other, clock = made(said(a={"source": {"kind": "dns", "name": "n"}}))
    other.update("a", "dns", backends())
    assert other.ready(clock.now)[0]


def test_who_joined_and_who_left_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Not more names than a line has room for."""
    topology, _ = made(said(a={"health": UNPROBED}))
    with caplog.at_level(logging.INFO, "l7lb.pool"):
        topology.update("a", "dns", backends("http://x", "http://y"))
        topology.update("a", "dns", backends(*(f"http://h{n:02}" for n in range(12))))

    assert [record.getMessage() for record in caplog.records] == [
        "pool a: joined: x:80, y:80",
        "pool a: joined: h00:80, h01:80, h02:80, h03:80, h04:80, h05:80, h06:80, h07:80, h08:80, h09:80 and 2 more",
        "pool a: left: x:80, y:80",
    ]
