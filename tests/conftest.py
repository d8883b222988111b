"""What all tests share."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is told to go on."""
    return Clock()
