"""Who vouches for clients: key sets and the threads that hash passwords, which groups share and a reload keeps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from app.engine.auth.keys import FixedKeys, Keys, KeySet, library
from app.middleware.basic_auth import BasicAuth, Hashing, Users
from app.middleware.jwt import Jwt
from settings.problems import Wrong

if TYPE_CHECKING:
    from app.engine.asgi import ASGIApp
    from settings.identity import BasicAuthSettings, JwtSettings

Place = tuple[object, ...]
"""Where a key set comes from, and how it is asked for."""


class Authorities:
    """Those of all groups."""

    def __init__(self) -> None:
        self._hashing = Hashing()
        self._sets: WeakValueDictionary[Place, KeySet] = WeakValueDictionary()  # for as long as a group has it

    def basic_auth(self, app: ASGIApp, settings: BasicAuthSettings) -> BasicAuth:
        """The layer that asks for a password, around *app*. Raises Wrong."""
        return BasicAuth(app, settings=settings, users=Users(settings), hashing=self._hashing)

    def jwt(self, app: ASGIApp, settings: JwtSettings) -> Jwt:
        """The layer that asks for a token, around *app*. Raises Wrong."""
        return Jwt(app, settings=settings, keys=self._keys(settings))

    def _keys(self, settings: JwtSettings) -> Keys:
        if settings.keys_url is None:
            return fixed_keys(settings)
        place = (settings.keys_url, settings.ca, settings.timeout, settings.refresh, settings.cooldown)
        found = self._sets.get(place)
        if found is None:
            found = self._sets[place] = KeySet(settings)
        return found

    async def stop(self) -> None:
        """End what is going on."""
        self._hashing.stop()
        await asyncio.gather(*(keys.stop() for keys in tuple(self._sets.values())))


def fixed_keys(settings: JwtSettings) -> FixedKeys:
    """The keys of a file, or the secret. Raises Wrong."""
    library()
    try:
        return FixedKeys(settings)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        fix = "write the path of a JWK set, or of PEM public keys"
        raise Wrong(f"it cannot be used ({reason})", fix, at=("keys_file",)) from None


def jwt_usable(settings: JwtSettings) -> None:
    """Raises Wrong for what keeps tokens from being verified, but for keys that are not asked for yet."""
    library()
    if settings.keys_url is None:
        fixed_keys(settings)
