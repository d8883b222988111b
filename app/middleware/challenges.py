"""Answers an authority that asks for a token (ACME HTTP-01, RFC 8555 section 8.3). Not in the stack when it is off."""

from __future__ import annotations

import re
from pathlib import Path

from app.domain.errors import Answered
from app.domain.exchange import Exchange
from app.domain.headers import Fields
from app.domain.issuance import CHALLENGES
from app.engine.asgi import ASGIApp, Receive, Scope, Send

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
_FIELDS = [(b"content-type", b"application/octet-stream")]


class Challenges:
    """Answers with the file in *directory* that has the token's name; what is not there goes on.

    Another worker may have written it, or another machine: whoever has the directory.
    """

    def __init__(self, app: ASGIApp, directory: Path) -> None:
        self.app = app
        self._directory = directory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        self.enter(scope["lb.exchange"], scope["headers"])
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, _: Fields) -> None:
        """Look. Raises Answered."""
        path = exchange.path
        if not path.startswith(CHALLENGES) or exchange.method not in ("GET", "HEAD"):
            return
        token = path[len(CHALLENGES) :]
        if _TOKEN.fullmatch(token):
            try:
                answer = (self._directory / token).read_bytes()
            except OSError:
                return
            raise Answered(200, _FIELDS, answer)
