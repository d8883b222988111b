"""The head of a stored response, and its bytes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cache.stored import PURGED, SKEW, Stored, Unreadable, decoded, variant

WHOLE = Stored(1, 200, ((b"a", b"b"),), 0.0).encoded()
text = st.binary(max_size=30)
seconds = st.floats(-1e12, 1e12)
heads = st.builds(
    Stored,
    stamp=st.integers(0, 2**63 - 1),
    status=st.integers(200, 599),
    fields=st.lists(st.tuples(text, text), max_size=5).map(tuple),
    received=seconds,
    age=seconds,
    lifetime=seconds,
    stale_revalidate=seconds,
    stale_error=seconds,
    until=seconds,
    start=st.integers(0, 2**62),
    end=st.integers(0, 2**62),
    total=st.integers(-1, 2**62),
    flags=st.integers(0, 7),
    vary=st.lists(st.tuples(text, st.none() | text), max_size=3).map(tuple),
    tags=st.lists(text, max_size=3).map(tuple),
)


@given(heads)
def test_it_is_read_again_as_it_was_written(head: Stored) -> None:
    assert decoded(head.encoded()) == head


@given(heads, st.data())
def test_what_is_cut_short_is_unreadable(head: Stored, data: st.DataObject) -> None:
    whole = head.encoded()
    with pytest.raises(Unreadable):
        decoded(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_so_is_what_is_longer_or_of_another_format() -> None:
    whole = Stored(1, 200, ((b"a", b"b"),), 0.0).encoded()
    with pytest.raises(Unreadable):
        decoded(whole + b"x")
    with pytest.raises(Unreadable):
        decoded(b"\xff" + whole[1:])


@given(st.binary(max_size=200))
def test_nothing_that_comes_raises_anything_else(data: bytes) -> None:
    with suppress(Unreadable):
        decoded(data)


def test_it_grows_older_and_never_younger() -> None:
    head = Stored(1, 200, (), 1000.0, age=5.0)

    assert [head.age_at(now) for now in (1000.0, 1010.0, 900.0)] == [5.0, 15.0, 5.0]


@pytest.mark.parametrize(("ago", "age"), [(0.5, 5.5), (0.0, 5.0), (-SKEW, 5.0), (-SKEW - 0.1, 60.0), (-1e9, 60.0)])
def test_what_comes_from_the_future_is_stale_unless_clocks_may_differ_so(ago: float, age: float) -> None:
    """A clock that was set back says nothing of how old it is; that of another machine may be ahead a little."""
    head = Stored(1, 200, (), 1000.0, age=5.0, lifetime=60.0)

    assert head.age_at(1000.0 + ago) == age
    assert Stored(1, 200, (), 1000.0, age=70.0, lifetime=60.0).age_at(0.0) == 70.0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff" + WHOLE[1:], "format 255"),
        (WHOLE[:-1], "cut short"),
        (WHOLE + b"x", "something follows"),
    ],
)
def test_it_is_said_why_it_is_unreadable(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decoded(data)

    assert str(caught.value) == why


def test_what_python_says_of_a_head_that_is_cut_short_is_said() -> None:
    with pytest.raises(Unreadable, match="unpack_from requires a buffer"):
        decoded(WHOLE[:9])


def test_a_soft_purge_makes_it_stale_and_a_second_one_no_staler() -> None:
    head = Stored(1, 200, (), 1000.0, lifetime=60.0, stale_error=10.0)

    once = head.purged(1010.0)

    assert (once.lifetime, once.flags, once.stale_error) == (10.0, PURGED, 10.0)
    assert once.purged(1030.0) == once
    assert head.purged(1100.0).lifetime == 60.0


def test_the_variant_that_it_takes_the_place_of() -> None:
    one, other = Stored(1, 200, (), 0.0), Stored(2, 200, (), 0.0, vary=((b"a", None),))

    assert variant(Stored(3, 200, (), 0.0, vary=((b"a", None),)), [one, other]) is other
    assert variant(Stored(3, 200, (), 0.0, vary=((b"a", b""),)), [one, other]) is None
    assert not one.partial
    assert Stored(3, 206, (), 0.0, total=5).partial
