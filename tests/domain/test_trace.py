"""The names by which a request is found again."""

import re
from random import Random

import pytest

from app.domain.trace import Ids, accepted_request_id, new_traceparent, valid_traceparent


class Zeros(Random):
    """No chance at all."""

    def getrandbits(self, k: int, /) -> int:
        return 0


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (b"abc-1", "abc-1"),
        (b"", ""),
        (b"a b", ""),
        (b"a\r\nb", ""),
        (b"\xe9", ""),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, ""),
    ],
)
def test_a_request_id_is_taken_when_it_is_harmless(sent: bytes, taken: str) -> None:
    """1 to 128 visible ASCII characters."""
    assert accepted_request_id(sent) == taken


@pytest.mark.parametrize("part", [slice(32), slice(32, 48)])
def test_ids_are_each_its_own(part: slice) -> None:
    """Of 128 and of 64 bits, in hexadecimal."""
    ids = Ids(Random(7))
    made = {ids.draw()[part] for _ in range(1000)}

    assert len(made) == 1000
    assert all(re.fullmatch(rb"[0-9a-f]+", name) and len(name) == len(range(48)[part]) for name in made)


def test_no_id_is_none() -> None:
    """Not even where chance is nothing but zeros."""
    ids = Ids(Zeros())
    for _ in range(200):
        drawn = ids.draw()
        assert len(drawn) == 48
        assert int(drawn[:32], 16)
        assert int(drawn[32:], 16)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        (b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more", True),
        (b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        (b"00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        (b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        (b"nonsense", False),
    ],
)
def test_a_traceparent_is_checked(value: bytes, valid: bool) -> None:
    """W3C Trace Context section 3.2."""
    assert valid_traceparent(value) is valid


def test_a_made_traceparent_is_valid_and_sampled() -> None:
    """Whatever chance brings."""
    ids = Ids(Random(7))
    for _ in range(100):
        made = new_traceparent(ids.draw())
        assert valid_traceparent(made)
        assert made.endswith(b"-01")
