"""Passwords: hashed once, tried so often, and never in the way of others."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import AuthAway, TooManyFailures, Unauthorized
from app.engine.asgi import Waits
from app.engine.auth.passwords import apr1
from app.middleware.basic_auth import MOST_WAITING, BasicAuth, Hashing, Users
from settings.identity import BasicAuthSettings
from settings.problems import Wrong
from tests.support.api import eventually
from tests.support.clock import Clock
from tests.support.layers import Inside, ask, enter

HASH = "$apr1$4tCqzBMI$" + apr1(b"wonderland", b"4tCqzBMI").decode()


def basic(user: str, password: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Basic " + b64encode(f"{user}:{password}".encode())


ALICE = basic("alice", "wonderland")


class Slow:
    """In place of a hash: a check that takes until the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.checked: list[bytes] = []

    def __call__(self, password: bytes) -> bool:
        self.checked.append(password)
        assert self.gate.wait(10)
        return password == b"wonderland"


class Site:
    """A layer with users."""

    def __init__(self, hashing: Hashing, **settings: Any) -> None:
        self.clock = Clock()
        self.inside = Inside()
        said = BasicAuthSettings(**{"users": {"alice": HASH}, **settings})
        self.users = Users(said)
        self.layer = BasicAuth(self.inside, settings=said, users=self.users, hashing=hashing, clock=self.clock)


@pytest.fixture
def hashing() -> Iterator[Hashing]:
    made = Hashing()
    yield made
    made.stop()


async def test_a_password_is_hashed_once_for_so_long(hashing: Hashing) -> None:
    """On the direct driver, too, which goes on along the general path for it."""
    site, slow = Site(hashing, remember=60.0), Slow()
    slow.gate.set()
    site.users._own["alice"] = slow
    with pytest.raises(Waits) as waits:
        enter(site.layer, ALICE)
    assert waits.value.layer is site.layer

    for _ in range(3):
        assert (await ask(site.layer, ALICE)).user == "alice"
    assert enter(site.layer, ALICE).user == "alice"
    assert slow.checked == [b"wonderland"]

    site.clock.advance(60.0)
    await ask(site.layer, ALICE)
    assert slow.checked == [b"wonderland"] * 2


async def test_requests_at_the_same_time_share_a_hash_and_a_try(hashing: Hashing) -> None:
    site, slow = Site(hashing, failures="1/m"), Slow()
    site.users._own["alice"] = slow
    asked = [asyncio.create_task(ask(site.layer, ALICE)) for _ in range(10)]
    await eventually(lambda: slow.checked)
    asked[0].cancel()  # one client goes away: the others are let in all the same
    slow.gate.set()
    found = await asyncio.gather(*asked, return_exceptions=True)

    assert len(slow.checked) == 1
    assert [getattr(one, "user", "") for one in found[1:]] == ["alice"] * 9
    assert isinstance(found[0], asyncio.CancelledError)


async def test_who_fails_too_often_has_to_wait(hashing: Hashing) -> None:
    """With its whole IPv6 network; nothing is hashed for it meanwhile. Others are no concern of it."""
    site = Site(hashing, failures="2/m")
    for number in range(2):
        with pytest.raises(Unauthorized):
            await ask(site.layer, basic("alice", "wrong"), client=f"2001:db8::{number}")
    with pytest.raises(TooManyFailures) as refused:
        await ask(site.layer, ALICE, client="2001:db8::7")
    assert refused.value.retry_after == 60.0
    assert (await ask(site.layer, ALICE, client="2001:db8:1::1")).user == "alice"

    site.clock.advance(60.0)
    with pytest.raises(Unauthorized):
        await ask(site.layer, basic("alice", "wrong"), client="2001:db8::7")


async def test_a_guess_is_not_looked_up_among_the_passwords_of_others(hashing: Hashing) -> None:
    """Who had to wait could try as many as it liked, and was let in with one that somebody else was using."""
    site = Site(hashing, failures="2/m")
    await ask(site.layer, ALICE, client="192.0.2.7")
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await ask(site.layer, basic("alice", "wrong"))

    with pytest.raises(TooManyFailures):
        await ask(site.layer, ALICE)
    with pytest.raises(Waits):
        enter(site.layer, ALICE)
    assert (await ask(site.layer, ALICE, client="192.0.2.7")).user == "alice"


