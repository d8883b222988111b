"""Every way an exchange can fail: its status, its side, and whether the backend may have seen the request.

The error types are those of RFC 9209 section 2.3, so that the log line, the metric label and
`Proxy-Status` agree. The status is ours: a balancer answers as HAProxy and nginx do. It is long because it is the list.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

Side = Literal["client", "proxy", "backend"]


class ProxyError(Exception):
    """What went wrong with an exchange.

    Attributes:
        status: what the client gets; 499 is only logged, for a client that has gone.

        error_type: RFC 9209 section 2.3.

        side: who is to blame.

        sent: whether the backend may have seen the request; False makes another attempt always safe.

        begun: whether some of a response had come before; then no other attempt follows.

        retry_after: seconds, for the `Retry-After` of the answer; None leaves the field out.
    """

    status: ClassVar[int] = 502
    error_type: ClassVar[str] = "proxy_internal_error"
    side: ClassVar[Side] = "proxy"
    sent: bool = False
    begun: bool = False
    retry_after: float | None = None

    def __init__(self, detail: str = "", *, sent: bool | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if sent is not None:
            self.sent = sent
        if retry_after is not None:
            self.retry_after = retry_after


# The client's side...


class BadRequest(ProxyError):
    """The request is malformed, or can be read in two ways."""

    status = 400
    error_type = "http_request_error"
    side = "client"


class HeadTimeout(BadRequest):
    """The request head did not arrive in time."""

    status = 408


class BodyTimeout(BadRequest):
    """The request body stopped arriving."""

    status = 408


class BodyTooLarge(BadRequest):
    """The request body is over `edge.max_body`, or what its group says."""

    status = 413


class HeadTooLarge(BadRequest):
    """The request head is over `edge.max_header_bytes` or `edge.max_headers`."""

    status = 431


class MethodNotAllowed(BadRequest):
    """CONNECT and TRACE are not served."""

    status = 405


class NotSupported(BadRequest):
    """A transfer coding or an upgrade that is not implemented."""

    status = 501


class ClientGone(ProxyError):
    """The client closed its connection before the response was complete."""

    status = 499
    error_type = "connection_terminated"
    side = "client"


# Our own side...


class TunnelIdle(ProxyError):
    """Nothing has come through a tunnel for too long, either way."""

    error_type = "connection_read_timeout"


class TunnelClosed(ProxyError):
    """A tunnel was closed by us: we stop, or its backend is taken away."""

    error_type = "connection_terminated"


class NoRoute(ProxyError):
    """No group matches."""

    status = 404
    error_type = "destination_not_found"
    side = "client"


class NotStored(ProxyError):
    """The client wants a stored response or none (`only-if-cached`), and there is none that it could have."""

    status = 504
    error_type = "http_request_denied"
    side = "client"


class RateLimited(ProxyError):
    """The client spends faster than its rate."""

    status = 429
    error_type = "http_request_denied"
    side = "client"


class Refused(ProxyError):
    """The client may not come here, whoever it says it is."""

    status = 403
    error_type = "http_request_denied"
    side = "client"


class Unauthorized(Refused):
    """The client has not said who it is, or could not show it. RFC 9110 wants a `WWW-Authenticate` field with it."""

    status = 401


class TooManyFailures(Refused):
    """The client has tried too often to be somebody."""

    status = 429


class AuthAway(ProxyError):
    """Who could say whether the client may come cannot be asked."""

    status = 503
    error_type = "destination_unavailable"
    retry_after = 1.0


class NoBackend(ProxyError):
    """No backend of the pool is available."""

    status = 503
    error_type = "destination_unavailable"
    retry_after = 1.0


class Full(NoBackend):
    """Backends are available, and all are at their limit."""


class Exhausted(ProxyError):
    """The system has nothing left to make a connection to the backend with: descriptors, ports, memory."""

    status = 503
    error_type = "connection_limit_reached"
    retry_after = 1.0


class InternalError(ProxyError):
    """A defect of ours; the log has the traceback."""

    status = 500
    error_type = "proxy_internal_error"


# The backend's side...


class UpstreamError(ProxyError):
    """An attempt failed at the backend."""

    side = "backend"
    sent = True


class ConnectFailed(UpstreamError):
    """The connection could not be made."""

    error_type = "connection_refused"
    sent = False


class ConnectTimeout(ConnectFailed):
    """The connection was not made in time."""

    status = 504
    error_type = "connection_timeout"


class NameNotResolved(ConnectFailed):
    """The backend's host name has no address."""

    error_type = "dns_error"


class AddressProhibited(ConnectFailed):
    """The backend's address is in no network that it may be in."""

    error_type = "destination_ip_prohibited"


class TlsFailed(ConnectFailed):
    """The TLS handshake with the backend failed."""

    error_type = "tls_protocol_error"


class CertificateRejected(TlsFailed):
    """The backend's certificate is not trusted."""

    error_type = "tls_certificate_error"


class ConnectionTerminated(UpstreamError):
    """The backend closed or reset the connection before its response head was complete."""

    error_type = "connection_terminated"


class StaleConnection(ConnectionTerminated):
    """A kept connection turned out to be closed: not one byte came back on it."""


class StreamRefused(ConnectionTerminated):
    """The backend says that it has not looked at the request: one too many, or its connection is about to end."""

    sent = False


class ResponseTimeout(UpstreamError):
    """The response head did not arrive in time."""

    status = 504
    error_type = "http_response_timeout"


class ResponseIdle(UpstreamError):
    """The response stopped arriving, or the backend stopped reading the request."""

    status = 504
    error_type = "connection_read_timeout"


class TotalTimeout(UpstreamError):
    """The exchange took longer than `timeouts.total`."""

    status = 504
    error_type = "http_response_timeout"


class ResponseInvalid(UpstreamError):
    """The response is not HTTP, or can be read in two ways."""

    error_type = "http_protocol_error"


class ResponseHeadTooLarge(ResponseInvalid):
    """The response head is over 64 KiB or 200 fields."""

    error_type = "http_response_header_section_size"


class ResponseIncomplete(UpstreamError):
    """The response ended before its end."""

    error_type = "http_response_incomplete"


# No failure, though it leaves by the same door...


class Answered(Exception):
    """A layer has the answer, and nobody further in is asked.

    Attributes:
        status: of the response.

        fields: of the response, but for what every response gets.

        body: of the response.
    """

    def __init__(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.fields = fields
        self.body = body
