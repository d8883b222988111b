"""Active and standby."""

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
