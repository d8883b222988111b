"""A request head as another server than ours hands it over: can it go on as HTTP/1.1, and how long is its body?

Such a server has parsed it, each in its own way: one takes two Hosts, one none, one a Content-Length without a body.
What is right in HTTP/2 (RFC 9113 section 8) and has to be put otherwise in HTTP/1.1 is put so here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.domain.errors import BadRequest, NotSupported
from app.domain.headers import DIGITS
from app.domain.hosts import check_host
from app.domain.request_head import CHUNKED

if TYPE_CHECKING:
    from app.domain.headers import Field, Fields

UNSAID = -2
"""Length of a body that only shows when it comes: HTTP/2 frames it without a word in the head."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_ENDS = re.compile(rb"[\r\n\0]")
_SPACES = re.compile(rb"[\x00-\x20\x7f]")
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"upgrade"))


def taken_over(method: str, query: bytes, headers: Fields, version: str) -> tuple[Fields, int]:
    """The fields of a request as they go on.

    Args:
        method: as it came.

        query: what is behind the question mark; the path is looked at by whoever routes.

        headers: names in lower case.

        version: "1.0", "1.1" or "2".

    Returns:
        fields: cookies in one (RFC 9113 section 8.2.3), one Host, and of HTTP/2 nothing that belongs to a connection.

        length: of the body in bytes, CHUNKED, or UNSAID.

    Raises:
        BadRequest: where it could be read in two ways, or would be more than one request further on.

        NotSupported: for a transfer coding other than chunked.
    """
    if not _TOKEN.fullmatch(method):
        raise BadRequest("not a method")
    if _SPACES.search(query):
        raise BadRequest("the query holds a character that no query may hold unescaped")
    http2 = version >= "2"
    fields: Fields = []
    cookies: list[bytes] = []
    host: Field | None = None
    length: int | None = None
    for field in headers:
        name, value = field
        if not _NAME.fullmatch(name) or _ENDS.search(value):
            raise BadRequest("not a header field")
        if name == b"host":
            if host is not None:
                raise BadRequest("more than one Host")
            check_host(value)
            host = field
        elif name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > DIGITS:
                raise BadRequest("Content-Length is not one number, or not alone")
            length = int(value)
        elif name == b"transfer-encoding":
            if length is not None or http2:
                raise BadRequest("Transfer-Encoding beside another, or where there is none")
            if value.strip(b" \t").lower() != b"chunked":
                raise NotSupported("a transfer coding other than chunked")
            length = CHUNKED
        elif name == b"cookie" and http2:
            cookies.append(value)
            continue
        elif http2 and name in _OF_CONNECTIONS:
            continue
        fields.append(field)
    if host is None and version != "1.0":
        raise BadRequest("no Host")
    if cookies:
        fields.append((b"cookie", b"; ".join(cookies)))
    if length is None:
        length = UNSAID if http2 else 0
    return fields, length
