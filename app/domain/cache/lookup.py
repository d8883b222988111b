"""What a request asks of a cache: read once, before anything is looked up."""

from __future__ import annotations

from math import inf
from typing import Final

from app.domain.cache.directives import directives
from app.domain.headers import Field, Fields

READ: Final = frozenset(
    {
        b"authorization", b"cache-control", b"content-length", b"cookie", b"if-match", b"if-modified-since",
        b"if-none-match", b"if-range", b"if-unmodified-since", b"pragma", b"range", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
"""Fields that say something to a cache; a request without any asks for nothing in particular."""
CONDITIONAL: Final = frozenset(
    {b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since"}
)
"""RFC 9110 section 13.1."""


class Lookup:
    """A request, as far as a cache looks at it.

    Attributes:
        method: as sent.

        headers: all fields.

        no_cache: nothing is to be used without asking the backend.

        no_store: nothing of it is to be stored.

        max_age, min_fresh, max_stale: seconds of RFC 9111 section 5.2.1; what says nothing is inf, 0 and 0.

        only_if_cached: the backend is not to be asked.

        authorization, cookie: whether there is such a field.

        range, if_range, if_none_match, if_modified_since: values; b"" without any.

        plain: it is a GET without any field that a cache reads.

        precise: only the backend can answer it: If-Match, If-Unmodified-Since, Upgrade.

        body: whether it has one.
    """

    __slots__ = (
        "authorization", "body", "cookie", "headers", "if_modified_since", "if_none_match", "if_range", "max_age",
        "max_stale", "method", "min_fresh", "no_cache", "no_store", "only_if_cached", "plain", "precise", "range",
    )  # fmt: skip

    def __init__(self, method: str, headers: Fields) -> None:
        self.method = method
        self.headers = headers
        self.plain = method == "GET"
        self.no_cache = self.no_store = self.only_if_cached = False
        self.max_age = inf
        self.min_fresh = self.max_stale = 0.0
        self.authorization = self.cookie = self.precise = self.body = False
        self.range = self.if_range = self.if_none_match = self.if_modified_since = b""
        for field in headers:
            if field[0] in READ:
                self.plain = False
                self._read([field for field in headers if field[0] in READ])
                break

    def _read(self, found: list[Field]) -> None:
        control: list[bytes] = []
        pragma = b""
        for name, value in found:
            if name == b"cache-control":
                control.append(value)
            elif name == b"cookie":
                self.cookie = True
            elif name == b"authorization":
                self.authorization = True
            elif name == b"range":
                self.range = value
            elif name == b"if-none-match":
                self.if_none_match = b"%b, %b" % (self.if_none_match, value) if self.if_none_match else value
            elif name == b"if-modified-since":
                self.if_modified_since = value
            elif name == b"if-range":
                self.if_range = value
            elif name == b"pragma":
                pragma = value
            elif name == b"content-length":
                self.body = self.body or value.strip(b"0") != b""
            elif name == b"transfer-encoding":
                self.body = True
            else:
                self.precise = True
        if control:
            self._obey(control)
        elif pragma.strip().lower() == b"no-cache":  # RFC 9111 section 5.4
            self.no_cache = True

    def _obey(self, control: list[bytes]) -> None:
        said = directives(control)
        self.no_cache = b"no-cache" in said
        self.no_store = b"no-store" in said
        self.only_if_cached = b"only-if-cached" in said
        if (seconds := said.seconds(b"max-age")) is not None:
            self.max_age = seconds
        self.min_fresh = said.seconds(b"min-fresh") or 0.0
        if b"max-stale" in said:
            self.max_stale = inf if said.bare(b"max-stale") else said.seconds(b"max-stale") or 0.0

    def ignore_directives(self) -> None:
        """Take back what Cache-Control and Pragma said, but for `no-store`."""
        self.no_cache = self.only_if_cached = False
        self.max_age = inf
        self.min_fresh = self.max_stale = 0.0
