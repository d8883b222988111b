"""Whom we trust: one SSLContext per trust setting, for it takes 30 ms and more to make one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from app.domain.certificate import issued
from app.renewal import Renewal, authorities, certificates
from settings.pools import BackendTlsSettings

if TYPE_CHECKING:
    from app.domain.pool import Pool
    from app.engine.topology import Topology


class Trust(ssl.SSLContext):
    """A context for connections to backends, which offers each host its last session again.

    A resumed handshake needs no certificates and no signatures (RFC 8446 section 2.2). asyncio and uvloop have no
    argument for a session, but make every connection by `wrap_bio`.

    Attributes:
        renewal: what connections are really made of, made anew when its files have changed.

        sessions: the last of each host, and the context that it is of, for that takes no other's.
    """

    renewal: Renewal[ssl.SSLContext]
    sessions: dict[str, tuple[ssl.SSLContext, ssl.SSLSession]]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the context's own, with the session that is remembered for *server_hostname*."""
        now = self.renewal.value
        if session is None and isinstance(server_hostname, str):
            of, known = self.sessions.get(server_hostname, (now, None))
            session = known if of is now else None
        return now.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, server_hostname: str, connection: Any) -> None:
        """Keep the session of an `ssl.SSLObject` that has carried a response: its tickets have come by then."""
        if (session := getattr(connection, "session", None)) is not None:
            self.sessions[server_hostname] = connection.context, session


_known: dict[tuple[BackendTlsSettings, tuple[str, ...]], Trust] = {}


def context(tls: BackendTlsSettings, alpn: tuple[str, ...] = ("http/1.1",)) -> Trust:
    """The context for connections to backends: TLS 1.2 or later, verified by the system's store or by *tls.ca*.

    The protocols of *alpn* are offered, the first one first.

    Raises:
        OSError, ValueError: when a file cannot be used, or a key is not that of its certificate.
    """
    found = _known.get((tls, alpn))
    if found is None:
        found = Trust(ssl.PROTOCOL_TLS_CLIENT)
        found.renewal = Renewal([tls.cert or tls.ca, tls.key, tls.cert and tls.ca], lambda: _made(tls, alpn))
        found.sessions = {}
        _known[tls, alpn] = found
    return found


def renewals(pools: Iterable[Pool]) -> list[Renewal[ssl.SSLContext]]:
    """What of those of *pools* is made of files."""
    used = dict.fromkeys(pool.settings.tls for pool in pools if pool.settings.tls.cert or pool.settings.tls.ca)
    return [one.renewal for (tls, _), one in _known.items() if tls in used]


async def watch(topology: Topology, interval: float) -> None:
    """Look at the files of the pools that there are, every *interval* seconds, for ever.

    New connections are made as the files say; open ones go on.
    """
    while True:
        await asyncio.sleep(interval)
        for renewal in renewals(topology.pools.values()):
            await asyncio.to_thread(renewal.look)  # the system's store takes its time


def _made(tls: BackendTlsSettings, alpn: tuple[str, ...]) -> tuple[ssl.SSLContext, float]:
    """A new one, and when its certificate or the last of its authorities ends, in wall-clock seconds."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(alpn)
    ends = inf
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif tls.ca:
        text, ends = authorities(tls.ca)
        made.load_verify_locations(cadata=text)
    else:
        made.load_default_certs()
    if tls.cert:
        ends = min(ends, issued(ssl.PEM_cert_to_DER_cert(certificates(tls.cert)[0])).ends)
        # a key with a password is refused, not asked about
        made.load_cert_chain(tls.cert, tls.key, password=lambda: "")
    return made, ends
