"""Whether a response is stored, and what as."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from app.domain.cache.lookup import Lookup
from app.domain.cache.stored import MUST_REVALIDATE, NO_CACHE, Stored
from app.domain.cache.storing import HEURISTIC, Policy
from app.domain.headers import Field, Fields
from settings.cache import CacheSettings

NOW = 1_780_000_000.0
AUTHORIZED = ((b"authorization", b"x"),)
COOKIE = ((b"cookie", b"x"),)


def at(seconds: float) -> bytes:
    return formatdate(NOW + seconds, usegmt=True).encode()


def control(value: bytes) -> Field:
    return (b"cache-control", value)


FRESH = control(b"max-age=60")


def judged(
    *fields: Field, status: int = 200, request: tuple[Field, ...] = (), method: str = "GET", extra: bytes | None = None,
    requested: float = NOW, **settings: Any,
) -> Stored | str:  # fmt: skip
    lookup = Lookup(method, list(request))
    return Policy(CacheSettings(**settings)).judge(
        lookup, status, list(fields), extra=extra, stamp=7, requested=requested, received=NOW
    )


def stored(*fields: Field, **given: Any) -> Stored:
    found = judged(*fields, **given)
    assert isinstance(found, Stored), found
    return found


@pytest.mark.parametrize(
    ("fields", "given", "why"),
    [
        ([FRESH], {"status": 304}, "status"),
        ([FRESH], {"status": 199}, "status"),
        ([control(b"max-age=60, must-understand")], {"status": 599}, "must-understand"),
        ([control(b"max-age=60, no-store")], {}, "no-store"),
        ([FRESH], {"request": (control(b"no-store"),)}, "no-store"),
        ([control(b"max-age=60, private")], {}, "private"),
        ([FRESH, (b"set-cookie", b"a=b")], {}, "set-cookie"),
        ([FRESH], {"request": AUTHORIZED}, "authorization"),
        ([(b"cdn-cache-control", b"max-age=60")], {"request": AUTHORIZED}, "authorization"),
        ([FRESH], {"request": COOKIE}, "cookie"),
        ([(b"last-modified", at(-1000))], {"status": 201}, "status"),
        ([], {"status": 503}, "status"),
        ([(b"last-modified", at(-1000))], {"method": "POST"}, "status"),
        ([FRESH, (b"vary", b"*")], {}, "vary"),
        ([FRESH, (b"vary", b"a, *")], {}, "vary"),
        ([FRESH, (b"vary", b",".join(b"x%d" % n for n in range(17)))], {}, "vary"),
        ([FRESH], {"status": 206}, "partial"),
        ([FRESH, (b"content-range", b"bytes 0-1/5")], {"status": 206}, "partial"),
        ([FRESH], {"status": 206, "request": ((b"range", b"bytes=0-1"),)}, "partial"),
        ([], {}, "no lifetime"),
        ([control(b"max-age=0")], {}, "no lifetime"),
        ([control(b"no-cache, max-age=60")], {}, "no lifetime"),
        ([FRESH, (b"age", b"100")], {}, "no lifetime"),
    ],
)
def test_why_it_is_not_stored(fields: Fields, given: dict[str, Any], why: str) -> None:
    assert judged(*fields, **given) == why


@pytest.mark.parametrize(
    ("fields", "given"),
    [
        ([control(b"max-age=60, must-understand, no-store")], {}),
        ([control(b'max-age=60, private="x"')], {}),
        ([FRESH, (b"set-cookie", b"a=b")], {"set_cookie": "strip"}),
        ([FRESH, (b"set-cookie", b"a=b")], {"set_cookie": "store"}),
        ([control(b"max-age=60, public")], {"request": AUTHORIZED}),
        ([control(b"s-maxage=60")], {"request": AUTHORIZED}),
        ([control(b"max-age=60, must-revalidate")], {"request": AUTHORIZED}),
        ([control(b"max-age=60, public")], {"request": COOKIE}),
        ([(b"cdn-cache-control", b"max-age=60")], {"request": COOKIE}),
        ([FRESH, (b"vary", b"cookie")], {"request": COOKIE}),
        ([FRESH, (b"vary", b",".join(b"x%d" % n for n in range(16)))], {}),
        ([FRESH], {"request": COOKIE, "cookie": "shared"}),
        ([FRESH], {"status": 599}),
        ([FRESH], {"method": "POST"}),
        ([control(b"public"), (b"last-modified", at(-1000))], {"status": 599}),
        ([], {"status": 503, "lifetimes": {503: 5.0}}),
        ([(b"cdn-cache-control", b"max-age=60"), control(b"no-store")], {}),
        ([(b"cdn-cache-control", b"max-age=!"), FRESH], {}),
        ([(b"etag", b'"a"')], {}),
        ([(b"expires", at(60))], {"status": 599}),
        ([(b"expires", at(60))], {"method": "POST"}),
        ([control(b"no-cache"), (b"etag", b'"a"')], {}),
        ([control(b"max-age=0, stale-while-revalidate=5")], {}),
        ([control(b"max-age=0")], {"stale_if_down": 5.0}),
    ],
)
def test_that_it_is_stored(fields: Fields, given: dict[str, Any]) -> None:
    stored(*fields, **given)


def test_every_status_that_is_cacheable_without_a_word() -> None:
    for status in HEURISTIC:
        assert stored((b"last-modified", at(-1000)), status=status).lifetime == 100.0


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ([control(b"max-age=60")], 60),
        ([control(b"max-age=1, s-maxage=60")], 60),
        ([control(b"max-age=60"), (b"expires", at(5))], 60),
        ([(b"expires", at(60)), (b"date", at(0))], 60),
        ([(b"expires", at(60)), (b"date", at(-5))], 65),
        ([(b"expires", at(60)), (b"date", b"then")], 60),
        ([(b"expires", b"0"), (b"etag", b"x")], 0),
        ([(b"expires", at(60)), (b"cdn-cache-control", b"s-maxage=5")], 5),
        ([(b"expires", at(60)), (b"cdn-cache-control", b"public"), (b"etag", b"x")], 0),
        ([(b"last-modified", at(-100)), (b"date", at(0))], 10),
        ([(b"last-modified", at(100)), (b"date", at(0))], 0),
        ([(b"last-modified", at(-(10**8)))], 86400),
        ([(b"last-modified", b"then")], 0),
        ([control(b"max-age=5"), (b"l7lb-cache-control", b"max-age=6"), (b"cdn-cache-control", b"max-age=7")], 6),
    ],
)
def test_how_long_it_is_fresh(fields: Fields, lifetime: float) -> None:
    assert stored(*fields).lifetime == lifetime


def test_no_guess_is_made_about_a_status_that_is_not_cacheable_without_a_word() -> None:
    assert stored(control(b"no-cache"), (b"last-modified", at(-100)), status=599).lifetime == 0.0


def test_how_long_it_is_fresh_where_the_settings_say_it() -> None:
    assert stored((b"last-modified", at(-100)), lifetimes={200: 5.0}).lifetime == 5.0
    assert stored((b"last-modified", at(-100)), heuristic=0.0).lifetime == 0.0
    assert stored((b"last-modified", at(-100)), heuristic=0.5).lifetime == 50.0


@pytest.mark.parametrize(
    ("fields", "age"),
    [
        ([], 2),
        ([(b"age", b"10")], 12),
        ([(b"age", b"10, 99")], 12),
        ([(b"age", b"10;x=1")], 12),
        ([(b"age", b"10"), (b"age", b"99")], 12),
        ([(b"date", at(-2.5))], 3),
        ([(b"age", b"-10")], 2),
        ([(b"age", b"1.5")], 2),
        ([(b"age", b"x")], 2),
        ([(b"date", at(-30))], 30),
        ([(b"date", at(30))], 2),
        ([(b"date", b"then")], 2),
        ([(b"date", at(-30)), (b"age", b"50")], 52),
    ],
)
def test_how_old_it_was_when_it_came(fields: Fields, age: float) -> None:
    """It took two seconds to come."""
    found = stored(control(b"max-age=1000"), *fields, requested=NOW - 2)

    assert found.age == age
    assert found.until == NOW + 1000 - age


@pytest.mark.parametrize(
    ("value", "beyond"),
    [
        (b"max-age=60", (3, 4)),
        (b"max-age=60, stale-while-revalidate=5, stale-if-error=6", (5, 6)),
        (b"max-age=60, stale-while-revalidate=0, stale-if-error=0", (0, 0)),
        (b"s-maxage=60", (0, 0)),
        (b"s-maxage=60, stale-while-revalidate=5", (5, 0)),
        (b"max-age=60, must-revalidate, stale-while-revalidate=5", (0, 0)),
        (b"max-age=60, proxy-revalidate, stale-if-error=5", (0, 0)),
        (b"no-cache, stale-if-error=5", (0, 0)),
    ],
)
def test_how_long_it_may_be_used_stale(value: bytes, beyond: tuple[float, float]) -> None:
    found = stored(control(value), (b"etag", b"x"), stale_while_revalidate=3.0, stale_if_error=4.0, stale_if_down=5.0)

    assert (found.stale_revalidate, found.stale_error) == beyond


def test_what_has_just_been_made_is_no_second_old() -> None:
    assert stored(FRESH, (b"date", at(0))).age == 0.0


def test_a_date_with_a_year_of_two_digits_is_of_our_century() -> None:
    """`NOW` is in 2026."""
    then = b"Sunday, 31-May-26 00:00:00 GMT"
    made = 1780185600.0

    assert stored(FRESH, (b"date", then)).age == max(0.0, NOW - made)
    assert stored((b"expires", then), (b"date", at(0))).lifetime == made - NOW
    old = b"Thursday, 01-Jan-26 00:00:00 GMT"
    assert stored((b"last-modified", old)).lifetime == 86400.0


def test_public_makes_a_guess_possible_whatever_the_status() -> None:
    """RFC 9111 section 4.2.2."""
    assert stored(control(b"public"), (b"last-modified", at(-1000)), status=599).lifetime == 100.0


def test_until_when_it_is_of_use() -> None:
    assert stored(FRESH, stale_if_down=100.0).until == NOW + 160
    assert stored(FRESH, stale_if_error=100.0).until == NOW + 160
    assert stored(FRESH, stale_while_revalidate=100.0).until == NOW + 160
    assert stored(FRESH, (b"etag", b"x"), (b"age", b"20"), keep=1000.0).until == NOW + 1040
    assert stored(control(b"max-age=60, must-revalidate"), stale_if_down=100.0).until == NOW + 60
    assert stored(control(b"s-maxage=60"), stale_if_down=100.0).until == NOW + 60
    assert stored(FRESH, (b"etag", b"x"), keep=1000.0).until == NOW + 1060
    assert stored(control(b"no-cache"), (b"etag", b"x"), keep=1000.0).until == NOW + 1000


def test_what_is_kept_of_it() -> None:
    found = stored(
        control(b'max-age=60, no-cache="x-one", private="x-two"'), (b"x-one", b"1"), (b"x-two", b"2"),
        (b"x-three", b"3"), (b"age", b"5"), (b"proxy-authenticate", b"x"), (b"set-cookie", b"a=b"), set_cookie="strip",
    )  # fmt: skip

    assert [name for name, _ in found.fields] == [b"cache-control", b"x-three"]
    assert (found.stamp, found.status, found.flags) == (7, 200, 0)
    assert (b"set-cookie", b"a=b") in stored(FRESH, (b"set-cookie", b"a=b"), set_cookie="store").fields


def test_its_flags_its_tags_and_what_it_was_chosen_by() -> None:
    found = stored(
        control(b"no-cache, s-maxage=5"), (b"etag", b"x"), (b"cache-tag", b"a, b"), (b"surrogate-key", b"c a"),
        (b"vary", b"B"), (b"vary", b"a, b"), (b"content-encoding", b"gzip"), extra=b"t",
        request=((b"a", b"1"), (b"accept-encoding", b"gzip")),
    )  # fmt: skip

    assert found.flags == NO_CACHE | MUST_REVALIDATE
    assert found.tags == (b"a", b"b", b"c")
    assert found.vary == ((b":key", b"t"), (b"a", b"1"), (b"b", None), (b"accept-encoding", b"gzip"))


def test_what_is_compressed_is_chosen_by_that_even_if_the_backend_forgot_to_say_so() -> None:
    """Once; what is not, is not."""
    asked = ((b"accept-encoding", b"gzip"),)
    gzip = (b"content-encoding", b"gzip")

    assert stored(FRESH, gzip, request=asked).vary == asked
    assert stored(FRESH, gzip, (b"vary", b"accept-encoding"), request=asked).vary == asked
    assert stored(FRESH, request=asked).vary == ()


def test_a_part() -> None:
    found = stored(FRESH, (b"content-range", b"bytes 2-5/10"), status=206, request=((b"range", b"bytes=2-5"),))

    assert (found.start, found.end, found.total) == (2, 6, 10)


def test_a_validation_brings_new_fields_and_leaves_those_of_the_body() -> None:
    policy = Policy(CacheSettings())
    old = stored(
        FRESH, (b"etag", b"x"), (b"content-length", b"5"), (b"x-one", b"1"), (b"x-two", b"2"), (b"cache-tag", b"a")
    )

    new = policy.freshened(
        old,
        [control(b"max-age=99"), (b"etag", b"y"), (b"content-length", b"0"), (b"x-one", b"11"), (b"set-cookie", b"a")],
        NOW + 100,
        NOW + 101,
    )

    assert new is not None
    assert dict(new.fields) == {
        b"cache-control": b"max-age=99", b"etag": b"x", b"content-length": b"5", b"x-one": b"11", b"x-two": b"2",
        b"cache-tag": b"a",
    }  # fmt: skip
    assert (new.stamp, new.received, new.age, new.lifetime, new.tags) == (7, NOW + 101, 1, 99, (b"a",))


def test_or_says_how_it_is_to_be_used_from_now_on() -> None:
    """And what it is to be purged by."""
    old = stored(control(b"no-cache"), (b"etag", b"x"), (b"cache-tag", b"a"))

    new = Policy(CacheSettings()).freshened(old, [FRESH, (b"cache-tag", b"b")], NOW, NOW)

    assert new is not None
    assert (old.flags, old.tags) == (NO_CACHE, (b"a",))
    assert (new.flags, new.tags) == (0, (b"b",))


@pytest.mark.parametrize("value", [b"no-store", b"private"])
def test_or_says_that_it_is_not_to_be_stored_any_more(value: bytes) -> None:
    old = stored(FRESH, (b"etag", b"x"))

    assert Policy(CacheSettings()).freshened(old, [control(value)], NOW, NOW) is None


def test_surrogate_control_where_the_settings_say_so() -> None:
    field = (b"surrogate-control", b"max-age=5")

    assert stored(field, targets=("surrogate-control",)).lifetime == 5
    assert judged(field) == "no lifetime"
    assert judged((b"surrogate-control", b"max-age=5;other"), targets=("surrogate-control",)) == "no lifetime"
