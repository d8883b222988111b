"""Certificates of an authority that lives as long as the tests."""

from __future__ import annotations

import functools
import ssl
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


@functools.cache
def authority() -> trustme.CA:
    """The one authority that the tests trust."""
    return trustme.CA()


class Certificate:
    """A certificate for localhost, or for *names*, in two files as uvicorn takes them."""

    def __init__(self, directory: Path, *names: str, subject: str | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.names = names or ("localhost", "127.0.0.1")
        self._subject = subject
        self.cert, self.key, self.ca = directory / "cert.pem", directory / "key.pem", directory / "ca.pem"
        self.pkcs8 = directory / "key.pkcs8.pem"  # the same key, in the only form that granian reads
        authority().cert_pem.write_to_path(self.ca)
        self.renew()

    def renew(self, *names: str, until: datetime | None = None) -> None:
        """Write a new certificate and its key over the old ones, from now on for *names* when some are given."""
        self.names = names or self.names
        issued = authority().issue_cert(*self.names, common_name=self._subject, not_after=until)
        issued.private_key_pem.write_to_path(self.key)
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.pkcs8.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.issued = issued

    @property
    def der(self) -> bytes:
        """The certificate itself."""
        return ssl.PEM_cert_to_DER_cert(self.issued.cert_chain_pems[0].bytes().decode())

    @property
    def flags(self) -> tuple[str, ...]:
        """What uvicorn is told."""
        return ("--ssl-certfile", str(self.cert), "--ssl-keyfile", str(self.key))

    def server(self) -> ssl.SSLContext:
        """For a backend of ours that speaks TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        return context


def handshake(
    server: ssl.SSLContext, theirs: ssl.SSLContext, name: str | None = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake in memory, the client's first, with what a client sends behind it. Raises SSLError."""
    c_in, c_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = theirs.wrap_bio(c_in, c_out, server_hostname=name)
    far = server.wrap_bio(c_out, c_in, server_side=True)
    for end in (near, far, near, far):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    near.do_handshake()
    return near, far


def client(**changes: object) -> ssl.SSLContext:
    """A client that trusts the authority; *changes* are attributes to set, `ciphers` goes to set_ciphers."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if "ciphers" in changes:
        context.set_ciphers(str(changes.pop("ciphers")))
    for name, value in changes.items():
        setattr(context, name, value)
    return context
