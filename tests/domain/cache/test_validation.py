"""Validators, and the conditions of clients."""

from __future__ import annotations

import pytest

from app.domain.cache.lookup import Lookup
from app.domain.cache.stored import Stored
from app.domain.cache.validation import in_range, not_modified, same, validators
from app.domain.headers import Field

OLD, THEN, LATER = (b"Sun, 06 Nov 1994 08:49:3%d GMT" % n for n in (1, 2, 3))


def stored(*fields: Field) -> Stored:
    return Stored(1, 200, fields, 1_000_000_000.0)


def test_the_backend_is_asked_with_all_that_there_is() -> None:
    assert validators(stored((b"etag", b'"a"'), (b"last-modified", THEN))) == [
        (b"if-none-match", b'"a"'),
        (b"if-modified-since", THEN),
    ]
    assert validators(stored()) == []


@pytest.mark.parametrize(
    ("asked", "etag", "found"),
    [
        (b'"a"', b'"a"', True),
        (b'"b", "a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'w/"a"', True),
        (b"*", b'"a"', True),
        (b"*", b"", True),
        (b'"b"', b'"a"', False),
        (b'"a, b"', b'"a"', False),
        (b'"a"', b"", False),
        (b'W/, "a"', b"", False),
    ],
)
def test_if_none_match(asked: bytes, etag: bytes, found: bool) -> None:
    """Whatever If-Modified-Since says beside it."""
    lookup = Lookup("GET", [(b"if-none-match", asked), (b"if-modified-since", LATER)])

    assert not_modified(lookup, stored((b"etag", etag), (b"last-modified", THEN))) is found


@pytest.mark.parametrize(
    ("since", "fields", "found"),
    [
        (THEN, ((b"last-modified", THEN),), True),
        (LATER, ((b"last-modified", THEN),), True),
        (OLD, ((b"last-modified", THEN),), False),
        (LATER, ((b"date", THEN),), True),
        (OLD, ((b"date", THEN),), False),
        (LATER, (), False),
        (b"never", ((b"last-modified", THEN),), False),
    ],
)
def test_if_modified_since(since: bytes, fields: tuple[Field, ...], found: bool) -> None:
    assert not_modified(Lookup("GET", [(b"if-modified-since", since)]), stored(*fields)) is found


def test_a_year_of_two_digits_is_of_the_century_in_which_it_came() -> None:
    """`stored` came in 2001: 52 is not 51 years ahead."""
    since, modified = b"Monday, 01-Jan-52 00:00:00 GMT", b"Sun, 06 Nov 1994 08:49:32 GMT"

    assert not not_modified(Lookup("GET", [(b"if-modified-since", since)]), stored((b"last-modified", modified)))
    assert not_modified(Lookup("GET", [(b"if-modified-since", LATER)]), stored((b"last-modified", since)))


def test_without_a_condition_it_is_sent() -> None:
    assert not not_modified(Lookup("GET", []), stored((b"etag", b'"a"')))


@pytest.mark.parametrize(
    ("asked", "found"),
    [(b"", True), (b'"a"', True), (b'W/"a"', False), (b'w/"a"', False), (b'"b"', False), (THEN, True), (LATER, False)],
)
def test_if_range(asked: bytes, found: bool) -> None:
    lookup = Lookup("GET", [(b"if-range", asked)] if asked else [])

    assert in_range(lookup, stored((b"etag", b'"a"'), (b"last-modified", THEN))) is found


def test_whether_a_head_is_about_what_is_stored() -> None:
    one = stored((b"etag", b'"a"'), (b"content-length", b"5"))

    assert same(one, [(b"etag", b'"a"')])
    assert same(one, [])
    assert not same(one, [(b"etag", b'"b"')])
    assert not same(one, [(b"content-length", b"6")])
    assert not same(one, [(b"last-modified", THEN)])
    assert same(stored((b"last-modified", THEN)), [(b"last-modified", THEN)])
