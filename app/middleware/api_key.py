"""Lets nobody without a key past. Not in the stack of a group that wants none."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import parse_qsl

from app.domain.errors import Unauthorized
from app.domain.exchange import Exchange
from app.domain.headers import Fields, put, spelled
from app.engine.asgi import ASGIApp, Receive, Scope, Send, Waits
from settings.identity import ApiKeySettings


class ApiKey:
    """Looks a key up by its SHA-256, which says nothing about it by how long that takes. Raises Unauthorized.

    Sets `exchange.user` to the name of who has the key.
    """

    def __init__(self, app: ASGIApp, *, settings: ApiKeySettings) -> None:
        self.app = app
        self._owners = {_hash(key.get_secret_value()): name for name, key in settings.keys.items()}
        self._header = (settings.header or "").lower().encode()
        self._query = settings.query
        self._bearer = self._header == b"authorization"
        self._owner = (settings.owner_header or "").lower().encode()
        taken = (settings.owner_header, None if settings.pass_on else settings.header)
        self._taken = spelled(name for name in taken if name is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, and go on."""
        exchange, headers = scope["lb.exchange"], scope["headers"]
        key = self._field(headers) or self._parameter(scope["query_string"])
        self._admit(exchange, headers, key)
        await self.app(scope, receive, send)

    def enter(self, exchange: Exchange, headers: Fields) -> None:
        """Look. Raises Waits where it may be in the query, which is not at hand here."""
        key = self._field(headers)
        if not key and self._query:
            raise Waits(self)
        self._admit(exchange, headers, key)

    def _field(self, headers: Fields) -> bytes:
        given = [value for name, value in headers if name == self._header]
        if len(given) != 1:
            return b""
        if not self._bearer:
            return given[0]
        scheme, _, key = given[0].partition(b" ")
        return key.strip() if scheme.lower() == b"bearer" else b""

    def _parameter(self, query: bytes) -> bytes:
        if not self._query or not query:
            return b""
        try:
            pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=1000)
        except ValueError:
            return b""
        given = [value for name, value in pairs if name == self._query]
        return given[0].encode() if len(given) == 1 else b""

    def _admit(self, exchange: Exchange, headers: Fields, key: bytes) -> None:
        owner = self._owners.get(sha256(key).digest()) if key else None
        if owner is None:
            scheme = b"Bearer" if self._bearer else b"ApiKey"
            exchange.fields += ((b"www-authenticate", b'%b realm="l7lb"' % scheme),)
            raise Unauthorized("the key is not known" if key else "this needs a key")
        exchange.user = owner
        put(headers, self._taken, [(self._owner, owner.encode())] if self._owner else [])


def _hash(text: str) -> bytes:
    return bytes.fromhex(text[7:]) if text.startswith("sha256:") else sha256(text.encode()).digest()
