"""Our own answers to calls of gRPC, which look for what went wrong in `grpc-status` and not in the status of HTTP.

Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of grpc), Trailers-Only; its table of statuses for what is no gRPC
(http-grpc-status-mapping.md); Envoy answers so, too.
"""

from __future__ import annotations

from app.domain.errors import ProxyError, TotalTimeout
from app.domain.headers import Fields

CONTENT_TYPE = b"application/grpc"

DEADLINE_EXCEEDED = 4
UNKNOWN = 2
_STATUSES = {400: 13, 401: 16, 403: 7, 404: 12, 413: 8, 429: 14, 431: 8, 500: 13, 502: 14, 503: 14, 504: 14}
"""Of HTTP -> of gRPC. 413 and 431 are RESOURCE_EXHAUSTED, 500 INTERNAL: what is not in that table, and better known."""


def called(content_type: bytes) -> bool:
    """Whether a request of this `Content-Type` is a call of gRPC; gRPC-Web is not, it has its trailers in the body."""
    return content_type.startswith(CONTENT_TYPE) and content_type[len(CONTENT_TYPE) :][:1] in (b"", b"+", b";")


def status_of(error: ProxyError) -> int:
    """The status of gRPC for *error*."""
    return DEADLINE_EXCEEDED if isinstance(error, TotalTimeout) else _STATUSES.get(error.status, UNKNOWN)


def answer(error: ProxyError, proxy_status: bytes) -> Fields:
    """The head that is the whole answer to a call that came to *error*; its status of HTTP is 200."""
    return [
        (b"content-type", CONTENT_TYPE),
        (b"grpc-status", b"%d" % status_of(error)),
        (b"grpc-message", _message(error.detail or error.error_type)),
        (b"proxy-status", proxy_status),
    ]


def _message(text: str) -> bytes:
    """*text* as `grpc-message` has it: what is not printable ASCII, and the percent sign, as percent and two digits."""
    return b"".join(
        bytes((octet,)) if 0x20 <= octet < 0x7F and octet != 0x25 else b"%%%02X" % octet for octet in text.encode()
    )
