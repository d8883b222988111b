"""Tokens: verified once, taken for good for a while, and never longer than they say or their keys are there."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from app.domain.errors import Unauthorized
from app.engine.asgi import Waits
from app.engine.auth.keys import FixedKeys, Key
from app.middleware.jwt import FRESH, Jwt
from settings.identity import JwtSettings
from tests.support.clock import Clock
from tests.support.layers import Inside, ask, enter
from tests.support.tokens import SECRET


def signed(**claims: Any) -> str:
    return jwt.encode({"exp": int(time.time()) + 600, **claims}, SECRET, algorithm="HS256")


def bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {token}".encode()


class Site:
    """A layer with a secret."""

    def __init__(self, **settings: Any) -> None:
        said = JwtSettings(**{"algorithms": ("HS256",), "secret": SECRET, **settings})
        self.inside, self.clock = Inside(), Clock(time.time())
        self.keys: Any = FixedKeys(said)
        self.layer = Jwt(self.inside, settings=said, keys=self.keys, clock=self.clock)


async def test_a_token_is_verified_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """On both drivers."""
    site, token, verified = Site(), signed(sub="alice"), []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *args, **options: verified.append(1) or decode(*args, **options))

    for _ in range(5):
        assert (await ask(site.layer, bearer(token))).user == "alice"
        assert enter(site.layer, bearer(token)).user == "alice"
    assert len(verified) == 1
    site.clock.advance(FRESH)
    enter(site.layer, bearer(token))
    assert len(verified) == 2


async def test_it_is_not_taken_for_longer_than_it_says() -> None:
    """Though it was verified a moment ago."""
    site = Site(leeway=5.0)
    now = int(time.time())
    site.clock.now = now + 14.0
    token = signed(exp=now + 10)
    enter(site.layer, bearer(token))
    assert site.layer._known.get(site.layer._known.digest(token.encode()), now + 14.9)
    assert site.layer._known.get(site.layer._known.digest(token.encode()), now + 15.0) is None


async def test_when_the_keys_change_nothing_that_was_verified_counts() -> None:
    site, token = Site(), signed(sub="alice")
    assert enter(site.layer, bearer(token)).user == "alice"

    class Changed:
        version = 1

        def find(self, algorithm: str, name: str) -> list[Key]:
            return [Key(b"another secret that is over thirty-two characters", ("HS",))]

    site.layer._keys = Changed()  # type: ignore[assignment]
    with pytest.raises(Unauthorized):
        enter(site.layer, bearer(token))


async def test_keys_that_have_to_come_first_are_waited_for() -> None:
    """On the direct driver, along the general path."""
    site = Site()

    class Coming:
        version = 0
        there = False

        def find(self, algorithm: str, name: str) -> list[Key] | None:
            return [Key(SECRET.encode(), ("HS",))] if self.there else None

        async def fetch(self) -> None:
            self.there = True

    site.layer._keys = Coming()
    with pytest.raises(Waits) as waits:
        enter(site.layer, bearer(signed()))
    assert waits.value.layer is site.layer
    await ask(site.layer, bearer(signed(sub="alice")))
    assert enter(site.layer, bearer(signed(sub="alice"))).user == "alice"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("alice", b"alice"),
        ("M\xfcller", b"M\xfcller"),
        (7, b"7"),
        (1.5, b"1.5"),
        (True, b"true"),
        (False, b"false"),
        (["a", "b"], b"a,b"),
        ([], b""),
        (["a,b"], None),
        ([1], None),
        ({"a": 1}, None),
        (None, None),
        ("a\r\nx-admin: 1", None),
        ("\u0416", None),
        ("\0", None),
        ("x" * 5000, None),
    ],
)
async def test_what_a_field_can_have_of_a_claim(value: Any, told: bytes | None) -> None:
    """What it cannot is left out; what the client says is never there."""
    site = Site(claims={"a.b": "X-Claim"})
    for claims in ({"a": {"b": value}}, {"a.b": value}):
        site.inside.seen.clear()
        await ask(site.layer, bearer(signed(**claims)), (b"x-claim", b"root"))
        assert site.inside.seen == [[(b"x-claim", told)] if told is not None else []]


async def test_where_it_comes_from() -> None:
    """A field of its own, or a cookie; not the cookie where the field says something else."""
    own, cookie = Site(header="X-Token", pass_on=True), Site(cookie="token")
    token = signed().encode()

    await ask(own.layer, (b"x-token", token))
    assert own.inside.seen == [[(b"x-token", token)]]
    await ask(cookie.layer, (b"cookie", b"a=b"), (b"cookie", b'c=d; token="' + token + b'"'))
    with pytest.raises(Unauthorized):
        await ask(cookie.layer, (b"authorization", b"Bearer x"), (b"cookie", b"token=" + token))
    for odd in (b"token", b"token=", b"=", b"", b"xtoken=" + token):
        with pytest.raises(Unauthorized):
            await ask(cookie.layer, (b"cookie", odd))
