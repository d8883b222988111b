"""The names by which a request is found again."""

from random import Random

import pytest

from app.domain.trace import accepted_request_id, new_ids, new_request_id, new_traceparent, valid_traceparent


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


def test_made_ids_are_128_bits_each_its_own() -> None:
    """In hexadecimal."""
    rng = Random(7)
    made = {new_request_id(rng) for _ in range(1000)}

    assert len(made) == 1000
    assert {len(name) for name in made} == {32}


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
    rng = Random(7)
    for _ in range(100):
        made = new_traceparent(new_ids(rng))
        assert valid_traceparent(made)
        assert made.endswith(b"-01")
