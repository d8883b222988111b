"""The request head that the backend gets, but for its first line: what of the client's goes on, what we add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.domain.headers import (
    HOP_BY_HOP,
    OF_THE_CONNECTION,
    Field,
    Fields,
    alike,
    connection_listed,
    takes_trailers,
    without_listed,
)
from app.domain.trace import Ids, accepted_request_id, new_traceparent, valid_traceparent

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.domain.fields import FieldRules
    from app.domain.forwarded import ForwardedRule
    from settings.telemetry import ForwardedSettings

CHUNKED: Final = -1


class RequestHeadRule:
    """How the head is made, prepared for one group."""

    __slots__ = ("_fields", "_forwarded", "_ids", "_request_id", "_special", "_trace", "_via")

    def __init__(
        self, settings: ForwardedSettings, forwarded: ForwardedRule, fields: FieldRules | None, ids: Ids
    ) -> None:
        self._forwarded = forwarded
        self._fields = fields
        self._request_id = settings.request_id
        self._trace = settings.traceparent
        self._via = b"via: 1.1 %b\r\n" % settings.via.encode() if settings.via else b""
        self._ids = ids
        own = {b"host", b"content-length", b"expect"}
        if self._request_id:
            own |= {b"x-request-id"}
        if self._trace != "pass":
            own |= {b"traceparent"}
        self._special = alike(HOP_BY_HOP | forwarded.names | own)

    def build(self, exchange: Exchange, headers: Fields) -> tuple[bytes, bytes, int]:
        """The head for *headers* as the client sent them; gives the exchange its request id.

        Returns:
            host: value of the Host field; b"" when the client sent none (HTTP/1.0).

            lines: all other field lines, each with its CRLF.

            length: of the body in bytes; 0 without a body, CHUNKED when it is not known before its end.
        """
        came = headers
        if self._fields is not None:
            headers = self._fields.apply(headers)
        special = self._special
        lines: list[bytes] = []
        sent: list[Field] = []
        host = request_id = trace = connection = b""
        length = 0
        trailers = False
        for field in headers:
            name = field[0]
            if name not in special:
                lines.append(b"%b: %b\r\n" % (name, field[1]))  # not "% field": compiled, that is slower
            elif name == b"host":
                host = field[1]
            elif name == b"connection":
                connection = field[1] if not connection else b"%b,%b" % (connection, field[1])
            elif name == b"content-length":
                if length != CHUNKED:
                    length = int(field[1])
                    lines.append(b"content-length: %d\r\n" % length)
            elif name == b"transfer-encoding":
                length = CHUNKED
            elif name == b"x-request-id":
                request_id = field[1]
            elif name == b"traceparent":
                trace = field[1]
            elif name == b"te":
                trailers = trailers or takes_trailers((field,))
            else:
                sent.append(field)
        if connection and connection_listed(connection) - OF_THE_CONNECTION:
            return self.build(exchange, without_listed(came))
        if length == CHUNKED:
            lines = [line for line in lines if not line.startswith(b"content-length:")]
            lines.append(b"transfer-encoding: chunked\r\n")
        if trailers:
            lines.append(b"te: trailers\r\nconnection: te\r\n")
        lines.append(self._forwarded.lines(exchange, sent))
        drawn = b""
        if self._request_id:
            exchange.request_id = accepted_request_id(request_id) if request_id else ""
            if not exchange.request_id:
                drawn = self._ids.draw()
                request_id = drawn[:32]
                exchange.request_id = request_id.decode()
            lines.append(b"x-request-id: %b\r\n" % request_id)
        if self._trace == "make":
            if not trace or not valid_traceparent(trace):
                trace = new_traceparent(drawn or self._ids.draw())
            lines.append(b"traceparent: %b\r\n" % trace)
        lines.append(self._via)
        return host, b"".join(lines), length
