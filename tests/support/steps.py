"""What a pick costs, counted, so that it does not depend on the machine."""

from __future__ import annotations

import sys
from types import FrameType

from app.domain.pool import Pool


def steps(pool: Pool) -> int:
    """Lines run and functions called, in Python and in C, by 100 picks with a key each."""
    counted = 0

    def count(frame: FrameType, event: str, arg: object) -> object:
        nonlocal counted
        counted += 1
        return count

    before = sys.getprofile(), sys.gettrace()  # coverage has the latter while it measures
    sys.setprofile(count)
    sys.settrace(count)
    try:
        for i in range(100):
            pool.pick(b"%d" % i, (), i / 100)
    finally:
        sys.setprofile(before[0])
        sys.settrace(before[1])
    return counted
