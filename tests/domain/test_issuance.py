"""When a certificate is ordered, and when again."""

from __future__ import annotations

import pytest

from app.domain.certificate import Issued
from app.domain.issuance import due, pause

DAY = 86400.0
NINETY = Issued(0.0, 90 * DAY, by_itself=False)


@pytest.mark.parametrize(
    ("day", "before", "is_due"),
    [(0, 0, False), (59, 0, False), (60, 0, True), (100, 0, True), (79, 10, False), (80, 10, True)],
)
def test_in_the_last_third_or_as_is_said(day: float, before: float, is_due: bool) -> None:
    assert due(NINETY, day * DAY, before * DAY) is is_due


def test_not_in_the_first_third_whatever_is_said() -> None:
    """A certificate of six days and `renew_before` of thirty: else each would be ordered anew at once, for ever."""
    short = Issued(0.0, 6 * DAY, by_itself=False)
    assert not due(short, 1.9 * DAY, 30 * DAY)
    assert due(short, 2 * DAY, 30 * DAY)


def test_a_placeholder_always_is() -> None:
    assert due(NINETY._replace(by_itself=True), 1.0, 0.0)


def test_fewer_than_five_in_an_hour() -> None:
    """What Let's Encrypt takes of failed validations: those within an hour of any of them, in a row of twenty."""
    at = [0.0]
    for failures in range(1, 20):
        at.append(at[-1] + pause(failures, limited=False))
    assert max(sum(start <= other < start + 3600 for other in at) for start in at) < 5
    assert pause(500, limited=False) == 12 * 3600.0


def test_who_says_that_it_is_too_much_is_left_alone() -> None:
    assert pause(1, limited=True) == 3600.0
    assert pause(20, limited=True) == 12 * 3600.0
