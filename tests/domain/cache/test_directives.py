"""Directives, read as tolerantly as is safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cache.directives import LONGEST, Directives, directives, surrogate, targeted


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"max-age=60", 60),
        (b"MAX-Age=60", 60),
        (b"foo, max-age=60 , bar=1", 60),
        (b'max-age="60"', 60),
        (b"max-age=0060", 60),
        (b"max-age=60, max-age=5", 60),
        (b'x="a, max-age=5", max-age=60', 60),
        (b'x="a\\", max-age=5", max-age=60', 60),
        (b", ,max-age=60,", 60),
        (b"max-age=99999999999999999999999", LONGEST),
        (b"max-age=-1", 0),
        (b"max-age=6.5", 0),
        (b"max-age='60'", 0),
        (b"max-age= 60", 0),
        (b"max-age=60a", 0),
        (b"max-age=", 0),
        (b"max-age", 0),
        (b"max-age =60", None),
        (b'x="max-age=60', None),
        (b'x="\\', None),
        (b"xmax-age=60", None),
        (b"", None),
    ],
)
def test_a_number_is_a_number_and_nothing_else_makes_it_fresher(value: bytes, seconds: float | None) -> None:
    assert directives([value]).seconds(b"max-age") == seconds


def test_all_lines_are_one_list() -> None:
    found = directives([b"no-store", b"max-age=1"])

    assert b"no-store" in found
    assert b"max-age" in found
    assert b"private" not in found
    assert found
    assert not directives([])


@pytest.mark.parametrize(
    ("value", "bare", "fields"),
    [
        (b"private", True, set()),
        (b'private="Set-Cookie"', False, {b"set-cookie"}),
        (b'private="a, B"', False, {b"a", b"b"}),
        (b'private="a", private="b"', False, {b"a", b"b"}),
        (b'private="x\\-\\y, X"', False, {b"x-y", b"x"}),
        (b'private="a', False, {b'"a'}),
        (b"private=a", False, {b"a"}),
        (b'private="a", private', True, {b"a"}),
        (b'private=""', True, set()),
        (b"private=", True, set()),
        (b"public", False, set()),
    ],
)
def test_it_is_about_the_response_or_about_some_of_its_fields(value: bytes, bare: bool, fields: set[bytes]) -> None:
    found = directives([value])

    assert found.bare(b"private") is bare
    assert found.fields(b"private") == fields


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ([b"max-age=60"], 60),
        ([b"max-age=60;x=1;y, foo"], 60),
        ([b'  foo=1.5 ,\tbar=:YQ==:, l=(a b;q=1 "c"), max-age=60  '], 60),
        ([b"max-age=1", b"max-age=60"], 60),  # of a dictionary the last counts
        ([b"no-store=?0, max-age=60"], 60),
        ([b"max-age=1, max-age=60, max-age"], None),
        ([b"no-store, no-store=?0, max-age=60"], 60),
        ([b"max-age=60\t"], None),
        ([b"xX=1, max-age=60"], None),
        ([b"X"], None),
        ([b'max-age="60"'], None),
        ([b"max-age=6.0"], None),
        ([b"max-age=-6"], None),
        ([b"max-age"], None),
        ([b"Max-Age=60"], None),
        ([b"max-age=60,"], None),
        ([b"max-age=60 x"], None),
        ([b"max-age = 60"], None),
        ([b"max-age=60, &"], None),
        ([b""], None),
    ],
)
def test_a_targeted_field_is_a_dictionary_or_not_there(value: list[bytes], seconds: float | None) -> None:
    found = targeted(value)

    assert found.seconds(b"max-age") == seconds
    assert b"no-store" not in found


def test_a_flag_of_a_targeted_field() -> None:
    found = targeted([b'no-store, private=?1, no-cache="a"'])

    assert (found.bare(b"no-store"), found.bare(b"private"), found.bare(b"no-cache")) == (True, True, False)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"max-age=60", 60),
        (b"MaX-aGe=60", 60),
        (b"max-age=60;l7lb", 60),
        (b"max-age=60;other", None),
        (b"max-age=1;other, max-age=60; l7lb", 60),
        (b'x="a;other"; l7lb, max-age=60', 60),
        (b";;, max-age=60", 60),
        (b"max-age=60\t;\tl7lb ", 60),
        (b"max-age=60;l7lb\x0b", None),
        (b"max-age=60;Xl7lb", None),
    ],
)
def test_surrogate_control_may_name_us(value: bytes, seconds: float | None) -> None:
    assert surrogate([value]).seconds(b"max-age") == seconds


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_nothing_that_comes_raises(values: list[bytes]) -> None:
    for read in (directives, targeted, surrogate):
        found = read(values)
        assert isinstance(found, Directives)
        assert 0 <= (found.seconds(b"max-age") or 0) <= LONGEST
        found.fields(b"no-cache")
