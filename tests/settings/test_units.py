from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.problems import Wrong
from settings.units import Rate, duration, rate, ratio, size, spell_duration, spell_rate, spell_ratio, spell_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("2d", 172800),
        ("0", 0),
        (" 1s ", 1),
        (0, 0),
        (2.5, 2.5),
    ],
)
def test_a_duration_is_read_in_seconds(text: object, seconds: float) -> None:
    """A float is seconds, as settings made in Python have them."""
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["5", 5, "5 s", "s", "", "-1s", "1e3s", -1.0, math.nan, math.inf, True, None, [], "9" * 400 + "s"]
)
def test_a_duration_without_a_unit_is_a_guess(text: object) -> None:
    with pytest.raises(Wrong, match="with its unit"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("64KiB", 65536), ("10MB", 10**7), ("1 GiB", 2**30), ("7B", 7), (7, 7), ("1.5KiB", 1536)]
)
def test_a_size_is_read_in_bytes(text: object, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["64kib", "", "-1", -1, True, "1TB", "9" * 400, None])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(Wrong, match="64KiB"):
        size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100/s", (100, 1)), ("100/m", (100, 60)), ("5/10s", (5, 10)), ("0.5 / s", (0.5, 1)), (Rate(1, 2), (1, 2))],
)
def test_a_rate_is_a_count_in_a_period(text: object, expected: tuple[float, float]) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize("text", ["100", 100, "0/s", "5/0s", "/s", "-1/s", "1/w", None])
def test_what_is_no_rate_is_refused(text: object) -> None:
    with pytest.raises(Wrong, match="100/s"):
        rate(text)


@pytest.mark.parametrize(("text", "share"), [("50%", 0.5), ("0.5", 0.5), (0.5, 0.5), (1, 1), ("0", 0)])
def test_a_share_is_from_0_to_1(text: object, share: float) -> None:
    assert ratio(text) == share


@pytest.mark.parametrize("text", ["101%", "2", "-1", "half", "", None, math.nan])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(Wrong, match="from 0 to 1"):
        ratio(text)


@given(st.integers(0, 10**9))
def test_what_is_spelled_reads_the_same_again(n: int) -> None:
    """For every quantity: the text in `l7lb config` can be pasted into a settings file."""
    assert duration(spell_duration(n / 1000)) == pytest.approx(n / 1000)
    assert size(spell_size(n)) == n
    assert rate(spell_rate(Rate(n + 1, 90.0))) == (n + 1, 90.0)
    assert ratio(spell_ratio((n % 101) / 100)) == pytest.approx((n % 101) / 100)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        (spell_duration(90.0), "1m30s"), (spell_duration(0.25), "250ms"), (spell_duration(0.0), "0s"),
        (spell_duration(1.5), "1.5s"), (spell_size(65536), "64KiB"), (spell_size(10**7), "10MB"),
        (spell_size(0), "0B"), (spell_size(1001), "1001B"), (spell_rate(Rate(100, 60)), "100/m"),
        (spell_rate(Rate(0.5, 0.25)), "0.5/250ms"), (spell_ratio(0.1), "10%"),
    ],
)  # fmt: skip
def test_quantities_are_spelled_as_people_write_them(spelled: str, expected: str) -> None:
    assert spelled == expected
