"""Which fields go on, and how a message is framed: RFC 9110 section 7.6, RFC 9112 section 6.

Fields are `(name, value)` pairs of bytes, names in lower case, order and duplicates kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final

from app.domain.errors import ResponseInvalid

Field = tuple[bytes, bytes]
Fields = list[Field]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""RFC 9110 section 7.6.1 and what older proxies left behind."""

DIGITS: Final = 19
"""Of a Content-Length, at most: those of a signed 64 bit number. More zeros in front are not read everywhere."""
LARGEST: Final = (1 << 63) - 1
"""The largest signed 64 bit number. To who reads into one, a larger Content-Length is negative."""

CLIENT_CERTIFICATE: Final = frozenset(
    {b"client-cert", b"client-cert-chain", b"x-client-cert-subject", b"x-client-cert-names", b"x-client-cert-sha256"}
)
"""What only we say of a client, when it is asked for a certificate; the first two are of RFC 9440."""

NEVER_TRAILERS: Final = HOP_BY_HOP | CLIENT_CERTIFICATE | {
    b"host", b"content-length", b"content-encoding", b"content-type", b"content-range", b"content-location",
    b"authorization", b"www-authenticate", b"authentication-info", b"proxy-authentication-info", b"cookie",
    b"set-cookie", b"cache-control", b"expect", b"max-forwards", b"range", b"age", b"date", b"expires", b"location",
    b"retry-after", b"vary", b"warning", b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto",
    b"x-forwarded-host", b"x-forwarded-port", b"x-real-ip",
}  # fmt: skip
"""What says how a message is framed, routed, modified, authenticated or understood: RFC 9110 section 6.5.1."""

OF_THE_CONNECTION: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""What `Connection` cannot take out of a request: it goes no further anyway, or is made anew."""

_RESPONSE_SPECIAL: Final = HOP_BY_HOP | {b"content-length", b"date"}
_OWN_TOKENS: Final = frozenset({b"close", b"keep-alive", b""})
_NOTHING: Final[frozenset[bytes]] = frozenset()


def connection_listed(value: bytes) -> frozenset[bytes]:
    """The names that a `Connection` field takes with it, beside the usual tokens."""
    if value in _OWN_TOKENS or value.lower() in _OWN_TOKENS:  # nearly always
        return _NOTHING
    return frozenset(token.strip() for token in value.lower().split(b",")) - _OWN_TOKENS


def without_listed(headers: Fields) -> Fields:
    """A request's *headers* without what its `Connection` lists, which then lists only names of `OF_THE_CONNECTION`.

    That is done before anybody looks at them. Else a cache would keep by a field what was answered without it, and a
    client could have taken out on the way what we put in.
    """
    named: frozenset[bytes] = frozenset()
    kept: list[bytes] = []
    for name, value in headers:
        if name == b"connection":
            named |= connection_listed(value)
            kept += [token.strip() for token in value.split(b",")]
    named -= OF_THE_CONNECTION
    if not named:
        return headers
    fields = [field for field in headers if field[0] not in named and field[0] != b"connection"]
    rest = b", ".join([token for token in kept if token and token.lower() not in named])
    return [*fields, (b"connection", rest)] if rest else fields


def listed(name: bytes, headers: Iterable[Field]) -> bytes:
    """All values of *name* as one list, as RFC 9110 section 5.3 joins them; b"" without any."""
    return b", ".join(value for field, value in headers if field == name)


def takes_trailers(headers: Iterable[Field]) -> bool:
    """Whether a request has `TE: trailers` (RFC 9110 section 10.1.4)."""
    return b"trailers" in [part.strip().lower() for part in listed(b"te", headers).split(b",")]


def alike(names: Iterable[bytes]) -> frozenset[bytes]:
    """*names*, and all that CGI and WSGI take for them, which do not tell `_` from `-`."""
    return frozenset(
        name[0] + b"".join(rest)
        for name in (name.split(b"-") for name in names)
        for rest in product(*((b"-" + part, b"_" + part) for part in name[1:]))
    )


def spelled(names: Iterable[str]) -> frozenset[bytes]:
    """What `put` takes *names* by. To CGI and WSGI `x_user` and `x-user` are the same field, so here they are, too."""
    return frozenset(name.lower().replace("_", "-").encode() for name in names)


def put(headers: Fields, names: frozenset[bytes], added: Iterable[Field]) -> None:
    """Take the fields of *names*, which are `spelled`, out of *headers*, and put *added* there.

    That is done in place, so that whoever is further in sees it.
    """
    headers[:] = [field for field in headers if field[0].replace(b"_", b"-") not in names]
    headers += added


def response_head(headers: Fields) -> tuple[Fields, bool, bool, bool]:
    """Take the hop-by-hop fields out of a response.

    Returns:
        fields: what the client gets.

        framed: whether Content-Length or chunked says where the body ends; else the connection's end does.

        sized: whether it is Content-Length.

        dated: whether it has a Date.

    Raises:
        ResponseInvalid: when the framing can be read in two ways (RFC 9112 section 6.3), or cannot be read.
    """
    fields: Fields = []
    framed = sized = dated = False
    taken: frozenset[bytes] = frozenset()
    for field in headers:
        name = field[0]
        if name not in _RESPONSE_SPECIAL:
            fields.append(field)
        elif name == b"content-length":
            if framed:
                raise ResponseInvalid("two framing fields in the response")
            framed = sized = True
            fields.append((name, field[1].strip(b" \t")))
        elif name == b"date":
            if not dated:  # one Date, the first
                dated = True
                fields.append(field)
        elif name == b"transfer-encoding":
            if framed or field[1].strip(b" ").lower() != b"chunked":  # with a tab the parser does not know it
                raise ResponseInvalid("the response's Transfer-Encoding is not chunked alone")
            framed = True
        elif name == b"connection":
            taken |= connection_listed(field[1])
    if taken:
        fields = [field for field in fields if field[0] not in taken or field[0] == b"content-length"]
    return fields, framed, sized, dated  # no named tuple: compiled, a plain one is no object at all
