"""Lets nobody without the operator's token past, and nobody try many."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import blake2b
from math import ceil
from time import monotonic

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.bucket import network
from app.domain.failures import Failures
from app.domain.headers import Fields
from app.domain.remembered import Remembered

FAILURES, PERIOD = 10, 60.0
"""Wrong tokens that a client may try in so many seconds; then it is answered 429 until they are over."""
KNOWN = 86_400.0
"""Seconds for which a client that had the token is not kept out by what others at its address try."""
_CHALLENGE = 'Bearer realm="l7lb"'


class Tries:
    """Who has shown wrong tokens of late, and who the right one: one for all routes.

    A client is the address at the other end of the connection: here no proxy's word is taken for it. One that has
    failed too often is not believed, whatever it brings, unless the right token has come from there before: a guess
    that is right is worth nothing then, and who shares an address with somebody who guesses is not kept out.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures = Failures(FAILURES, PERIOD)
        self._known: Remembered[bool] = Remembered(b"\0" * 16)

    def check(self, peer: str, *, right: bool, tried: bool) -> None:
        """Note a request with the *right* token, or another that was *tried*. Raises HTTPException 429."""
        now = self._clock()
        client = network(peer)
        place = self._known.digest(client.encode())
        wait = self._failures.wait(client, now)
        if wait and not (right and self._known.get(place, now)):
            raise HTTPException(429, "too many wrong tokens", {"retry-after": str(ceil(wait))})
        if right:
            self._known.put(place, True, now + KNOWN)
        elif tried:
            self._failures.note(client, now)


class AdminToken:
    """Asks for `Authorization: Bearer <token>` (RFC 6750 section 2.1).

    Digests are compared, in constant time, so that neither the text nor the length of the token can be measured.
    What a browser sends on behalf of another site's page is refused before that.
    """

    def __init__(self, app: ASGIApp, *, token: str, tries: Tries) -> None:
        self._app = app
        self._digest = blake2b(token.encode()).digest()
        self._tries = tries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope. Raises HTTPException 401, 403 or 429."""
        if _of_another_site(scope["headers"]):
            raise HTTPException(403, "pages of other sites may not use the control plane")
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, credentials = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        right = hmac.compare_digest(blake2b(credentials.strip()).digest(), self._digest)
        right = right and scheme.lower() == b"bearer"
        peer = scope.get("client")
        self._tries.check(peer[0] if peer else "unix", right=right, tried=bool(given))
        if not right:
            how = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
            raise HTTPException(401, "this needs the operator's token", {"www-authenticate": how})
        await self._app(scope, receive, send)


def _of_another_site(headers: Fields) -> bool:
    """Whether a browser says that a page of another origin has it send this: by Sec-Fetch-Site, or by Origin."""
    host = b""
    origins = []
    for name, value in headers:
        if name == b"host":
            host = value.lower()
        elif name == b"origin":
            origins.append(value.lower())
        elif name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            return True
    return any(origin.partition(b"://")[2] != host for origin in origins)
