"""A cookie of ours that keeps a client at its backend."""

from __future__ import annotations

import base64
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from app.domain.backend import Backend
from app.domain.headers import Fields
from app.domain.sticky import Sticky
from settings.resilience import HealthSettings
from settings.traffic import StickySettings
from tests.support.fleet import backend, fleet, pool

KEY, OLD = "the first of the keys", "one of the years before"
NOWHERE = (None, False)


def sticky(*backends: Backend, pool: str = "shop", keys: tuple[str, ...] = (KEY,), **settings: Any) -> Sticky:
    """One that knows these."""
    made = Sticky(StickySettings(enabled=True, keys=tuple(map(SecretStr, keys)), **settings), pool)
    made.follow(backends)
    return made


def cookie(made: Sticky, at: Backend) -> bytes:
    """What a client sends after it was answered by *at*."""
    field = made.field(at, "http")
    assert field is not None
    return field[1].partition(b";")[0]


def sent(*lines: bytes) -> Fields:
    """A request with these Cookie fields."""
    return [(b"host", b"h"), *((b"cookie", line) for line in lines), (b"x-cookie", b"l7lb=no")]


def test_a_client_comes_back_to_its_backend() -> None:
    """Whichever that was."""
    backends = fleet(1, 1, 1)
    made = sticky(*backends)

    for one in backends:
        assert made.find(sent(cookie(made, one))) == (one, True)


def test_the_token_is_a_mac_of_pool_and_backend() -> None:
    """HMAC-SHA256 cut to 128 bits, url-safe without padding; the same in every process."""
    mac = hmac.new(KEY.encode(), b"shop\0a", "sha256").digest()[:16]
    expected = base64.urlsafe_b64encode(mac).rstrip(b"=")

    one = backend("a")
    assert cookie(sticky(one), one) == b"l7lb=" + expected
    assert len(expected) == 22


def test_the_token_says_nothing_of_the_backend() -> None:
    """Neither address nor id, nor is it alike for alike ones."""
    one, other = backend("10.0.0.1", url="http://10.0.0.1"), backend("10.0.0.2", url="http://10.0.0.2")
    made = sticky(one, other)

    assert b"10.0.0" not in cookie(made, one)
    assert cookie(made, one) != cookie(made, other)


