"""What the backend is told of the client: X-Forwarded-*, and Forwarded (RFC 7239)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from app.domain.client import TrustedProxies
from app.domain.headers import Field, listed

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from settings.telemetry import ForwardedSettings

_X_FORWARDED: Final = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port")
_PORTS: Final = {"http": b"80", "https": b"443"}
_REMEMBERED: Final = 4096


class ForwardedRule:
    """The fields about the client, by one rule.

    `names` are the fields that the rule takes out of the request before it adds its own. A peer that is not trusted
    has no say (`replace`), or only its `X-Forwarded-For` is continued (`append`), which is for networks where a chain
    is wanted more than the truth.
    """

    __slots__ = ("_append", "_forwarded", "_lines", "_trusted", "_x_forwarded", "names")

    def __init__(self, settings: ForwardedSettings, trusted: TrustedProxies) -> None:
        self._x_forwarded = settings.x_forwarded != "off"
        self._append = settings.x_forwarded == "append"
        self._forwarded = settings.forwarded
        self._trusted = trusted
        self._lines: dict[tuple[str, str, str], bytes] = {}
        names: set[bytes] = set()
        if self._x_forwarded:
            names |= {*_X_FORWARDED, b"x-real-ip", b"forwarded"}
        if self._forwarded:
            names |= {b"forwarded"}
        self.names = frozenset(names)

    def lines(self, exchange: Exchange, sent: Sequence[Field]) -> bytes:
        """The field lines to add; *sent* is what the client sent of `names`."""
        if sent and (self._append or exchange.peer in self._trusted):
            return self._continued(exchange, sent)
        key = (exchange.peer, exchange.scheme, exchange.host)
        lines = self._lines.get(key)
        if lines is None:
            if len(self._lines) >= _REMEMBERED:
                self._lines.clear()
            lines = self._lines[key] = self._continued(exchange, ())
        return lines

    def _continued(self, exchange: Exchange, sent: Sequence[Field]) -> bytes:
        """Our own word, behind what *sent* says already."""
        trusted = exchange.peer in self._trusted
        peer = exchange.peer.encode("latin-1")
        scheme = exchange.scheme.encode()
        host = exchange.host.encode("latin-1")
        out = b""
        if self._x_forwarded:
            chain = listed(b"x-forwarded-for", sent)
            ours = {
                b"x-forwarded-for": b"%b, %b" % (chain, peer) if chain else peer,
                b"x-forwarded-proto": scheme,
                b"x-forwarded-host": host,
                b"x-forwarded-port": _port(exchange),
            }
            for name, value in ours.items():
                told = listed(name, sent) if trusted and name != b"x-forwarded-for" else b""
                if told or value:
                    out += b"%b: %b\r\n" % (name, told or value)
            real = listed(b"x-real-ip", sent) if trusted else b""
            if real:
                out += b"x-real-ip: %b\r\n" % real
        if self._forwarded:
            chain = listed(b"forwarded", sent)
            node = b'"[%b]"' % peer if b":" in peer else (peer if peer != b"unix" else b"unknown")
            own = b'for=%b;host="%b";proto=%b' % (node, host.replace(b'"', b""), scheme)
            out += b"forwarded: %b\r\n" % (b"%b, %b" % (chain, own) if chain else own)
        return out


def _port(exchange: Exchange) -> bytes:
    """The port that the client asked for: of its Host, else the scheme's own."""
    _, colon, port = exchange.host.rpartition(":")
    return port.encode("latin-1") if colon and port.isdigit() else _PORTS.get(exchange.scheme, b"80")
