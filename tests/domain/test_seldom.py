"""What happens again and again is said once in a while."""

from __future__ import annotations

from app.domain.seldom import Seldom


def test_every_ten_seconds_when_not_said() -> None:
    seldom = Seldom()

    assert [seldom.now(now) for now in (0.0, 9.9, 10.0)] == [True, False, True]


def test_once_in_a_while() -> None:
    seldom = Seldom(10.0)
    assert [seldom.now(now) for now in (100.0, 101.0, 109.9, 110.0, 111.0, 500.0)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip
