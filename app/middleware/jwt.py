"""Lets nobody without a signed token past: JSON Web Tokens (RFC 7519), sent as RFC 6750 says. Not there when it is off.

What is accepted is said by the operator, never by the token: its `alg` has to be among those that are named, and is
tried with keys of that kind only, so that a public key is never taken for a secret (RFC 8725 sections 3.1 and 3.2).
A token that was verified is remembered by a keyed digest until it ends, or the keys change.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, NoReturn

from app.domain.errors import Unauthorized
from app.domain.exchange import Exchange
from app.domain.headers import Field, Fields, put, spelled
from app.domain.remembered import Remembered
from app.engine.asgi import ASGIApp, Receive, Scope, Send, Waits
from app.engine.auth.keys import Keys, library
from settings.identity import JwtSettings

LONGEST = 16_384
"""Bytes of a token."""
FRESH = 60.0
"""Seconds for which a token that was verified is taken for good, unless it ends before."""
Known = tuple[str, tuple[Field, ...]]
"""What a token says: the user, and the fields that tell the backend."""


class Jwt:
    """Sets `exchange.user` to the token's `sub`. Raises Unauthorized, and AuthAway when no keys can be had.

    Args:
        keys: of the issuer.

        clock: wall-clock seconds, which tokens go by.
    """

    def __init__(
        self, app: ASGIApp, *, settings: JwtSettings, keys: Keys, clock: Callable[[], float] = time.time
    ) -> None:
        self.app = app
        self._jwt = library()
        self._keys = keys
        self._clock = clock
        self._version = 0
        self._known: Remembered[Known] = Remembered(os.urandom(32))
        self._algorithms = frozenset(settings.algorithms)
        self._issuer = settings.issuer
        self._audience = list(settings.audience) or None
        self._leeway = settings.leeway
        self._options = {
            "require": ["exp"] if settings.expires else [],
            "verify_aud": bool(settings.audience),
            "verify_iss": settings.issuer is not None,
            "verify_sub": False,
        }
        self._header = settings.header.lower().encode()
        self._bearer = self._header == b"authorization"
        self._cookie = (settings.cookie or "").encode()
        self._claims = tuple((claim, field.lower().encode()) for claim, field in settings.claims.items())
        self._taken = spelled([*settings.claims.values(), *(() if settings.pass_on else (settings.header,))])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        exchange, headers = scope["lb.exchange"], scope["headers"]
        token = self._token(exchange, headers)
        known = self._find(exchange, token)
        if known is None:
            await self._keys.fetch()
            known = self._find(exchange, token) or self._refuse(exchange, "no key is known for the token")
        self._admit(exchange, headers, known)
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Look. Raises Waits when keys have to come first."""
        known = self._find(exchange, self._token(exchange, headers))
        if known is None:
            raise Waits(self)
        self._admit(exchange, headers, known)

    def _token(self, exchange: Exchange, headers: Fields) -> bytes:
        given = [value for name, value in headers if name == self._header]
        token = given[0] if len(given) == 1 else b""
        if self._bearer:
            scheme, _, rest = token.partition(b" ")
            token = rest.strip() if scheme.lower() == b"bearer" else b""
        if not token and self._cookie and not given:
            token = _cookie(headers, self._cookie)
        if not token:
            exchange.fields += ((b"www-authenticate", b"Bearer"),)
            raise Unauthorized("this needs a token")
        if len(token) > LONGEST:
            self._refuse(exchange, "the token is too long")
        return token

    def _find(self, exchange: Exchange, token: bytes) -> Known | None:
        """What *token* says; None when keys have to come before that can be said. Raises Unauthorized."""
        if self._version != self._keys.version:
            self._version = self._keys.version
            self._known.clear()
        digest = self._known.digest(token)
        now = self._clock()
        known = self._known.get(digest, now)
        if known is not None:
            return known
        try:
            head = self._jwt.get_unverified_header(token)
            algorithm, name = head.get("alg"), head.get("kid", "")
            if algorithm not in self._algorithms or not isinstance(name, str):
                self._refuse(exchange, "the token is not signed in a way that is accepted")
            keys = self._keys.find(algorithm, name)
            if keys is None:
                return None
            claims = self._verified(token, algorithm, [key.value for key in keys])
        except (self._jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            self._refuse(exchange, f"the token is not good ({type(error).__name__})")
        said = claims.get("sub", "")
        fields = [
            (field, value) for claim, field in self._claims if (value := _text(_claim(claims, claim))) is not None
        ]
        known = (said if isinstance(said, str) else "", tuple(fields))
        until = float(claims["exp"]) + self._leeway if "exp" in claims else inf
        self._known.put(digest, known, min(until, now + FRESH))
        return known

    def _verified(self, token: bytes, algorithm: str, keys: list[Any]) -> Mapping[str, Any]:
        """The claims. Raises what PyJWT does, of the last key that it could have been."""
        wrong: Exception = self._jwt.InvalidSignatureError("no key fits")
        for key in keys:
            try:
                claims: Mapping[str, Any] = self._jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    issuer=self._issuer,
                    audience=self._audience,
                    leeway=self._leeway,
                    options=self._options,
                )
            except (self._jwt.InvalidSignatureError, self._jwt.InvalidKeyError) as error:
                wrong = error
            else:
                return claims
        raise wrong

    def _refuse(self, exchange: Exchange, why: str) -> NoReturn:
        exchange.fields += ((b"www-authenticate", b'Bearer error="invalid_token"'),)
        raise Unauthorized(why)

    def _admit(self, exchange: Exchange, headers: Fields, known: Known) -> None:
        exchange.user = known[0]
        put(headers, self._taken, known[1])


def _cookie(headers: Fields, wanted: bytes) -> bytes:
    for name, value in headers:
        if name == b"cookie":
            for pair in value.split(b";"):
                key, _, rest = pair.strip().partition(b"=")
                if key == wanted:
                    return rest.strip(b'"')
    return b""


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name; else that which dots lead to."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _text(value: Any) -> bytes | None:
    """*value* as a field has it: lists with commas; None for what a field cannot have."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int | float):
        value = str(value)
    elif isinstance(value, list):
        if not all(isinstance(item, str) and "," not in item for item in value):
            return None
        value = ",".join(value)
    if not isinstance(value, str) or len(value) > 4096:
        return None
    text = value.encode("latin-1", "replace")
    return text if value.isprintable() and text.decode("latin-1") == value else None
