"""What a request asks of a cache."""

from __future__ import annotations

from math import inf

import pytest

from app.domain.cache.lookup import Lookup
from app.domain.headers import Fields


def lookup(*fields: tuple[bytes, bytes], method: str = "GET") -> Lookup:
    return Lookup(method, [(b"host", b"example.org"), *fields])


def test_an_ordinary_request_asks_for_nothing() -> None:
    found = lookup()

    assert (found.no_cache, found.no_store, found.only_if_cached, found.precise, found.body) == (False,) * 5
    assert (found.max_age, found.min_fresh, found.max_stale) == (inf, 0, 0)
    assert (found.range, found.if_range, found.if_none_match, found.if_modified_since) == (b"",) * 4


@pytest.mark.parametrize(
    ("method", "fields", "plain"),
    [
        ("GET", [], True),
        ("GET", [(b"accept", b"x")], True),
        ("GET", [(b"accept", b"x"), (b"cookie", b"x")], False),
        ("HEAD", [], False),
        ("get", [], False),
    ],
)
def test_what_needs_no_second_look(method: str, fields: Fields, plain: bool) -> None:
    assert lookup(*fields, method=method).plain is plain


def test_what_cache_control_says() -> None:
    found = lookup((b"cache-control", b"max-age=5, min-fresh=6"), (b"cache-control", b"no-store, only-if-cached"))

    assert (found.max_age, found.min_fresh, found.max_stale) == (5, 6, 0)
    assert lookup((b"cache-control", b"no-cache")).no_cache
    assert lookup((b"cache-control", b"no-cache")).min_fresh == 0
    assert (found.no_cache, found.no_store, found.only_if_cached) == (False, True, True)
    assert lookup((b"cache-control", b"max-stale=7")).max_stale == 7
    assert lookup((b"cache-control", b"max-stale")).max_stale == inf
    assert lookup((b"cache-control", b"max-stale=x")).max_stale == 0


def test_pragma_counts_only_where_there_is_no_cache_control() -> None:
    assert lookup((b"pragma", b"No-Cache ")).no_cache
    assert not lookup((b"pragma", b"other")).no_cache
    assert not lookup((b"pragma", b"no-cache"), (b"cache-control", b"max-age=5")).no_cache


def test_what_it_said_can_be_taken_back_but_for_no_store() -> None:
    found = lookup((b"cache-control", b"no-cache, no-store, max-age=0, max-stale, min-fresh=1, only-if-cached"))

    found.ignore_directives()

    assert (found.no_cache, found.no_store, found.only_if_cached) == (False, True, False)
    assert (found.max_age, found.min_fresh, found.max_stale) == (inf, 0, 0)


def test_its_conditions_and_its_range() -> None:
    fields: Fields = [
        (b"if-none-match", b'"a"'),
        (b"if-none-match", b'"b"'),
        (b"if-modified-since", b"then"),
        (b"range", b"bytes=0-1"),
        (b"if-range", b'"a"'),
    ]
    found = lookup(*fields)

    assert found.if_none_match == b'"a", "b"'
    assert (found.if_modified_since, found.range, found.if_range) == (b"then", b"bytes=0-1", b'"a"')
    assert not found.precise
    assert lookup((b"if-match", b'"a"')).precise
    assert lookup((b"if-unmodified-since", b"then")).precise
    assert lookup((b"upgrade", b"websocket")).precise


def test_whose_it_is_and_whether_it_has_a_body() -> None:
    assert lookup((b"authorization", b"x")).authorization
    assert lookup((b"cookie", b"x")).cookie
    assert lookup((b"content-length", b"5")).body
    assert not lookup((b"content-length", b"00")).body
    assert lookup((b"content-length", b"X")).body, "of whatever length"
    assert lookup((b"transfer-encoding", b"chunked")).body
    assert lookup((b"content-length", b"5"), (b"content-length", b"0")).body
