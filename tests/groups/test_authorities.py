"""What groups share of those who vouch for clients."""

from __future__ import annotations

import gc
from typing import Any

from app.groups.authorities import Authorities
from settings.identity import JwtSettings
from tests.support.layers import Inside


def jwt(authorities: Authorities, **settings: Any) -> Any:
    said = {"algorithms": ("RS256",), "keys_url": "https://login.example.org/keys", **settings}
    return authorities.jwt(Inside(), JwtSettings(**said))


async def test_groups_share_the_keys_of_one_place() -> None:
    """Whatever else they want of a token; for as long as there is such a group."""
    authorities = Authorities()
    one, same = jwt(authorities), jwt(authorities, issuer="https://login.example.org/", algorithms=("ES256",))
    other = jwt(authorities, keys_url="https://other.example.org/keys")

    assert one._keys is same._keys is not other._keys
    assert len(authorities._sets) == 2
    del one, same
    gc.collect()
    assert len(authorities._sets) == 1
    await authorities.stop()
