"""What a client gets of a stored response."""

from __future__ import annotations

import pytest

from app.domain.cache.lookup import Lookup
from app.domain.cache.served import served
from app.domain.cache.stored import Stored
from app.domain.headers import Field, Fields

ETAG = (b"etag", b'"a"')
LENGTH = (b"content-length", b"10")


def stored(*fields: Field, status: int = 200, **given: int) -> Stored:
    return Stored(1, status, (ETAG, *fields), 0.0, **given)


def get(*fields: Field, method: str = "GET") -> Lookup:
    return Lookup(method, list(fields))


def test_the_whole() -> None:
    assert served(get(), stored(LENGTH), 10) == (200, [ETAG, LENGTH], 0, 10)
    assert served(get(), stored(), 10) == (200, [ETAG, LENGTH], 0, 10)  # came in chunks
    assert served(get(), stored(), -1) == (200, [ETAG], 0, -1)  # is still coming
    assert served(get(), stored(status=204), 0) == (204, [ETAG], 0, 0)
    assert served(get(method="HEAD"), stored(LENGTH), 10) == (200, [ETAG, LENGTH], 0, 0)


def test_that_the_client_has_it() -> None:
    found = served(get((b"if-none-match", b'"a"')), stored(LENGTH, (b"content-type", b"text/plain")), 10)

    assert found == (304, [ETAG], 0, 0)


@pytest.mark.parametrize("status", [300, 301, 404])
def test_a_condition_is_about_successes(status: int) -> None:
    assert served(get((b"if-none-match", b'"a"')), stored(LENGTH, status=status), 10).status == status


@pytest.mark.parametrize(("method", "status"), [("GET", 304), ("HEAD", 304), ("POST", 200)])
def test_a_condition_is_about_what_is_read(method: str, status: int) -> None:
    """RFC 9110 section 13.2.1."""
    assert served(get((b"if-none-match", b'"a"'), method=method), stored(LENGTH), 10).status == status


def test_of_nothing_there_is_no_part() -> None:
    """Its length is said when it is 0, too."""
    assert served(get(), stored(), 0).fields == [ETAG, (b"content-length", b"0")]
    assert served(get(range_of(b"bytes=0-")), stored(), 0).status == 416


def range_of(value: bytes) -> Field:
    return (b"range", value)


@pytest.mark.parametrize(
    ("lookup", "size", "status", "body"),
    [
        (get(range_of(b"bytes=2-4")), 10, 206, (2, 5)),
        (get(range_of(b"bytes=2-4"), (b"if-range", b'"a"')), 10, 206, (2, 5)),
        (get(range_of(b"bytes=2-4"), (b"if-range", b'"b"')), 10, 200, (0, 10)),
        (get(range_of(b"bytes=2-4,6-7")), 10, 200, (0, 10)),
        (get(range_of(b"bytes=2-4")), -1, 200, (0, -1)),
        (get(range_of(b"bytes=2-4"), method="HEAD"), 10, 200, (0, 0)),
        (get(range_of(b"bytes=10-")), 10, 416, (0, 0)),
    ],
)
def test_a_part(lookup: Lookup, size: int, status: int, body: tuple[int, int]) -> None:
    found = served(lookup, stored(), size)

    assert (found.status, (found.start, found.end)) == (status, body)


def test_the_fields_of_a_part() -> None:
    fields: Fields = served(get(range_of(b"bytes=2-4")), stored(LENGTH), 10).fields

    assert fields == [ETAG, (b"content-range", b"bytes 2-4/10"), (b"content-length", b"3")]
    none = served(get(range_of(b"bytes=10-")), stored(LENGTH, (b"content-type", b"x")), 10).fields
    assert none == [ETAG, (b"content-range", b"bytes */10"), (b"content-length", b"0")]


def test_no_part_of_what_is_no_200() -> None:
    assert served(get(range_of(b"bytes=2-4")), stored(LENGTH, status=203), 10).status == 203


def test_a_part_of_a_part() -> None:
    part = stored(status=206, start=4, end=8, total=10)

    found = served(get(range_of(b"bytes=5-6")), part, 4)

    assert found == (206, [ETAG, (b"content-range", b"bytes 5-6/10"), (b"content-length", b"2")], 1, 3)
