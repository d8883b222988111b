"""What a stored response is found by."""

from __future__ import annotations

import pytest

from app.domain.cache.key import EXTRA, Query, chosen, matches, normalised, origin
from app.domain.cache.stored import Stored
from app.domain.headers import Fields


def test_a_key_begins_with_a_group_and_a_host_in_one_spelling() -> None:
    assert origin("api", "https", "Example.org") == b"api https://example.org"
    assert origin("api", "https", "example.org:443") == origin("api", "https", "example.org")
    assert origin("api", "http", "example.org:443") != origin("api", "http", "example.org")
    assert origin("api", "ws", "example.org:80") == b"api ws://example.org:80"


@pytest.mark.parametrize(
    ("only", "without", "target", "kept"),
    [
        ((), ("utm_*", "x"), b"/a?b=1&utm_source=q&x=2&xy=3", b"/a?b=1&xy=3"),
        (("b",), (), b"/a?b=1&c=2&b=3", b"/a?b=1&b=3"),
        (("b", "x"), ("x",), b"/a?x=1&b=2", b"/a?b=2"),
        ((), ("x",), b"/a?x=1", b"/a"),
        ((), ("utm_*",), b"/a?utm=1&utm_=2&utm_x=3&ut=4", b"/a?utm=1&ut=4"),
        ((), ("x",), b"/a?b=1?x=2&x=3", b"/a?b=1?x=2"),
        (("b",), (), b"/a?b=x=y&c=b=1", b"/a?b=x=y"),
        ((), ("x",), b"/a", b"/a"),
        ((), ("x",), b"/a?", b"/a?"),
    ],
)
def test_which_parameters_count(only: tuple[str, ...], without: tuple[str, ...], target: bytes, kept: bytes) -> None:
    assert Query(only, without).apply(target) == kept


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", [b"1, 2"], [b"1", b"2"]),
        (b"foo", [b"1,2"], [b" 1 ,  2 "]),
        (b"foo", [b"1"], [b" \t1\t "]),
        (b"accept-encoding", [b"gzip, br"], [b"BR,gzip"]),
        (b"accept-encoding", [b"gzip;q=0.5"], [b"gzip; q=0.5"]),
        (b"accept-language", [b"en, de"], [b"EN,De"]),
    ],
)
def test_what_means_the_same_is_the_same(name: bytes, one: list[bytes], other: list[bytes]) -> None:
    assert normalised(name, [(name, value) for value in one]) == normalised(name, [(name, value) for value in other])


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", b"a", b"A"),
        (b"foo", b"1, 2", b"2, 1"),
        (b"foo", b'"a, b"', b'"a,b"'),
        (b"accept-language", b"en, de", b"de, en"),
        (b"foo", b"", None),
        (b"foo", b"1", b"1\x0b"),
        (b"foo", b"X", b""),
    ],
)
def test_what_does_not_is_not(name: bytes, one: bytes, other: bytes | None) -> None:
    assert normalised(name, [(name, one)]) != normalised(name, [(name, other)] if other is not None else [])


def stored(*vary: bytes, headers: Fields, extra: bytes | None = None, language: bytes = b"") -> Stored:
    fields = ((b"content-language", language),) if language else ()
    return Stored(1, 200, fields, 0.0, vary=chosen(vary, headers, extra))


def test_it_matches_what_has_the_same_of_the_fields_that_vary_names() -> None:
    one = stored(b"a", b"b", headers=[(b"a", b"1")])

    assert matches(one, [(b"a", b"1"), (b"c", b"3")], None)
    assert not matches(one, [(b"a", b"1"), (b"b", b"")], None)
    assert not matches(one, [(b"a", b"2")], None)


def test_it_matches_what_has_the_same_of_what_the_settings_name() -> None:
    one = stored(headers=[], extra=b"t")

    assert one.vary == ((EXTRA, b"t"),)
    assert matches(one, [], b"t")
    assert not matches(one, [], b"u")
    assert not matches(one, [], None)
    assert not matches(stored(headers=[]), [], b"t")
    assert matches(stored(b"a", headers=[]), [], b"")
    assert not matches(stored(b"a", headers=[]), [], b"t")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (b"de, en", True),
        (b"en;q=0.5, de", True),
        (b"fr;q=0.5, de;q=1.0", True),
        (b"fr, de;q=0.9", False),
        (b"de;q=0", False),
        (b"de;q=x", False),
        (b"fr", False),
        (b"en;level=1, de", True),
    ],
)
def test_the_language_that_is_wanted_most_decides_where_that_is_asked_for(wanted: bytes, found: bool) -> None:
    one = stored(b"accept-language", headers=[(b"accept-language", b"en, de")], language=b"De")
    headers = [(b"accept-language", wanted)]

    assert matches(one, headers, None, negotiate=True) is found
    assert matches(one, headers, None) is False


def test_who_says_nothing_of_languages_is_no_match_of_who_does() -> None:
    one = stored(b"accept-language", headers=[(b"accept-language", b"de")], language=b"de")

    assert not matches(one, [], None, negotiate=True)
    assert not matches(one, [(b"accept-language", b"")], None, negotiate=True)
    assert matches(stored(b"accept-language", headers=[], language=b"de"), [], None, negotiate=True)


def test_without_a_language_only_the_same_wishes_do() -> None:
    one = stored(b"accept-language", b"b", headers=[(b"accept-language", b"en, de")])

    assert matches(one, [(b"accept-language", b"de, en")], None, negotiate=True)
    assert not matches(one, [(b"accept-language", b"de")], None, negotiate=True)
    assert not matches(one, [(b"accept-language", b"de, en"), (b"b", b"1")], None, negotiate=True)