async def test_who_was_right_before_is_not_kept_out_by_others_at_its_address(hashing: Hashing) -> None:
    site = Site(hashing, failures="2/m")
    await ask(site.layer, ALICE)
    for _ in range(3):
        with pytest.raises((Unauthorized, TooManyFailures)):
            await ask(site.layer, basic("alice", "wrong"))

    assert (await ask(site.layer, ALICE)).user == "alice"


async def test_those_who_are_right_are_never_held_up_by_it(hashing: Hashing) -> None:
    """A hundred passwords that are right, from one address, over a limit of two."""
    site = Site(hashing, failures="2/m", users={f"u{n}": HASH for n in range(100)})

    for number in range(100):
        assert (await ask(site.layer, basic(f"u{number}", "wonderland"))).user == f"u{number}"


async def test_a_flood_of_passwords_is_bounded(hashing: Hashing) -> None:
    """From however many addresses: who comes when too many wait is told so, and those who wait are served."""
    site, slow = Site(hashing), Slow()
    site.users._own["alice"] = slow
    asked = [
        asyncio.create_task(ask(site.layer, basic("alice", f"{n}"), client=f"192.0.2.{n}")) for n in range(MOST_WAITING)
    ]
    await eventually(lambda: hashing.full)
    with pytest.raises(AuthAway):
        await ask(site.layer, ALICE)
    slow.gate.set()
    found = await asyncio.gather(*asked, return_exceptions=True)

    assert {type(one) for one in found} == {Unauthorized}
    assert (await ask(site.layer, ALICE)).user == "alice"


async def test_who_is_not_there_takes_as_long(hashing: Hashing) -> None:
    """Their password is hashed as anybody's, so that the time tells nobody who is there."""
    site, slow = Site(hashing), Slow()
    slow.gate.set()
    site.users._own["alice"] = slow

    with pytest.raises(Unauthorized):
        await ask(site.layer, basic("mallory", "wonderland"))

    assert slow.checked == [b"wonderland"]


async def test_what_the_backend_gets(hashing: Hashing) -> None:
    """The name in place of what the client says it is; the password only where that is wanted."""
    told = [(b"x-auth-user", b"root"), (b"x", b"y")]
    for settings, wanted in (
        ({}, [(b"x", b"y"), (b"x-auth-user", b"alice")]),
        ({"pass_on": True}, [(b"x", b"y"), ALICE, (b"x-auth-user", b"alice")]),
        ({"header": None}, [*told]),
        ({"header": "Remote-User"}, [*told, (b"remote-user", b"alice")]),
    ):
        site = Site(hashing, **settings)
        await ask(site.layer, *told, ALICE)
        assert site.inside.seen == [wanted]


async def test_users_that_are_gone_are_out(hashing: Hashing, tmp_path: Path) -> None:
    """Those of the settings win over those of the file."""
    path = tmp_path / "users"
    path.write_text(f"bob:{HASH}\nalice:{HASH}\n")
    site = Site(hashing, users_file=path, users={"alice": "$apr1$4tCqzBMI$" + apr1(b"another", b"4tCqzBMI").decode()})
    assert (await ask(site.layer, basic("bob", "wonderland"))).user == "bob"
    with pytest.raises(Unauthorized):
        await ask(site.layer, ALICE)

    path.write_text("")
    assert site.users._file is not None
    site.users._file._next = 0.0
    with pytest.raises(Unauthorized):
        await ask(site.layer, basic("bob", "wonderland"))


@pytest.mark.parametrize(
    ("settings", "at"),
    [({"users": {"alice": "secret"}}, ("users", "alice")), ({"users_file": "/nonexistent"}, ("users_file",))],
)
def test_what_cannot_be_used_says_where(settings: dict[str, Any], at: tuple[str, ...]) -> None:
    with pytest.raises(Wrong) as wrong:
        Users(BasicAuthSettings(**settings))
    assert wrong.value.at == at
