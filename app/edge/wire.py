"""Response heads as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from math import ceil
from typing import Final

from app.domain.errors import ProxyError


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode()


STATUS_LINES: Final = {status: _status_line(status) for status in range(200, 1000)}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"connection: close"
CLOSE_LINE: Final = CLOSE + b"\r\n"
CHUNKED: Final = b"transfer-encoding: chunked"


def block(lines: list[bytes]) -> bytes:
    """The head made of *lines*: status line and fields.

    Raises ValueError when one of them has CR, LF or NUL in it: it would be read as more than one field.
    """
    joined = b"".join(lines)
    if 10 in joined or 13 in joined or 0 in joined:  # as bytes they would be taken for numbers first, and that raises
        raise ValueError("a response field has CR, LF or NUL in it")
    lines += (b"", b"")
    return b"\r\n".join(lines)


def interim(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A 1xx response. Raises ValueError as `block` does."""
    return block([_status_line(status), *map(b": ".join, fields)])


def refusal(error: ProxyError, defaults: Iterable[tuple[bytes, bytes]], *, head_only: bool) -> bytes:
    """The short answer to a request that the app does not see, or failed to answer; the connection closes after it."""
    status = error.status
    body = f"{status} {HTTPStatus(status).phrase}{': ' if error.detail else ''}{error.detail}\n".encode()
    fields = dict(defaults)
    fields.setdefault(b"date", formatdate(usegmt=True).encode())
    fields |= {b"content-type": b"text/plain; charset=utf-8", b"content-length": b"%d" % len(body)}
    if status == 405:  # RFC 9110 section 15.5.6
        fields[b"allow"] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    if error.retry_after is not None:
        fields[b"retry-after"] = b"%d" % max(1, ceil(error.retry_after))
    head = block([STATUS_LINES[status], *map(b": ".join, fields.items()), CLOSE])
    return head if head_only else head + body
