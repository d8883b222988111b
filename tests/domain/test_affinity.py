"""What a request is kept at its backend by."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from app.domain.affinity import affinity_of
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from settings.pools import PoolSettings

FIELDS = [
    (b"host", b"h"), (b"x-user", b"7"), (b"cookie", b"a=1; flag; session=abc=d ;session=late"), (b"x-user", b"8"),
    (b"cookie", b"late=z"),
]  # fmt: skip


def of_length(exchange: Exchange, headers: Fields, target: bytes) -> bytes:
    """An affinity of an operator's own."""
    return b"%d" % len(target)


def key(*parts: str, headers: Fields = FIELDS, target: bytes = b"/shop/1?q=a%20b&q=c&empty=&bare") -> bytes:
    """As settings that are checked would make it."""
    made = affinity_of(PoolSettings(affinity=parts).affinity)
    assert made is not None
    return made(Exchange(0.0, "192.0.2.7", "http", "GET", "h", "/"), headers, target)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("client", b"192.0.2.7"),
        ("path", b"/shop/1"),
        ("header:X-User", b"7,8"),
        ("header:x-none", b""),
        ("cookie:session", b"abc=d"),
        ("cookie:late", b"z"),
        ("cookie:flag", b""),
        ("cookie:Session", b""),
        ("query:q", b"a%20b"),
        ("query:empty", b""),
        ("query:bare", b""),
        ("query:none", b""),
        (f"{__name__}:of_length", b"31"),
    ],
)
def test_a_part_is_what_it_says(part: str, expected: bytes) -> None:
    """The first cookie and parameter, all values of a field; nothing where there is none."""
    if "of_length" in part:
        part = "tests.domain.test_affinity:of_length"

    assert key(part) == expected


@pytest.mark.parametrize(
    ("part", "expected"), [("path", b"/a"), ("query:q", b"1?q=2"), ("query:r", b"b=c"), ("cookie:a", b"b c")]
)
def test_a_separator_in_a_value_parts_nothing(part: str, expected: bytes) -> None:
    assert key(part, headers=[(b"cookie", b"a=b c;d=e")], target=b"/a?q=1?q=2&r=b=c") == expected


def test_several_parts_are_kept_apart() -> None:
    """So that ("ab", "c") is not ("a", "bc")."""
    assert key("client", "query:q") == b"192.0.2.7\0a%20b"
    assert key("query:none", "query:q") == b"\0a%20b"


def test_a_key_of_which_nothing_is_there_is_none() -> None:
    """Else all first visits would meet at one backend."""
    assert key("cookie:session", "header:x-user", headers=[]) == b""


def test_no_parts_are_no_affinity() -> None:
    """And cost nothing."""
    assert affinity_of(()) is None


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("no.such.module:key", "'no.such.module:key' cannot be imported: ModuleNotFoundError: No module named 'no'"),
        ("json:no_such", "'json:no_such' cannot be imported: AttributeError: module 'json' has no attribute 'no_such'"),
        ("json:__name__", "'json:__name__' cannot be called"),
    ],
)
def test_a_function_that_is_not_there_is_said(part: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        affinity_of((part,))


@pytest.mark.parametrize(
    "said", ["ip", "cookie:", "header:a b", "query:a=b", "client:x", "path:x", "a.b", "a.b:c.d", "client,client"]
)
def test_what_is_no_key_is_refused(said: str) -> None:
    with pytest.raises(ValidationError):
        PoolSettings(affinity=said)
