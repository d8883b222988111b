"""What is kept of ACME, in a directory that all processes share which serve its domains.

    lock                          held by the process that orders, as long as it lives
    challenges/TOKEN              while an order is under way
    AUTHORITY/account.pem         the account's key
    AUTHORITY/DOMAIN.pem          key and chain of a certificate, or of a placeholder that it has issued itself
    AUTHORITY/DOMAIN.failed       how often in a row there was none, and until when we wait

Every file is for its owner only, and there whole or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from app.domain.certificate import Issued, issued
from app.engine.acme.files import write
from app.renewal import certificates
from settings.acme import AcmeSettings
from settings.problems import Problem, SettingsError
from settings.root import Settings

_DAY = timedelta(days=1)
_STORAGE = 'write the path of a directory that only we write to, such as "/var/lib/l7lb/acme"'


def prepare(settings: Settings) -> None:
    """See that there is something to serve for each domain. Raises SettingsError."""
    acme = settings.tls.acme
    if not acme.domains:
        return
    try:
        Storage(acme).prepare()
    except OSError as error:
        path = "tls.acme.storage"
        where, what = (
            settings.origins.get(path, "LB_TLS__ACME__STORAGE"),
            f"it cannot be used ({error.strerror or error})",
        )
        raise SettingsError([Problem(path, where, what, _STORAGE)]) from None


class Failed(NamedTuple):
    """Orders that have failed in a row: how many, and until when nobody tries again, in wall-clock seconds."""

    failures: int = 0
    until: float = 0.0


class Storage:
    """The directory that *acme* names."""

    def __init__(self, acme: AcmeSettings) -> None:
        self._acme = acme

    def prepare(self) -> None:
        """Make what is not there: a placeholder for each domain, so that something can be served. Raises OSError."""
        for directory in (self._acme.room, self._acme.challenges):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(BlockingIOError), self.locked():
            pass  # it can be written to
        for domain in self._acme.domains:
            if not self._acme.file(domain).exists():
                write(self._acme.file(domain), placeholder(domain), over=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else orders. Raises BlockingIOError when somebody does."""
        assert self._acme.storage is not None
        file = os.open(self._acme.storage / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(file)

    def issued(self, domain: str) -> Issued | None:
        """What is served for *domain*; None where that cannot be read."""
        try:
            return issued(ssl.PEM_cert_to_DER_cert(certificates(self._acme.file(domain))[0]))
        except (OSError, ValueError):
            return None

    def failed(self, domain: str) -> Failed:
        """What is known of failures."""
        try:
            failures, until = json.loads(self._failures(domain).read_bytes())
            return Failed(int(failures), float(until))
        except (OSError, ValueError, TypeError):
            return Failed()

    def fail(self, domain: str, failed: Failed) -> None:
        """Note a failure. Raises OSError."""
        write(self._failures(domain), json.dumps(failed).encode())

    def succeed(self, domain: str) -> None:
        """Forget failures."""
        self._failures(domain).unlink(missing_ok=True)

    def clear(self) -> None:
        """Take away tokens that a process which was killed has left; for who has the lock."""
        for token in self._acme.challenges.iterdir():
            token.unlink(missing_ok=True)

    def _failures(self, domain: str) -> Path:
        return self._acme.file(domain).with_suffix(".failed")


def placeholder(domain: str) -> bytes:
    """Key and certificate of *domain*, which it has issued itself; nobody trusts it."""
    from cryptography import x509  # noqa: PLC0415  # of the extra, and not needed once there is a certificate
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  # nor this
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  # nor this

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "l7lb placeholder")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 3650 * _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return plain + made.public_bytes(pem)
