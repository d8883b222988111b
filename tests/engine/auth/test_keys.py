"""The keys of an issuer, and when they are asked for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import AuthAway
from app.engine.auth.keys import FixedKeys, KeySet, keys_of
from settings.identity import JwtSettings
from tests.support.api import Call, api, eventually
from tests.support.clock import Clock
from tests.support.tokens import Issuer

ISSUER = Issuer()


def names(keys: Any) -> list[str]:
    return [key.name for key in keys]


class Site:
    """An issuer's endpoint, and the set that is kept of it."""

    def __init__(self) -> None:
        self.body: bytes = ISSUER.jwks()
        self.status = 200
        self.gate: asyncio.Event | None = None

    async def serve(self, call: Call) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await call.say(self.status, self.body)

    def keys(self, url: str, clock: Any, **settings: Any) -> KeySet:
        said = {"algorithms": ("RS256",), "keys_url": f"{url}/jwks.json?a=b", "refresh": 600.0, "cooldown": 10.0}
        return KeySet(JwtSettings(**{**said, **settings}), clock=clock)


async def test_they_are_fetched_once_for_all_who_wait() -> None:
    site, clock = Site(), Clock()
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, clock)
        assert keys.find("RS256", "RS256") is None
        await asyncio.gather(*(keys.fetch() for _ in range(10)))

        assert names(keys.find("RS256", "RS256")) == ["RS256"]
        assert (len(endpoint.calls), endpoint.calls[0].target) == (1, "/jwks.json?a=b")
        assert keys.version == 1


async def test_a_key_is_for_algorithms_of_its_kind_only() -> None:
    """However a token calls itself; without a name all of the kind are tried."""
    async with api(Site().serve) as endpoint:
        keys = Site().keys(endpoint.url, Clock())
        await keys.fetch()

        assert [names(keys.find(algorithm, "")) for algorithm in ("RS512", "ES256", "EdDSA", "HS256", "none")] == [
            ["RS256"], ["ES256"], ["EdDSA"], [], [],
        ]  # fmt: skip
        assert keys.find("RS256", "ES256") == []


async def test_a_key_that_is_not_there_is_asked_for_once_a_cooldown() -> None:
    """However many tokens name it."""
    site, clock = Site(), Clock()
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, clock)
        await keys.fetch()
        for _ in range(5):
            assert keys.find("RS256", "new") == []
            await keys.fetch()
        assert len(endpoint.calls) == 1

        clock.advance(10.0)
        assert keys.find("RS256", "new") is None
        assert names(keys.find("RS256", "RS256")) == ["RS256"]
        await keys.fetch()
        assert keys.find("RS256", "new") == []
        assert len(endpoint.calls) == 2
        assert keys.version == 1  # nothing has changed, so what was verified counts


async def test_they_are_asked_for_again_beside_the_requests() -> None:
    site, clock = Site(), Clock()
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, clock)
        await keys.fetch()
        site.body = Issuer(" of next year").jwks()
        clock.advance(600.0)

        assert names(keys.find("RS256", "RS256")) == ["RS256"]
        await eventually(lambda: keys.version == 2)
        assert keys.find("RS256", "RS256") == []


BROKEN = [
    b"", b"[]", b"{", b'{"keys": {}}', b'{"keys": []}', b"[" * 100_000, b'{"a":' * 100_000, b"\xff",
    b'{"keys": [1, {"kty": "RSA"}]}',
]  # fmt: skip


@pytest.mark.parametrize("body", BROKEN)
async def test_what_was_fetched_last_is_good_until_there_is_better(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    site, clock = Site(), Clock()
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, clock)
        await keys.fetch()
        site.body = body
        clock.advance(600.0)
        await keys.fetch()

        assert names(keys.find("RS256", "RS256")) == ["RS256"]
        assert "cannot be had" in caplog.text


async def test_without_any_it_is_said_and_not_tried_at_once_again() -> None:
    site, clock = Site(), Clock()
    site.status = 503
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, clock)
        for _ in range(3):
            assert keys.find("RS256", "RS256") is None
            with pytest.raises(AuthAway):
                await keys.fetch()
        assert len(endpoint.calls) == 1
        clock.advance(10.0)
        site.status = 200
        await keys.fetch()
        assert names(keys.find("RS256", "RS256")) == ["RS256"]


async def test_an_issuer_that_hangs_is_not_waited_for_long() -> None:
    site = Site()
    site.gate = asyncio.Event()
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, Clock(), timeout=0.05)
        with pytest.raises(AuthAway):
            await keys.fetch()


async def test_who_waits_may_go_away_and_the_end_may_come() -> None:
    """The others get the keys; at the end what is being fetched is given up."""
    site = Site()
    site.gate = asyncio.Event()
    async with api(site.serve) as endpoint:
        keys = site.keys(endpoint.url, Clock())
        impatient, patient = (asyncio.create_task(keys.fetch()) for _ in range(2))
        await eventually(lambda: endpoint.calls)
        impatient.cancel()
        site.gate.set()
        await patient
        assert keys.version == 1

        site.gate.clear()
        keys._tried = float("-inf")
        waiting = asyncio.create_task(keys.fetch())
        await eventually(lambda: len(endpoint.calls) == 2)
        await keys.stop()
        await asyncio.wait({waiting})
        assert waiting.cancelled()


def test_a_set_takes_what_it_can_use() -> None:
    """Keys to encrypt, secrets, and kinds that are not known are left out; the private half of one is not kept."""
    said = json.loads(ISSUER.jwks())["keys"]
    rsa = next(key for key in said if key["kty"] == "RSA")
    odd = [{**rsa, "use": "enc"}, {**rsa, "kid": 7}, {**rsa, "n": 5}, {"kty": "new"}, {}, None, {**rsa, "alg": "PS256"}]

    found = keys_of(json.dumps({"keys": odd}))

    assert [(key.name, key.algorithm) for key in found] == [("RS256", "PS256")]
    assert len(keys_of(json.dumps({"keys": [rsa] * 500}))) == 100


def test_a_file_of_keys(tmp_path: Path) -> None:
    """PEM, more than one, or a set; what is none says so."""
    path = tmp_path / "keys"
    path.write_bytes(ISSUER.pem("RS256") + ISSUER.pem("ES256") + ISSUER.pem("EdDSA"))
    keys = FixedKeys(JwtSettings(algorithms=("RS256",), keys_file=path))

    assert [len(keys.find(algorithm, "any") or ()) for algorithm in ("RS256", "ES384", "EdDSA", "HS256")] == [
        1,
        1,
        1,
        0,
    ]
    path.write_bytes(b"-----BEGIN PUBLIC KEY-----\nnone\n-----END PUBLIC KEY-----\n")
    with pytest.raises(ValueError):  # noqa: PT011
        FixedKeys(JwtSettings(algorithms=("RS256",), keys_file=path))
    path.write_text("no key")
    with pytest.raises(ValueError, match="no public key"):
        FixedKeys(JwtSettings(algorithms=("RS256",), keys_file=path))
