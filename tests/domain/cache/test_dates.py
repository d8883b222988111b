"""Dates of HTTP."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cache.dates import date

NOW = 1_780_000_000.0  # May 2026


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"sUN, 06 NOV 1994 08:49:37 gmt", 784111777),
        (b" Sun, 06 Nov 1994 08:49:37 GMT ", 784111777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        (b"Sun Nov  6 08:49:37 1994", 784111777),
        (b"Thursday, 18-Aug-50 02:01:18 GMT", 2544400878),  # 24 years ahead
        (b"Thursday, 18-Aug-77 02:01:18 GMT", 240717678),  # 51 years ahead is none of them
        (b"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800),
        (b"Tue, 29 Feb 2000 00:00:00 GMT", 951782400),
        (b"Thu, 29 Feb 2023 00:00:00 GMT", None),
        (b"Thu, 29 Feb 2100 00:00:00 GMT", None),
        *[(b"Fri, 31 %b 2026 00:00:00 GMT" % month, None) for month in (b"Apr", b"Jun", b"Sep", b"Nov")],
        (b"Fri, 31 Jul 2026 00:00:00 GMT", 1785456000),
        (b"Sat, 31 Oct 2026 00:00:00 GMT", 1793404800),
        (b"Fri, 32 Dec 2026 00:00:00 GMT", None),
        (b"Fri, 30 Feb 2024 00:00:00 GMT", None),
        (b"Friday, 01-May-76 00:00:00 GMT", 3355516800),  # 50 years ahead is one of them
        (b"Fri, 31 Dec 2026 23:59:60 GMT", 1798761600),
        (b"Fri, 31 Dec 2026 24:00:00 GMT", None),
        (b"Fri, 31 Dec 2026 00:60:00 GMT", None),
        (b"Fri, 31 Dec 2026 00:00:61 GMT", None),
        (b"Fri, 00 Dec 2026 00:00:00 GMT", None),
        (b"Fri, 01 Foo 2026 00:00:00 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
        (b"Sun 06 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        (b"0", None),
        (b"", None),
    ],
)
def test_the_three_formats_and_nothing_else(value: bytes, seconds: float | None) -> None:
    assert date(value, NOW) == seconds


@given(st.integers(0, 253402300799))
def test_what_others_write_is_read(seconds: int) -> None:
    assert date(formatdate(seconds, usegmt=True).encode(), NOW) == seconds


@given(st.binary(max_size=40))
def test_nothing_that_comes_raises(value: bytes) -> None:
    date(value, NOW)
