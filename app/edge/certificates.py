"""The certificates of the listeners: by the name that clients ask for, and renewed while we run.

What changes is not changed in place: a new context is made of the files, and new connections are of that one.
Connections that are open keep theirs, and so do sessions that clients may resume, which are of the first certificate's:
they end when it is replaced, as they must when its authorities do not know a client any more.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from app.domain.certificate import dns_names, issued
from app.edge.tls import Guard
from app.renewal import File, Renewal, certificates


class Loaded(NamedTuple):
    """A context with a certificate, and the DNS names that this is for."""

    context: ssl.SSLContext
    names: tuple[str, ...]


class Front(ssl.SSLContext):
    """What listeners are given: each new connection is of the context that is there *now*.

    Event loops make every connection by `wrap_bio`.
    """

    now: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A connection of the context that is there now."""
        return self.now.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def certificate(
    make: Callable[[], ssl.SSLContext], cert: File, key: File | None = None, password: str | None = None
) -> Renewal[Loaded]:
    """The certificate in PEM files, in a context of its own.

    Args:
        make: that context, without one.

        cert: its file.

        key: that of its key; None where both stand in one.

        password: of the key.

    Raises:
        ValueError: there is no certificate in the file.

        OSError: it cannot be read, or the key is not its own.
    """

    def load() -> tuple[Loaded, float]:
        der = ssl.PEM_cert_to_DER_cert(certificates(cert)[0])
        context = make()
        context.load_cert_chain(cert, key, lambda: password or "")  # a function: OpenSSL does not ask at the terminal
        return Loaded(context, dns_names(der)), issued(der).ends

    return Renewal([cert, key], load)


class ServerNames:
    """The certificates of a listener, and the one for each name that clients ask for (SNI, RFC 6066 section 3).

    Args:
        certificates: the first is for who asks for none; of two that are for one name, the earlier is served.

        guard: of their contexts.

        strict: no connection for a client that asks for another name, or for none; else it gets the first.

    Attributes:
        front: the context for the listener.
    """

    def __init__(self, certificates: Sequence[Renewal[Loaded]], guard: Guard, *, strict: bool) -> None:
        self._certificates = certificates
        self._guard = guard
        self._strict = strict
        self.front = Front(ssl.PROTOCOL_TLS_SERVER)
        self._follow()

    @property
    def renewals(self) -> Iterable[Renewal[Any]]:
        """All that is read again."""
        guarded = (self._guard.authorities,) if self._guard.authorities is not None else ()
        return (*self._certificates, *guarded)

    async def watch(self, interval: float) -> None:
        """Look at the files every *interval* seconds, for ever."""
        while True:
            await asyncio.sleep(interval)
            self.look()

    def look(self) -> None:
        """Have what has changed served to new connections."""
        authorities = self._guard.authorities
        if authorities is not None and authorities.look():
            for each in self._certificates:
                each.again()
        changed = [each.look() for each in self._certificates]  # at all of them
        if any(changed):
            self._follow()

    def find(self, name: str | None) -> ssl.SSLContext | None:
        """The context for *name*; a wildcard is for one label (RFC 9525 section 6.3)."""
        known = (name or "").lower().removesuffix(".")
        return self._by_name.get(known) or self._by_name.get("*." + known.partition(".")[2])

    def _choose(self, connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        connection.asked_for = name  # nothing else keeps it
        context = self.find(name)
        if context is not None:
            connection.context = context
        elif self._strict:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    def _follow(self) -> None:
        loaded = [each.value for each in self._certificates]
        self._by_name = {name: each.context for each in reversed(loaded) for name in each.names}
        self.front.now = loaded[0].context
        self.front.now.sni_callback = self._choose
