"""Lets nobody without the operator's token past."""

from __future__ import annotations

import hmac
from hashlib import blake2b

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

_CHALLENGE = 'Bearer realm="l7lb"'


class AdminToken:
    """Asks for `Authorization: Bearer <token>` (RFC 6750 section 2.1).

    Digests are compared, in constant time, so that neither the text nor the length of the token can be measured.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._digest = blake2b(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope. Raises HTTPException 401."""
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, credentials = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        right = hmac.compare_digest(blake2b(credentials.strip()).digest(), self._digest)
        if scheme.lower() != b"bearer" or not right:
            how = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
            raise HTTPException(401, "this needs the operator's token", {"www-authenticate": how})
        await self._app(scope, receive, send)
