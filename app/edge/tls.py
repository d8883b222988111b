"""TLS towards the client: which versions and suites, and a certificate that is renewed while we run."""

from __future__ import annotations

import asyncio
import logging
import ssl
from os import PathLike
from pathlib import Path

File = str | PathLike[str]
Stamp = tuple[tuple[int, int, int], ...]

SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Forward secrecy and authenticated encryption, as all of TLS 1.3; Python would offer CBC too."""

log = logging.getLogger("l7lb.tls")


def policy(context: ssl.SSLContext, *, suites: str = SUITES) -> None:
    """Let *context* speak TLS 1.2 and newer only, with *suites* (OpenSSL's notation), and only HTTP/1.1 by ALPN."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suites)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE


class Certificate:
    """The certificate of a context, and the files that it comes from.

    Args:
        context: what the listeners use; new connections get what is loaded into it.

        cert, key: PEM files; the key may stand in the certificate's file.

        password: of the key.
    """

    def __init__(
        self, context: ssl.SSLContext, cert: File, key: File | None = None, password: str | None = None
    ) -> None:
        self._context = context
        self._files = tuple(file for file in (cert, key) if file)
        self._chain = (cert, key, (lambda: password or "") if password else None)
        self._loaded = self._seen = self._stamp()
        self._failed = False

    async def watch(self, interval: float) -> None:
        """Look at the files every *interval* seconds, for ever."""
        while True:
            await asyncio.sleep(interval)
            self.look()

    def look(self) -> bool:
        """Load the files if they have changed and fit together; else keep the old, and say so once. Whether it did.

        Files that are still being written are tried again at each look.
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
            self._context.load_cert_chain(*self._chain)
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
