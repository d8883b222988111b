"""What a backend is called, where it is, and why it may not be picked."""

import pytest

from app.domain.backend import Backend
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


@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("answers", ["", "+", "-"])
@pytest.mark.parametrize("weight", [0, 1])
def test_every_absence_has_one_reason(draining: bool, answers: str, weight: int) -> None:
    """And there is one exactly when it may not be picked; what the operator wants comes first."""
    found = backend(weight=weight, health=PROBED)
    found.draining = draining
    for answer in answers:
        found.health.observe("" if answer == "+" else "refused", 0.0)

    health = {"": "checking", "+": "", "-": "down"}[answers]
    expected = "draining" if draining else health or ("" if weight else "weight 0")

    assert expected == found.absence(0.0)
    assert found.available == (not expected)


def test_other_settings_leave_what_is_going_on() -> None:
    """A reload changes the weight and the probes, not the requests in flight nor what is known of health."""
    found = backend(health=PROBED)
    found.in_flight = 3
    found.health.observe("", 0.0)

    found.configure(found.spec.model_copy(update={"weight": 7}), HealthSettings(path="/other"))

    assert (found.weight, found.in_flight, found.available, found.health.settings.path) == (7, 3, True, "/other")
