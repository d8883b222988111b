"""TLS towards the client: versions and suites, certificates by name, renewed while we run, and those of clients."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from app.domain.certificate import dns_names, expires
from app.domain.client_certificate import certified, described
from app.edge.link import Identity
from settings.tls import CertificateSettings, ClientCertificateSettings

File = str | PathLike[str]
Stamp = tuple[tuple[int, int, int], ...]

SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption, as all of TLS 1.3; Python would offer CBC too."""

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")

log = logging.getLogger("l7lb.tls")


def policy(context: ssl.SSLContext, *, suites: str = SUITES) -> None:
    """Let *context* speak TLS 1.2 and newer only, with *suites* (OpenSSL's notation), and only HTTP/1.1 by ALPN."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suites)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


def ask(context: ssl.SSLContext, client: ClientCertificateSettings) -> None:
    """Let *context* ask clients for a certificate, when *client* names authorities. Raises OSError."""
    if client.ca is not None:
        context.load_verify_locations(cafile=client.ca)
        context.verify_mode = ssl.CERT_REQUIRED if client.mode == "required" else ssl.CERT_OPTIONAL


def identify(connection: Any) -> Identity:
    """What makes a request say who its client is, by the `ssl.SSLObject` of its connection; None is plain TCP."""
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    fields = described(der, connection.getpeercert()) if der is not None else []
    return partial(certified, fields=fields)


class Certificate:
    """The certificate of a context, and the files that it comes from.

    Args:
        context: what the listeners use; new connections get what is loaded into it.

        cert, key: PEM files; the key may stand in the certificate's file.

        password: of the key.

    Attributes:
        names: the DNS names that it is for.

    Raises ValueError when there is no certificate in the file, OSError when it cannot be read.
    """

    def __init__(
        self, context: ssl.SSLContext, cert: File, key: File | None = None, password: str | None = None
    ) -> None:
        self._context = context
        self._files = tuple(file for file in (cert, key) if file)
        self._chain = (cert, key, lambda: password or "")  # a function, so that OpenSSL does not ask at the terminal
        self._loaded = self._seen = self._stamp()
        self._failed = False
        self.names, self._expires = _said_by(cert)

    @property
    def context(self) -> ssl.SSLContext:
        """Where it is loaded."""
        return self._context

    @classmethod
    def load(cls, files: CertificateSettings, client: ClientCertificateSettings, suites: str = SUITES) -> Certificate:
        """One with a context of its own. Raises OSError, ValueError, when it cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        policy(context, suites=suites)
        ask(context, client)
        context.load_cert_chain(files.cert, files.key, lambda: "")
        return cls(context, files.cert, files.key)

    def look(self) -> bool:
        """Load the files if they have changed, fit together and are no worse; else keep the old, and say so once.

        Files that are still being written are tried again at each look. Returns whether it has loaded them.
        """
        stamp = self._stamp()
        if stamp == self._loaded:
            return False
        if stamp != self._seen:
            self._failed = False
        self._seen = stamp
        try:
            # first into a context of its own: a key that does not fit would leave half of the pair in the live one
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._chain)
            names, until = _said_by(self._chain[0])
            if until <= time.time() < self._expires:
                raise ValueError("it has expired, and that has not")
            self._context.load_cert_chain(*self._chain)
            self.names, self._expires = names, until
        except (OSError, ValueError) as error:  # SSLError is an OSError
            if not self._failed:
                log.error("the new certificate cannot be used, the old one stays: %s: %s", self._files[0], error)
                self._failed = True
            return False
        self._loaded = stamp
        self._failed = False
        log.info("certificate loaded from %s", self._files[0])
        return True

    def _stamp(self) -> Stamp:
        stamps = []
        for file in self._files:
            try:
                found = Path(file).stat()
            except OSError:
                stamps.append((0, 0, 0))
            else:
                stamps.append((found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(stamps)


class ServerNames:
    """The certificates of a listener, and the one for each name that clients ask for (SNI, RFC 6066 section 3).

    Args:
        certificates: the first is in the listener's own context; of two that are for one name, the earlier is served.

        strict: no connection for a client that asks for another name, or for none; else it gets the first.
    """

    def __init__(self, certificates: Sequence[Certificate], *, strict: bool) -> None:
        self._certificates = certificates
        self._strict = strict
        self._by_name = self._gathered()
        if strict or len(certificates) > 1:
            certificates[0].context.sni_callback = self._choose

    async def watch(self, interval: float) -> None:
        """Look at the files every *interval* seconds, for ever."""
        while True:
            await asyncio.sleep(interval)
            self.look()

    def look(self) -> None:
        """Load the certificates that have changed."""
        if sum(certificate.look() for certificate in self._certificates):  # at all of them
            self._by_name = self._gathered()

    def find(self, name: str | None) -> ssl.SSLContext | None:
        """The context for *name*; a wildcard is for one label (RFC 9525 section 6.3)."""
        known = (name or "").lower().removesuffix(".")
        return self._by_name.get(known) or self._by_name.get("*." + known.partition(".")[2])

    def _choose(self, connection: Any, name: str | None, _: ssl.SSLContext) -> int | None:
        context = self.find(name)
        if context is not None:
            connection.context = context
        elif self._strict:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    def _gathered(self) -> dict[str, ssl.SSLContext]:
        return {name: made.context for made in reversed(self._certificates) for name in made.names}


def _said_by(file: File) -> tuple[tuple[str, ...], float]:
    """The names of the first certificate in *file*, and when it expires. Raises OSError, ValueError."""
    found = _PEM.search(Path(file).read_text("latin-1"))
    if found is None:
        raise ValueError("there is no certificate in it")
    der = ssl.PEM_cert_to_DER_cert(found[0])
    return dns_names(der), expires(der)
