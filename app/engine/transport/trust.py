"""Whom we trust: one SSLContext per trust setting, for it takes 30 ms and more to make one."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

from settings.pools import BackendTlsSettings


class Trust(ssl.SSLContext):
    """A context for connections to backends, which offers each host its last session again.

    A resumed handshake needs no certificates and no signatures (RFC 8446 section 2.2). asyncio and uvloop have no
    argument for a session, but make every connection by `wrap_bio`.
    """

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the context's own, with the session that is remembered for *server_hostname*."""
        if session is None and isinstance(server_hostname, str):
            session = self.sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, server_hostname: str, connection: Any) -> None:
        """Keep the session of an `ssl.SSLObject` that has carried a response: its tickets have come by then."""
        if (session := getattr(connection, "session", None)) is not None:
            self.sessions[server_hostname] = session


@cache
def context(tls: BackendTlsSettings, alpn: tuple[str, ...] = ("http/1.1",)) -> Trust:
    """The context for connections to backends: TLS 1.2 or later, verified by the system's store or by *tls.ca*.

    The protocols of *alpn* are offered, the first one first.

    Raises:
        OSError, ssl.SSLError: when a file cannot be read, or a key is not that of its certificate.
    """
    made = Trust(ssl.PROTOCOL_TLS_CLIENT)
    made.sessions = {}
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(alpn)
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        made.load_verify_locations(cafile=str(tls.ca))
    else:
        made.load_default_certs()
    if tls.cert:
        made.load_cert_chain(
            tls.cert, tls.key, password=lambda: ""
        )  # a key with a password is refused, not asked about
    return made
