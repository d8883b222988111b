"""The PROXY header of a request: who its client is, for a backend that hears it before anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.domain.proxy_header import Tls, between, header_1, header_2

if TYPE_CHECKING:
    from app.domain.exchange import Exchange
    from app.engine.asgi import ClientConnection, Scope
    from settings.pools import ProxyHeaderSettings


LONGEST_NAME = 64
"""Letters of a common name (RFC 5280, upper bound); those who take more are cut off."""


def introduction(settings: ProxyHeaderSettings, scope: Scope, connection: ClientConnection) -> bytes:
    """The header that names the client of this exchange, and the end of its connection that is ours.

    The client is who layers before say it is. Where that is not the peer, but whom a trusted proxy names in a field,
    its port is not known and told as 0.
    """
    exchange: Exchange = scope["lb.exchange"]
    host, port = scope.get("server") or ("", None)
    peer = scope.get("client")
    client_port = peer[1] if peer and exchange.client == exchange.peer else 0
    both = between(exchange.client, client_port, host, port or 0)
    if settings.version == 1:
        return header_1(both)
    tls = connection.tls if settings.tell else None
    if tls is None:
        return header_2(both)
    authority = (getattr(tls, "asked_for", None) or "") if "authority" in settings.tell else ""
    return header_2(both, authority, _about(tls) if "tls" in settings.tell else None)


def _about(tls: Any) -> Tls:
    certificate = tls.getpeercert() or {}
    names = (value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName")
    return Tls(tls.version() or "", (tls.cipher() or ("",))[0], bool(certificate), next(names, "")[:LONGEST_NAME])
