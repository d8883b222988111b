"""How long an answer is waited for, as header fields say it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.deadline import GRPC, asked, told

MS = b"x-deadline-ms"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0), (b"2M", 120.0), (b"5S", 5.0), (b"250m", 0.25), (b"100u", 0.0001), (b"7n", 7e-9),
        (b"99999999S", 99999999.0), (b"010S", 10.0),
        (b"123456789S", None), (b"0S", None), (b"-1S", None), (b"1.5S", None), (b"5", None), (b"S", None),
        (b"5s", None), (b"5 S", None), (b"5S\n", None), (b"", None), (b"\xb2S", None),
    ],
)  # fmt: skip
def test_grpc_writes_digits_and_a_unit(value: bytes, seconds: float | None) -> None:
    """PROTOCOL-HTTP2: at most 8 digits, positive; what is not that is not said."""
    assert asked(GRPC, value) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1500", 1.5), (b"1", 0.001), (b"0015", 0.015), (b"9" * 15, 999999999999.999),
        (b"0", None), (b"", None), (b"-5", None), (b"1.5", None), (b"5S", None), (b"1e3", None), (b"1_0", None),
        (b" 5", None), (b"5\n", None), (b"9" * 16, None), (b"\xb2", None),
    ],
)  # fmt: skip
def test_others_write_milliseconds(value: bytes, seconds: float | None) -> None:
    """In digits; what is not that is not said."""
    assert asked(MS, value) == seconds


@pytest.mark.parametrize(
    ("seconds", "grpc", "milliseconds"),
    [
        (0.05, b"50000000n", b"50"), (1.0, b"1000000u", b"1000"), (15.0, b"15000000u", b"15000"),
        (3600.0, b"3600000m", b"3600000"), (1e6, b"1000000S", b"1000000000"), (1e9, b"16666666M", b"1000000000000"),
        (1e12, b"99999999H", b"1000000000000000"), (0.0, b"1n", b"1"), (-3.0, b"1n", b"1"), (0.0004, b"400000n", b"1"),
    ],
)  # fmt: skip
def test_what_is_told_is_in_the_unit_with_digits_enough(seconds: float, grpc: bytes, milliseconds: bytes) -> None:
    """And never nothing, which could be read as for ever."""
    assert told(GRPC, seconds) == grpc
    assert told(MS, seconds) == milliseconds


@given(seconds=st.floats(-10, 1e13), name=st.sampled_from([GRPC, MS]))
def test_what_is_told_is_never_more_than_there_is(seconds: float, name: bytes) -> None:
    """Nor much less: to a millisecond, or seven digits, but for times of millennia; and it can be read."""
    value = told(name, seconds)
    if name == GRPC:
        assert re.fullmatch(rb"[0-9]{1,8}[HMSmun]", value)
    heard = asked(name, value) if len(value) < 16 else int(value) / 1000

    least = 1e-9 if name == GRPC else 1e-3
    assert heard is not None
    assert heard <= max(least, seconds * (1 + 1e-12))
    if seconds < 3.5e11:
        assert heard >= seconds - max(1e-3, seconds * 1e-5)
