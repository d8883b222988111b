"""What all tests share."""

from __future__ import annotations

import hypothesis
import pytest

from tests.support.clock import Clock

# No test has a time to keep: on a machine that is busy, what was found would be that it is busy.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is told to go on."""
    return Clock()
