"""What scripts of other origins may do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.cors import OWNED, CorsRule
from settings.policies import CorsSettings

APP = b"https://app.example.org"
VARY = (b"vary", b"Origin")


def rule(*origins: str, **settings: Any) -> CorsRule:
    return CorsRule(CorsSettings(origins=origins, **settings))


def allowed(ours: CorsRule, origin: bytes) -> bytes | None:
    return dict(ours.fields(origin)).get(b"access-control-allow-origin")


@pytest.mark.parametrize(
    ("origins", "origin", "may"),
    [
        (["https://app.example.org"], APP, True),
        (["https://APP.example.org:443"], b"https://App.Example.org", True),
        (["https://app.example.org:8443"], b"https://app.example.org:8443", True),
        (["https://app.example.org"], b"http://app.example.org", False),
        (["https://app.example.org"], b"https://app.example.org:8443", False),
        (["https://app.example.org"], b"https://app.example.org.evil", False),
        (["https://*.example.org"], APP, True),
        (["https://*.example.org"], b"https://a.b.example.org", True),
        (["https://*.example.org"], b"https://example.org", False),
        (["https://*.example.org"], b"https://.example.org", False),
        (["https://*.example.org"], b"https://a..example.org", False),
        (["https://*.example.org"], b"https://evil.com/.example.org", False),
        (["https://*.example.org"], b"https://evil.com#a.example.org", False),
        (["https://*.example.org"], b"https://evilexample.org", False),
        (["https://*.example.org"], b"http://app.example.org", False),
        (["https://*.example.org:8443"], b"https://a.example.org:8443", True),
        (["https://*.example.org"], b"https:", False),
        (["https://*.example.org"], b"https://a-b.c_d.example.org", True),
        (["https://*.example.org"], b"https://-.example.org", False),
        (["https://*.example.org", "https://*.example.net"], b"https://a.example.net", True),
        (["https://app.example.org", "https://*.example.net"], b"https://*.example.net", False),
        (["null"], b"null", True),
        (["https://app.example.org"], b"null", False),
        (["https://app.example.org"], b"", False),
    ],
)
def test_who_may(origins: list[str], origin: bytes, may: bool) -> None:
    """An origin is given back as it was sent, or not at all."""
    assert allowed(rule(*origins), origin) == (origin if may else None)


@given(st.binary())
def test_nothing_else_may(origin: bytes) -> None:
    """Whatever is sent; what may ends as it has to."""
    found = allowed(rule("https://*.example.org", "https://example.net"), origin)

    assert found in (None, origin)
    assert found is None or found.lower().endswith((b".example.org", b"https://example.net"))


def test_whoever_may_or_may_not_it_depends_on_the_origin() -> None:
    """So that nobody who stores the response gives it to another; but not where it is for all."""
    assert rule("https://app.example.org").fields(b"https://evil.org") == (VARY,)
    assert rule("https://app.example.org").fields(b"") == (VARY,)
    assert rule("*").fields(b"https://evil.org") == ((b"access-control-allow-origin", b"*"),)
    assert rule("*").fields(b"") == ((b"access-control-allow-origin", b"*"),)


def test_what_a_script_may_read_and_send() -> None:
    ours = rule("https://app.example.org", methods=["GET", "PUT"], headers=["x-a", "x-b"], expose=["x-c", "x-d"],
                credentials=True, max_age=60.0)  # fmt: skip

    assert dict(ours.fields(APP)) == {
        b"access-control-allow-origin": APP,
        b"access-control-allow-credentials": b"true",
        b"access-control-expose-headers": b"x-c, x-d",
        b"vary": b"Origin",
    }
    preflight = dict(ours.preflight(APP))
    assert preflight.pop(b"vary").startswith(b"Origin, ")
    assert preflight == {
        b"access-control-allow-origin": APP,
        b"access-control-allow-credentials": b"true",
        b"access-control-allow-methods": b"GET, PUT",
        b"access-control-allow-headers": b"x-a, x-b",
        b"access-control-max-age": b"60",
    }
    assert dict(ours.preflight(b"https://evil.org")).keys() == {b"vary"}
    assert set(OWNED) >= (preflight.keys() | dict(ours.fields(APP)).keys()) - {b"vary"}


def test_what_is_remembered_is_bounded() -> None:
    ours = rule("https://app.example.org")
    for number in range(3000):
        ours.fields(b"https://%d.example.org" % number)

    assert len(ours._known) <= 1024
    assert allowed(ours, APP) == APP


def test_what_is_remembered_is_said_again() -> None:
    """Of each origin its own."""
    ours = rule("https://app.example.org")
    for origin in (APP, b"https://evil.org") * 2:
        assert allowed(ours, origin) == (APP if origin == APP else None)
