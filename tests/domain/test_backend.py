"""What a backend is called, where it is, and why it may not be picked."""

from math import inf
from typing import Any

import pytest

from app.domain.backend import Backend, absences
from app.domain.breaker import CONSECUTIVE
from settings.pools import BackendSettings
from settings.resilience import HealthSettings
from tests.support.fleet import backend

PROBED = HealthSettings(path="/health")


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "authority", "name"),
    [
        ("http://app:8081", "http", "app", 8081, b"app:8081", "app:8081"),
        ("http://app", "http", "app", 80, b"app", "app:80"),
        ("https://app:443", "https", "app", 443, b"app", "app:443"),
        ("https://app:80", "https", "app", 80, b"app:80", "app:80"),
        ("http://[::1]:8081", "http", "::1", 8081, b"[::1]:8081", "[::1]:8081"),
        ("http://APP", "http", "app", 80, b"app", "app:80"),
    ],
)
def test_is_where_its_url_says(url: str, scheme: str, host: str, port: int, authority: bytes, name: str) -> None:
    """The Host field leaves the scheme's own port out, as clients do."""
    found = Backend("p", BackendSettings(url=url), PROBED)

    assert (scheme, host, port, authority, name) == (found.scheme, found.host, found.port, found.authority, found.id)
    assert f"<Backend p/{name}>" == repr(found)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("breaker", ["closed", "open", "half-open", "half-open, busy"])
@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("answers", ["", "+", "-"])
@pytest.mark.parametrize("weight", [0, 1])
def test_every_absence_has_one_reason(draining: bool, answers: str, weight: int, breaker: str, full: bool) -> None:
    """And there is one exactly when it takes nothing; what the operator wants comes first, what passes soonest last."""
    found = backend(weight=weight, health=PROBED)
    found.draining = draining
    for answer in answers:
        found.health.observe("" if answer == "+" else "refused", 0.0)
    if breaker != "closed":
        found.breaker.eject(CONSECUTIVE, 100.0, 0.0)
    if breaker.startswith("half-open"):
        found.breaker.admit(130.0)
        found.breaker.trials = 3 if breaker.endswith("busy") else 2
    found.max_in_flight, found.in_flight = 7, 7 if full else 6

    health = {"": "checking", "+": "", "-": "down"}[answers]
    ejected = {"open": "ejected: consecutive_failures until 18s from now", "half-open, busy": "half-open"}
    traffic = ejected.get(breaker, "full" if full else "")
    expected = "draining" if draining else health or ("" if weight else "weight 0") or traffic

    assert expected == found.absence(112.0)
    assert (found.available and found.admits(False)) == (not expected)


def test_an_ejection_that_is_over_is_so_with_the_next_pick() -> None:
    """Until then there is nothing left of it, and not less than nothing."""
    found = backend()
    found.breaker.eject(CONSECUTIVE, 100.0, 0.0)

    assert found.absence(140.0) == "ejected: consecutive_failures until 0s from now"
    assert found.back_in(140.0) == 0.0


def test_the_absences_of_all_are_counted() -> None:
    """As the log and explain say them."""
    backends = [backend(health=PROBED), backend(), backend(health=PROBED)]
    backends[1].draining = True

    assert absences(backends, 0.0) == "2 checking, 1 draining"
    assert absences([], 0.0) == "no backends"


def probed(answer: str = "") -> Backend:
    """Probed once: UP where *answer* is "", else DOWN."""
    found = backend(health=PROBED.model_copy(update={"fall": 1}))
    found.health.observe(answer, 0.0)
    return found


def test_what_is_new_takes_requests_and_has_none() -> None:
    found = Backend("p", BackendSettings(url="http://a", weight=3, level=2, max_in_flight=7), PROBED)

    assert (found.weight, found.share, found.level, found.max_in_flight, found.in_flight) == (3, 3, 2, 7, 0)
    assert (found.draining, found.leaving, found.let_go, found.entered) == (False, False, inf, None)
    assert found.takes_part
    assert not found.available, "before its first probe"


@pytest.mark.parametrize(
    ("change", "keeps", "keeps_draining"),
    [
        ({}, True, True),
        ({"weight": 0}, False, False),
        ({"draining": True}, False, True),
        ({"draining": True, "weight": 0}, False, True),
        ({"draining": True, "let_go": 100.0}, False, False),
        ({"draining": True, "let_go": 100.1}, False, True),
        ({"let_go": 100.0}, True, True),
        ({"leaving": True}, False, False),
        ({"leaving": True, "draining": True}, False, False),
        ({"max_in_flight": 2, "in_flight": 2}, False, False),
        ({"max_in_flight": 2, "in_flight": 2, "draining": True}, False, False),
        ({"max_in_flight": 2, "in_flight": 1, "draining": True}, False, True),
    ],
)
def test_who_keeps_its_clients(change: dict[str, Any], keeps: bool, keeps_draining: bool) -> None:
    """At 100 s: who may be picked, and who drains where that is to keep clients, until it lets them go."""
    found = probed()
    for name, value in change.items():
        setattr(found, name, value)

    assert (found.keeps(False, 100.0), found.keeps(True, 100.0)) == (keeps, keeps_draining)


@pytest.mark.parametrize("draining", [False, True])
def test_who_is_down_keeps_nobody(draining: bool) -> None:
    found = probed("refused")
    found.draining = draining

    assert not found.keeps(True, 100.0)


def test_who_is_ejected_keeps_nobody_and_who_is_half_open_as_many_as_find_out() -> None:
    found = probed()
    found.breaker.eject(CONSECUTIVE, 100.0, 0.0)

    assert not found.keeps(True, 100.0)

    found.breaker.admit(130.0)

    assert found.keeps(True, 130.0)

    found.breaker.trials = 3

    assert not found.keeps(True, 130.0)


def test_it_is_back_with_the_next_probe_or_the_end_of_its_ejection() -> None:
    """An ejection of one that is DOWN ends when it is UP."""
    up, down = probed(), probed("refused")
    down.health.due = 107.0
    for found in (up, down):
        found.breaker.eject(CONSECUTIVE, 100.0, 0.0)

    assert up.back_in(104.0) == 26.0
    assert down.back_in(104.0) == down.health.back_in(104.0) > 3.0 - 1e-9
    assert probed().back_in(104.0) == 0.0


def test_idle_is_without_requests() -> None:
    found = backend()

    assert (found.idle, found.full) == (True, False)

    found.in_flight = 10**6

    assert (found.idle, found.full) == (False, False)


def test_other_settings_leave_what_is_going_on() -> None:
    """A reload changes the weight and the probes, not the requests in flight nor what is known of it."""
    found = backend(health=PROBED)
    found.in_flight = 3
    found.health.observe("", 0.0)
    found.breaker.eject(CONSECUTIVE, 100.0, 0.0)
    found.draining = True

    found.configure(found.spec.model_copy(update={"weight": 7, "level": 2}), HealthSettings(path="/other"))

    assert (found.weight, found.level, found.in_flight, found.health.settings.path) == (7, 2, 3, "/other")
    assert found.spec.weight == 7
    assert (found.health.state, found.breaker.state, found.draining) == ("up", "open", True)