@pytest.mark.parametrize(
    ("settings", "scheme", "attributes"),
    [
        ({}, "http", b"Path=/; HttpOnly; SameSite=Lax"),
        ({}, "https", b"Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({}, "ws", b"Path=/; HttpOnly; SameSite=Lax"),
        ({}, "wss", b"Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({"secure": "always"}, "http", b"Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({"secure": "never"}, "https", b"Path=/; HttpOnly; SameSite=Lax"),
        ({"path": "/shop", "same_site": "strict"}, "http", b"Path=/shop; HttpOnly; SameSite=Strict"),
        ({"same_site": "none"}, "https", b"Path=/; HttpOnly; SameSite=None; Secure"),
        ({"max_age": 3600.0}, "http", b"Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
        ({"max_age": 0.5}, "http", b"Path=/; HttpOnly; SameSite=Lax; Max-Age=1"),
    ],
)
def test_the_cookie_has_the_attributes_of_the_settings(
    settings: dict[str, Any], scheme: str, attributes: bytes
) -> None:
    """Safe ones when nothing is said."""
    one = backend()
    name, value = sticky(one, **settings).field(one, scheme) or (b"", b"")

    assert name == b"set-cookie"
    assert value.partition(b"; ")[2] == attributes


def test_the_field_is_prepared() -> None:
    """A response costs a look-up."""
    one = backend()
    made = sticky(one)

    assert made.field(one, "https") is made.field(one, "https")


@pytest.mark.parametrize(
    "lines",
    [
        [b"%b"], [b"a=1; %b; b=2"], [b"a=1;%b;b=2"], [b"a=1", b"b=2; %b"], [b"\t%b "], [b"l7lb=x; %b"], [b"a; %b"],
        [b"l7lb=AAAAAAAAAAAAAAAAAAAAAA", b"%b"], [b"l7lb; =; ; %b;"], [b'l7lb="quoted"; %b'], [b"xl7lb=1; %b"],
    ],
)  # fmt: skip
def test_it_is_found_wherever_it_stands(lines: list[bytes]) -> None:
    """In one of several fields, between other cookies, after one of the same name that is none of ours."""
    one = backend()
    made = sticky(one)
    mine = cookie(made, one)

    assert made.find(sent(*(line.replace(b"%b", mine) for line in lines))) == (one, True)


def test_of_several_the_first_is_taken() -> None:
    """The one of the longer path (RFC 6265 section 5.4)."""
    one, other = backend("a"), backend("b")
    made = sticky(one, other)

    assert made.find(sent(cookie(made, other) + b"; " + cookie(made, one))) == (other, True)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"a=1", b"l7lb", b"l7lb=", b"l7lb=a", b"l7lb=p/a", b"L7LB=%b", b"xl7lb=%b", b"a=l7lb=%b", b"l7lb=%b=",
        b"l7lb=%bA", b"l7lb=A%b", b"l7lb =%b", b"l7lb= %b", b"l7lb=%b, a=1", b"%b", b"\xff\x00;l7lb=\xff",
    ],
)  # fmt: skip
def test_what_is_none_of_ours_is_no_cookie(line: bytes) -> None:
    """Another name, another value, another way to write it."""
    one = backend()
    made = sticky(one)
    token = cookie(made, one).partition(b"=")[2]

    assert made.find(sent(line.replace(b"%b", token))) == NOWHERE
    assert made.find([(b"host", b"h")]) == NOWHERE


@given(st.binary(max_size=60))
def test_what_is_made_up_is_no_cookie(value: bytes) -> None:
    """Whatever it is, nothing happens."""
    made = sticky(*fleet(1, 1))

    assert made.find(sent(value, b"l7lb=" + value)) == NOWHERE


def test_a_name_is_not_a_pattern() -> None:
    """All characters of a token are allowed in it."""
    one = backend()
    made = sticky(one, cookie="a.b*|+$^")
    mine = cookie(made, one)

    assert made.find(sent(mine)) == (one, True)
    assert made.find(sent(mine.replace(b"a.b", b"axb"))) == NOWHERE


def test_a_cookie_of_another_pool_or_key_is_foreign() -> None:
    """Also where the backend has the same id."""
    one = backend()
    made = sticky(one)

    assert made.find(sent(cookie(sticky(one, pool="other"), one))) == NOWHERE
    assert made.find(sent(cookie(sticky(one, keys=(OLD,)), one))) == NOWHERE


def test_keys_are_changed_one_after_the_other() -> None:
    """The old one is accepted, and said to be old, so that the client gets a new cookie; dropped, it is foreign."""
    one = backend()
    before, between, after = sticky(one, keys=(OLD,)), sticky(one, keys=(KEY, OLD)), sticky(one)
    old = cookie(before, one)

    assert before.find(sent(old)) == (one, True)
    assert between.find(sent(old)) == (one, False)
    assert between.find(sent(cookie(between, one))) == after.find(sent(cookie(between, one))) == (one, True)
    assert after.find(sent(old)) == NOWHERE


@pytest.mark.parametrize("keys", [(KEY, KEY), (KEY, OLD, KEY)])
def test_a_key_given_twice_is_the_first(keys: tuple[str, ...]) -> None:
    """Else each response would have a new cookie, the same."""
    one = backend()
    made = sticky(one, keys=keys)

    assert made.find(sent(cookie(made, one))) == (one, True)


def test_the_client_of_a_dead_backend_is_not_stuck_traefik_1299() -> None:
    """What its cookie names is down: another backend takes it, and its cookie from then on is that one's."""
    backends = fleet(1, 1, health=HealthSettings(path="/health"))
    backends[0].health.observe("refused", 0.0)
    backends[1].health.observe("", 0.0)
    made, chosen = sticky(*backends), pool(backends)
    mine = cookie(made, backends[0])

    found, _ = made.find(sent(mine))
    assert found is backends[0]
    assert found not in chosen.available
    taken = chosen.pick(b"", (), 0.0)
    assert taken is backends[1]
    assert made.find(sent(cookie(made, taken))) == (backends[1], True)


def test_a_retry_leaves_the_client_with_the_cookie_of_who_answered_traefik_3975() -> None:
    """Not with that of who failed, nor without one: the field is of the backend that it is asked for."""
    backends = fleet(1, 1)
    made, chosen = sticky(*backends), pool(backends)
    failed, _ = made.find(sent(cookie(made, backends[0])))
    assert failed is not None

    answered = chosen.pick(b"", (failed,), 0.0)
    assert answered is not failed
    assert made.find(sent(cookie(made, answered))) == (answered, True)


def test_the_cookie_of_a_backend_that_has_gone_is_none() -> None:
    """Removed while its last request is on its way: there is nothing to keep the client at."""
    gone, other = backend("a"), backend("b")
    made = sticky(gone, other)
    old, kept = cookie(made, gone), cookie(made, other)
    made.follow([other])

    assert made.find(sent(old)) == NOWHERE
    assert made.find(sent(old + b"; " + kept)) == (other, True)
    assert made.field(gone, "http") is None


def test_a_backend_that_comes_back_has_its_clients_again() -> None:
    """By its id, not by the object: after a restart of ours, too."""
    one = backend("a")
    mine = cookie(sticky(one), one)
    again = backend("a")

    assert sticky(again).find(sent(mine)) == (again, True)
