"""Is this request head one that can be read in one way only?

llhttp has refused by now what is not HTTP at all: odd bytes in field names, bare CR or LF, NUL, folded fields, a second
or a non-numeric Content-Length, Content-Length beside Transfer-Encoding. Here stands what it lets through.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from app.domain.errors import BadRequest, NotSupported
from app.domain.headers import DIGITS, LARGEST, OF_THE_CONNECTION, connection_listed
from app.domain.hosts import check_host

Headers = list[tuple[bytes, bytes]]

_WATCHED: Final = frozenset((b"host", b"transfer-encoding", b"content-length", b"expect", b"upgrade", b"connection"))
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*)([^?]*)(?:\?(.*))?", re.DOTALL)

_TAIL: Final = re.compile(rb"[?#]")


class Framing(NamedTuple):
    """What a head says about the message that follows.

    Attributes:
        chunked: the body is in chunks.

        length: Content-Length; 0 without one.

        expects: the client waits for 100 Continue.

        upgrade: the protocols it would rather speak, lower-cased; b"" for none.

        lists: `Connection` names fields that would go on otherwise.
    """

    chunked: bool = False
    length: int = 0
    expects: bool = False
    upgrade: bytes = b""
    lists: bool = False


PLAIN: Final = Framing()
"""No body and nothing special: nearly every request, so it is made once."""


def framing_of(headers: Headers, http11: bool) -> Framing:
    """What the fields say of host and body.

    Raises BadRequest unless there is exactly one valid Host (HTTP/1.0: at most one, RFC 9112 section 3.2) and the
    body's end is certain (section 6.3); NotSupported for a transfer coding other than chunked.
    """
    host: bytes | None = None
    codings: bytes | None = None
    length = 0
    expects = lists = False
    upgrade = b""
    for name, value in headers:
        if name in _WATCHED:
            if name == b"host":
                if host is not None:
                    raise BadRequest("more than one Host")
                host = value
                check_host(value)
            elif name == b"content-length":
                if len(value) > DIGITS:
                    raise BadRequest("Content-Length has too many digits")
                length = int(value)
                if length > LARGEST:
                    raise BadRequest("Content-Length is too large")
            elif name == b"transfer-encoding":
                codings = value if codings is None else codings + b"," + value
            elif name == b"expect":
                expects = expects or value.strip(b" \t").lower() == b"100-continue"
            elif name == b"upgrade":
                upgrade += value.lower() + b","
            elif connection_listed(value) - OF_THE_CONNECTION:
                lists = True
    if host is None and http11:
        raise BadRequest("no Host")
    if codings is not None:
        _check_codings(codings, http11)
    if length or codings is not None or upgrade or lists:
        return Framing(codings is not None, length, expects and http11, upgrade, lists)
    return PLAIN


def offered(upgrade: bytes) -> tuple[bytes, ...]:
    """The protocols of `Framing.upgrade` that a backend could be asked for.

    Never h2c: requests inside of it would pass by every rule; RFC 9110 section 7.8 lets us ignore the field.
    """
    names = (name.strip(b" \t") for name in upgrade.split(b","))
    return tuple(name for name in names if name and name != b"h2c")


def _check_codings(codings: bytes, http11: bool) -> None:
    if not http11:
        raise BadRequest("Transfer-Encoding with HTTP/1.0")
    names = [name.strip(b" \t").lower() for name in codings.split(b",")]
    if names != [b"chunked"]:
        if names[-1] == b"chunked" and b"chunked" not in names[:-1] and b"" not in names:
            raise NotSupported("a transfer coding other than chunked")
        raise BadRequest("Transfer-Encoding is not chunked")


def split_target(url: bytes, method: bytes) -> tuple[bytes | None, bytes, bytes]:
    """Split a request target (RFC 9112 section 3.2) into authority, raw path and query.

    Returns:
        The authority is None but for the absolute form, where it stands for the Host field.

    Raises:
        BadRequest: for a fragment, user information, another scheme than http, or a form that *method* does not have.
    """
    if b"#" in url:
        raise BadRequest("a fragment in the request target")
    if url[:1] == b"/":
        path, _, query = url.partition(b"?")
        return None, path, query
    if url == b"*" and method == b"OPTIONS":
        return None, url, b""
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is None:
        raise BadRequest("not a request target that can be served")
    authority, path, query = absolute.groups(b"")
    check_host(authority)
    return authority, path or (b"*" if method == b"OPTIONS" and b"?" not in url else b"/"), query


def shown(text: bytes) -> str:
    """A target or a host that was refused, for the log: without query, fragment and user information.

    Where these end is not certain in what is malformed, so that too much is left out rather than too little.
    """
    text = _TAIL.split(text, maxsplit=1)[0]
    return (text if text[:1] == b"/" else text.rpartition(b"@")[2]).decode("latin-1")


def with_host(headers: Headers, host: bytes) -> Headers:
    """*headers* with *host* as their Host, in its old place, or first when there was none."""
    if not any(name == b"host" for name, _ in headers):
        return [(b"host", host), *headers]
    return [(name, host if name == b"host" else value) for name, value in headers]
