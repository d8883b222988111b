"""Active and standby."""

from settings.resilience import HealthSettings
from tests.support.fleet import fleet, pool


def test_the_first_takes_everything_until_it_goes() -> None:
    """The order of the settings decides, weights do not."""
    backends = fleet(1, 9, 9)
    chosen = pool(backends, "first")

    assert chosen.pick(b"", (), 0.0).id == "a"
    assert chosen.pick(b"", backends[:1], 0.0).id == "b"

    backends[0].draining = True
    chosen.refresh()

    assert chosen.pick(b"", (), 0.0).id == "b"


def test_the_last_one_bears_it_all_without_panic() -> None:
    """Two of three are DOWN: to go back to them, as panic does, is no help."""
    backends = fleet(1, 1, 1)
    for backend in backends[:2]:
        backend.health.configure(HealthSettings(kind="tcp", fall=1))
        backend.health.observe("refused", 0.0)
    chosen = pool(backends, "first")

    assert {chosen.pick(b"", (), 0.0).id for _ in range(9)} == {"c"}
    assert not chosen.panic
