"""A cookie of ours that keeps a client at its backend.

Its value is the HMAC-SHA256 of pool and backend, cut to 128 bits (RFC 2104 section 5) and in base64 without padding
(RFC 4648 section 5): it says nothing about the backend, is the same in every worker and on every machine with the same
key, and cannot be made up without it. There is one for each backend and key, all made when the backends change, so
that a request costs one search and one look-up, however many of them there are and whatever the client sends.

A cookie that nobody here has signed, of a backend that has gone, of another pool: no cookie. Several cookies of the
name, as with different paths: the first that is one of ours.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hmac import digest
from math import ceil

from app.domain.backend import Backend
from app.domain.headers import Field, Fields
from settings.traffic import StickySettings

_NOWHERE = (None, False)


class Sticky:
    """The cookies of one pool.

    Args:
        settings: with one key or more.

        pool: its name.
    """

    __slots__ = ("_always", "_attributes", "_cookies", "_fields", "_keys", "_name", "_never", "_places", "_pool")

    def __init__(self, settings: StickySettings, pool: str) -> None:
        self._pool = pool.encode()
        self._keys = [key.get_secret_value().encode() for key in settings.keys]
        self._name = settings.cookie.encode()
        self._cookies = re.compile(rb"(?:^|;)[ \t]*%b=([A-Za-z0-9_-]{22})[ \t]*(?=;|$)" % re.escape(self._name))
        attributes = f"; Path={settings.path}; HttpOnly; SameSite={settings.same_site.capitalize()}"
        if settings.max_age:
            attributes += f"; Max-Age={ceil(settings.max_age)}"
        self._attributes = attributes.encode()
        self._always = settings.secure == "always"
        self._never = settings.secure == "never"
        self._places: dict[bytes, tuple[Backend, bool]] = {}
        self._fields: dict[Backend, tuple[Field, Field]] = {}

    def follow(self, backends: Iterable[Backend]) -> None:
        """Know *backends*, draining ones too, and no other."""
        places: dict[bytes, tuple[Backend, bool]] = {}
        fields: dict[Backend, tuple[Field, Field]] = {}
        for backend in backends:
            tokens = [self._token(key, backend.id) for key in self._keys]
            places |= dict.fromkeys(tokens, (backend, False))
            places[tokens[0]] = (backend, True)
            line = b"%b=%b%b" % (self._name, tokens[0], self._attributes)
            plain, secure = (b"set-cookie", line), (b"set-cookie", line + b"; Secure")
            fields[backend] = (secure if self._always else plain, plain if self._never else secure)
        self._places = places
        self._fields = fields

    def find(self, headers: Fields) -> tuple[Backend | None, bool]:
        """The backend that the request's cookie names, and whether it is signed with the first key.

        Where another backend takes the request, or it is not, the response needs `field`.
        """
        for name, line in headers:
            if name == b"cookie":
                for cookie in self._cookies.finditer(line):
                    place = self._places.get(cookie[1])
                    if place is not None:
                        return place
        return _NOWHERE

    def field(self, backend: Backend, scheme: str) -> Field | None:
        """The `Set-Cookie` that keeps the client at *backend*, None where that has gone meanwhile.

        Args:
            backend: who answered.

            scheme: of the exchange; `https` and `wss` make the cookie Secure, unless settings say otherwise.
        """
        fields = self._fields.get(backend)
        return None if fields is None else fields[scheme in ("https", "wss")]

    def _token(self, key: bytes, backend: str) -> bytes:
        mac = digest(key, b"%b\0%b" % (self._pool, backend.encode()), "sha256")
        return urlsafe_b64encode(mac[:16]).rstrip(b"=")
