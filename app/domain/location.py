"""Where a redirect leads: a template with pieces of the request, none of which can leave its place."""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from app.domain.errors import BadRequest
from app.domain.paths import escaped, rooted
from settings.problems import Wrong, did_you_mean

if TYPE_CHECKING:
    from settings.groups import RedirectSettings

PIECES = ("scheme", "host", "hostname", "path", "query")
"""What a template can name; hostname is the host without its port."""

_AT = ("redirect", "to")
_PATH = "%/!$&'()*+,;=:@-._~[]"
_QUERY = _PATH + "?"
_SHAPE = re.compile(
    r"(?:(?:https?|\{scheme\})://(?:[^/?#{}]|\{host(?:name)?\})+)?(?:/(?!/).*|(?:\{path\}|\{query\}|[?#]).*)?",
    re.IGNORECASE,
)
"""Only the operator, or the Host of the request itself, says which host it leads to."""

_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]*)?")  # RFC 3986 section 3.2.2


class Location:
    """The target of one redirect."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[tuple[bytes, str], ...]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, settings: RedirectSettings) -> Location:
        """The template in *settings*, taken to pieces.

        Raises:
            Wrong: for an unknown piece, a control character, and where a client could choose the host it leads to.
        """
        to = settings.to
        if _CONTROL.search(to):
            raise Wrong("spaces and control characters have no place in a URL", "percent-encode them", at=_AT)
        try:
            parsed = list(Formatter().parse(to))
        except ValueError as error:
            raise Wrong(f"the braces do not fit ({error})", 'write "{path}"; a brace itself is "{{"', at=_AT) from None
        for _, name, spec, conversion in parsed:
            if name is not None and (name not in PIECES or spec or conversion):
                near = did_you_mean(name, PIECES)
                fix = f'write "{{{near}}}"' if near else "use {scheme}, {host}, {hostname}, {path} or {query}"
                raise Wrong(f"a redirect knows no {{{name}}}", fix, at=_AT)
        if not to or not _SHAPE.fullmatch(to):
            raise Wrong("a redirect leads to a URL or a path", 'write "https://{host}{path}" or "/new{path}"', at=_AT)
        return cls(tuple((escaped(text), name or "") for text, name, _, _ in parsed))

    def render(self, scheme: str, host: str, path: bytes, query: bytes) -> bytes:
        """The value of the Location field.

        Args:
            scheme: the request's, as the client sees it.

            host: its Host, which may have a port.

            path: its raw path; however many slashes it begins with, one is left, for two would begin a host.

            query: raw, without the `?`; it gets one, or a `&` where the template has a query of its own.

        Raises:
            BadRequest: for a host that is none, when the template names it.
        """
        target = b""
        for text, name in self._parts:
            target += text
            if name == "path":
                target = target.removesuffix(b"/") + _clean(rooted(path), _PATH)
            elif name == "query":
                target = _with(target, _clean(query, _QUERY))
            elif name == "scheme":
                target += b"https" if scheme == "https" else b"http"
            elif name:
                target += _host(host, name)
        return target


def _clean(raw: bytes, safe: str) -> bytes:
    """*raw* with everything percent-encoded that may not stand in a URL; what is encoded already stays."""
    return quote_from_bytes(raw, safe).encode("ascii")


def _with(target: bytes, query: bytes) -> bytes:
    target = target.removesuffix(b"?").removesuffix(b"&")
    if not query:
        return target
    return target + (b"&" if b"?" in target else b"?") + query


def _host(host: str, piece: str) -> bytes:
    found = _HOST.fullmatch(host)
    if not found:
        raise BadRequest("the Host cannot be redirected to")
    return (host if piece == "host" else found[1]).encode("ascii")
