"""What is done with a request, given what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.cache.key import chosen
from app.domain.cache.lookup import Lookup
from app.domain.cache.reuse import Reuse, Verdict, bears, covers, reuse
from app.domain.cache.stored import MUST_REVALIDATE, NO_CACHE, PURGED, Stored
from app.domain.headers import Field

RECEIVED = 1000.0


def stored(stamp: int = 1, **given: Any) -> Stored:
    return Stored(stamp, 200, (), RECEIVED, **{"lifetime": 60.0, **given})


def get(*fields: Field, method: str = "GET") -> Lookup:
    return Lookup(method, list(fields))


def asks(value: bytes) -> Lookup:
    return get((b"cache-control", value))


@pytest.mark.parametrize(
    ("one", "lookup", "after", "verdict", "why"),
    [
        (stored(), get(), 59, Verdict.FRESH, ""),
        (stored(), get(), 60, Verdict.VALIDATE, "stale"),
        (stored(age=30.0), get(), 30, Verdict.VALIDATE, "stale"),
        (stored(flags=NO_CACHE), get(), 0, Verdict.VALIDATE, "stale"),
        (stored(), asks(b"no-cache"), 0, Verdict.VALIDATE, "request"),
        (stored(), asks(b"max-age=10"), 10, Verdict.FRESH, ""),
        (stored(), asks(b"max-age=10"), 11, Verdict.VALIDATE, "request"),
        (stored(), asks(b"min-fresh=10"), 50, Verdict.FRESH, ""),
        (stored(), asks(b"min-fresh=10"), 51, Verdict.VALIDATE, "request"),
        (stored(), asks(b"max-stale=10"), 69, Verdict.FRESH, ""),
        (stored(), asks(b"max-stale=10"), 70, Verdict.VALIDATE, "stale"),
        (stored(), asks(b"max-stale"), 10**6, Verdict.FRESH, ""),
        (stored(), get(), 59.5, Verdict.FRESH, ""),
        (stored(), asks(b"min-fresh=10"), 59.5, Verdict.VALIDATE, "request"),
        (stored(), asks(b"min-fresh=10"), 60, Verdict.VALIDATE, "stale"),
        (stored(flags=MUST_REVALIDATE), asks(b"max-stale"), 61, Verdict.VALIDATE, "stale"),
        (stored(flags=PURGED), asks(b"max-stale"), 61, Verdict.VALIDATE, "stale"),
        (stored(stale_revalidate=10.0), get(), 69, Verdict.STALE, "stale"),
        (stored(stale_revalidate=10.0), get(), 70, Verdict.VALIDATE, "stale"),
        (stored(stale_revalidate=10.0, flags=PURGED), get(), 69, Verdict.STALE, "stale"),
        (stored(stale_revalidate=10.0), asks(b"min-fresh=1"), 65, Verdict.VALIDATE, "stale"),
    ],
)
def test_what_is_done(one: Stored, lookup: Lookup, after: float, verdict: Verdict, why: str) -> None:
    assert reuse(lookup, [one], RECEIVED + after) == Reuse(verdict, 0, why)


def test_nothing_is_stored_or_nothing_that_was_chosen_by_the_same() -> None:
    one = stored(vary=chosen([b"a"], [(b"a", b"1")], None))

    assert reuse(get(), [], RECEIVED) == Reuse(Verdict.MISS, -1, "uri-miss")
    assert reuse(get(), [one], RECEIVED) == Reuse(Verdict.MISS, -1, "vary-miss")
    assert reuse(get(), [stored()], RECEIVED, extra=b"x") == Reuse(Verdict.MISS, -1, "vary-miss")


def test_one_that_was_chosen_by_something_else_hides_none_behind_it() -> None:
    others = stored(vary=chosen([b"a"], [(b"a", b"2")], None))
    ours = stored(2, vary=chosen([b"a"], [(b"a", b"1")], None))
    asked = get((b"a", b"1"))

    assert reuse(asked, [others, ours], RECEIVED) == Reuse(Verdict.FRESH, 1)
    assert reuse(asked, [others, ours], RECEIVED + 59.5).verdict is Verdict.FRESH


def test_of_two_that_came_at_once_the_first() -> None:
    assert reuse(get(), [stored(), stored(2)], RECEIVED).at == 0


def test_languages_are_compared_only_where_that_is_asked_for() -> None:
    one = stored(vary=chosen([b"accept-language"], [(b"accept-language", b"de, en")], None))
    asked = get((b"accept-language", b"en, de"))

    assert reuse(asked, [one], RECEIVED).verdict is Verdict.MISS
    assert reuse(asked, [one], RECEIVED, negotiate=True).verdict is Verdict.FRESH


def test_a_part_of_nothing_is_a_part() -> None:
    assert reuse(get(), [stored(total=0)], RECEIVED) == Reuse(Verdict.MISS, -1, "partial")


def test_of_several_the_most_recent() -> None:
    old, new = stored(), Stored(2, 200, (), RECEIVED + 5, lifetime=60.0)

    assert reuse(get(), [old, new], RECEIVED + 6).at == 1
    assert reuse(get(), [new, old], RECEIVED + 6).at == 0


def part(**given: Any) -> Stored:
    return stored(start=4, end=8, total=10, **given)


def test_a_part_answers_who_asks_for_less() -> None:
    wants = get((b"range", b"bytes=5-6"))

    assert reuse(wants, [part()], RECEIVED) == Reuse(Verdict.FRESH, 0)
    assert reuse(get(), [part()], RECEIVED) == Reuse(Verdict.MISS, -1, "partial")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (b"bytes=4-7", True),
        (b"bytes=5-5", True),
        (b"bytes=3-5", False),
        (b"bytes=5-8", False),
        (b"bytes=5-", False),
        (b"bytes=-1", False),
        (b"bytes=10-", False),
        (b"bytes=4-4,6-6", False),
    ],
)
def test_whether_a_part_has_it(asked: bytes, found: bool) -> None:
    assert covers(part(), get((b"range", asked))) is found


def test_who_asks_for_a_part_of_a_certain_whole_gets_none() -> None:
    assert not covers(part(), get((b"range", b"bytes=5-5"), (b"if-range", b'"a"')))


@pytest.mark.parametrize(
    ("one", "after", "down", "found"),
    [
        (stored(stale_error=10.0), 69, 0, True),
        (stored(stale_error=10.0), 70, 0, False),
        (stored(stale_error=10.0), 70, 20, True),
        (stored(), 60, 0, False),
        (stored(), 61, 20, True),
        (stored(flags=MUST_REVALIDATE), 61, 20, False),
        (stored(flags=NO_CACHE), 61, 20, False),
        (stored(flags=MUST_REVALIDATE, stale_error=10.0), 61, 0, True),
        (stored(), 10, 0, True),  # fresh, and the client wanted it validated
    ],
)
def test_in_place_of_an_error(one: Stored, after: float, down: float, found: bool) -> None:
    assert bears(one, RECEIVED + after, down=down) is found


def test_beyond_what_it_says_itself_only_without_a_backend() -> None:
    """Not a moment."""
    for flags in (0, MUST_REVALIDATE, NO_CACHE):
        assert not bears(stored(flags=flags), RECEIVED + 60.5)
        assert not bears(stored(flags=MUST_REVALIDATE), RECEIVED + 60.5, down=20.0)
