"""Our own answers to calls of gRPC, which look for what went wrong in `grpc-status`; and its own way to ask for health.

Sources: "gRPC over HTTP2" (PROTOCOL-HTTP2.md of grpc), Trailers-Only; its table of statuses for what is no gRPC
(http-grpc-status-mapping.md); Envoy answers so, too;
"GRPC Health Checking Protocol" (health-checking.md).
"""

from __future__ import annotations

from app.domain.errors import ProxyError, TotalTimeout
from app.domain.headers import Fields

CONTENT_TYPE = b"application/grpc"

HEALTH = "/grpc.health.v1.Health/Check"

DEADLINE_EXCEEDED = 4
UNKNOWN = 2
_STATUSES = {400: 13, 401: 16, 403: 7, 404: 12, 413: 8, 429: 14, 431: 8, 500: 13, 501: 12, 502: 14, 503: 14, 504: 14}
"""Of HTTP -> of gRPC. 413 and 431 are RESOURCE_EXHAUSTED, 500 INTERNAL, 501 UNIMPLEMENTED: not in that table, and known
better."""
_REFUSED = {b"5": "it knows no such service", b"12": "it has no grpc.health.v1.Health"}
_HEALTHS = {b"": "UNKNOWN", b"\x08\x00": "UNKNOWN", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


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


def question(service: str) -> bytes:
    """The body of a call of HEALTH that asks for *service*, of at most 127 octets; "" is the whole server."""
    name = service.encode()
    asked = b"\x0a%c%b" % (len(name), name) if name else b""
    return b"\0%b%b" % (len(asked).to_bytes(4, "big"), asked)


def unwell(fields: Fields, body: bytes) -> str:
    """Why the answer to such a call, head and trailers in *fields*, does not say SERVING; "" when it does."""
    status = next((value for name, value in fields if name == b"grpc-status"), b"none")
    if status != b"0":
        return _REFUSED.get(status) or f"grpc-status {status.decode('latin-1')[:20]}"
    health = body[5:]
    return "" if health == b"\x08\x01" else f"it is {_HEALTHS.get(health, 'in no state that is known')}"


def _message(text: str) -> bytes:
    """*text* as `grpc-message` has it: what is not printable ASCII, and the percent sign, as percent and two digits."""
    return b"".join(
        bytes((octet,)) if 0x20 <= octet < 0x7F and octet != 0x25 else b"%%%02X" % octet for octet in text.encode()
    )
