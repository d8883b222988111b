"""Parts of a representation."""

from __future__ import annotations

import pytest

from app.domain.cache.ranges import UNSATISFIABLE, Part, asked, content_range


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"bytes=0-0", Part(0, 1, 10)),
        (b"bytes=2-5", Part(2, 6, 10)),
        (b"bytes=2-", Part(2, 10, 10)),
        (b"bytes=2-99", Part(2, 10, 10)),
        (b"bytes=-3", Part(7, 10, 10)),
        (b"bytes=-99", Part(0, 10, 10)),
        (b"Bytes = 1-2 ", Part(1, 3, 10)),
        (b"bytes=-0", UNSATISFIABLE),
        (b"bytes=10-", UNSATISFIABLE),
        (b"bytes=5-2", None),
        (b"bytes=-", None),
        (b"bytes=- ", None),
        (b"bytes=1-2,4-5", None),
        (b"bytes=1", None),
        (b"lines=1-2", None),
        (b"bytes=1-9999999999999999999", None),
    ],
)
def test_which_part_is_asked_for(value: bytes, part: Part | None) -> None:
    assert asked(value, 10) == part


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([b"bytes 2-5/10"], Part(2, 6, 10)),
        ([b"bytes 0-9/10"], Part(0, 10, 10)),
        ([b"bytes 5-2/10"], None),
        ([b"bytes 2-10/10"], None),
        ([b"bytes 2-5/*"], None),
        ([b"bytes */10"], None),
        ([b"bytes 2-5/10", b"bytes 2-5/10"], None),
        ([], None),
    ],
)
def test_which_part_a_response_has(values: list[bytes], part: Part | None) -> None:
    assert content_range(values) == part
