"""TLS towards the client: versions and suites, who may come in, and who that is."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import partial
from typing import Any

from app.domain.certificate import issued
from app.domain.client_certificate import certified, described
from app.edge.link import Identity
from app.renewal import Renewal, authorities
from settings.tls import ClientCertificateSettings

SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption, as all of TLS 1.3; Python would offer CBC too."""


SPOKEN = ("http/1.1",)
"""By our edge, in the words of ALPN (RFC 7301)."""


def policy(context: ssl.SSLContext, *, suites: str = SUITES, protocols: Sequence[str] = SPOKEN) -> None:
    """Let *context* speak TLS 1.2 and newer only, with *suites* (OpenSSL's notation), and *protocols* by ALPN."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suites)
    context.set_alpn_protocols(protocols)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


class Guard:
    """Whom a listener lets in by their certificates; nobody is asked for one where *client* names no authorities.

    Attributes:
        authorities: those that are in force; None where nobody is asked.

    Raises OSError, ValueError when they cannot be used.
    """

    def __init__(self, client: ClientCertificateSettings) -> None:
        self._client = client
        self.authorities: Renewal[str] | None = None
        if (file := client.ca) is not None:
            self.authorities = Renewal([file], lambda: authorities(file))

    def stand(self, context: ssl.SSLContext) -> None:
        """Let *context*, a new one, ask clients for a certificate. Raises SSLError."""
        if self.authorities is None:
            return
        context.load_verify_locations(cadata=self.authorities.value)
        context.verify_mode = ssl.CERT_REQUIRED if self._client.mode == "required" else ssl.CERT_OPTIONAL
        if self._client.chain:  # a session that is resumed has the certificate, but not what it was verified by
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0


def identify(connection: Any, *, chain: bool = False) -> Identity:
    """What makes a request say who its client is, by the `ssl.SSLObject` of its connection; None is plain TCP.

    With its *chain*, too, when that is wanted.
    """
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    if der is None:
        return partial(certified, fields=[])
    return partial(certified, fields=described(der, connection.getpeercert(), _above(connection) if chain else ()))


def _above(connection: Any) -> list[bytes]:
    """The certificates by which that of the client was verified, in DER, without the authority's own.

    Of a session that is resumed it is not known any more: what the client has sent once is not what was found good.
    """
    of_python = getattr(connection, "_sslobj", connection)  # before 3.13 only the object inside has it
    found = of_python.get_verified_chain() or ()
    above = [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in found[1:]]
    return [der for der in above if not issued(der).by_itself]
