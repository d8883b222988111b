"""TLS versions and suites, and a certificate that changes on disk."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from app.edge import tls
from settings.tls import CertificateSettings, ClientCertificateSettings
from tests.support.tls import Certificate, client


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


def touch(file: Path) -> None:
    """Make it look changed, however coarse the clock of the file system is."""
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1_000_000_000))


def shake(server: ssl.SSLContext, theirs: ssl.SSLContext, name: str | None = "localhost") -> ssl.SSLObject:
    """A handshake in memory; the client's end. Raises SSLError."""
    c_in, c_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = theirs.wrap_bio(c_in, c_out, server_hostname=name)
    far = server.wrap_bio(c_out, c_in, server_side=True)
    waiting = [near, far, near, far]
    for end in waiting:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    near.do_handshake()
    return near


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_clients_are_served(files: Certificate, version: ssl.TLSVersion) -> None:
    server = files.server()
    tls.policy(server)
    theirs = client(minimum_version=version, maximum_version=version)
    theirs.set_alpn_protocols(["h2", "http/1.1"])
    end = shake(server, theirs)
    assert end.version() == version.name.replace("_", ".")
    assert end.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("suites", ["ECDHE+AES+SHA256:!AESGCM:!CHACHA20", "AES256-GCM-SHA384"])
def test_others_are_not(files: Certificate, suites: str) -> None:
    """CBC, and RSA key exchange."""
    server = files.server()
    tls.policy(server)
    with pytest.raises(ssl.SSLError):
        shake(server, client(maximum_version=ssl.TLSVersion.TLSv1_2, ciphers=suites))


def serial(context: ssl.SSLContext) -> bytes:
    found = shake(context, client()).getpeercert(binary_form=True)
    assert found
    return found


def test_a_renewed_certificate_is_loaded(files: Certificate) -> None:
    context = files.server()
    certificate = tls.Certificate(context, files.cert, files.key)
    old = serial(context)
    assert not certificate.look()
    files.renew()
    touch(files.cert)
    assert certificate.look()
    assert serial(context) != old
    assert not certificate.look()


@pytest.mark.parametrize("damage", ["half", "empty", "gone", "other key"])
def test_what_cannot_be_used_keeps_the_old_one(
    files: Certificate, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once for each change, and tried again until it can be used."""
    caplog.set_level(logging.ERROR, "l7lb.tls")
    context = files.server()
    certificate = tls.Certificate(context, files.cert, files.key)
    old, key = serial(context), files.key.read_bytes()
    files.renew()
    whole, new_key = files.cert.read_bytes(), files.key.read_bytes()
    if damage == "gone":
        files.cert.unlink()
    elif damage == "other key":
        files.key.write_bytes(key)
    else:
        files.cert.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"")
    if damage != "gone":
        touch(files.cert)
    for _ in range(3):
        assert not certificate.look()
    assert len(caplog.messages) == 1
    assert serial(context) == old

    files.cert.write_bytes(whole)
    files.key.write_bytes(new_key)
    touch(files.cert)
    assert certificate.look()
    assert serial(context) != old


async def test_the_job_looks_again_and_again(files: Certificate) -> None:
    import asyncio

    context = files.server()
    certificate = tls.Certificate(context, files.cert, files.key)
    old = serial(context)
    job = asyncio.create_task(tls.ServerNames([certificate], strict=False).watch(0.001))
    files.renew()
    touch(files.cert)
    async with asyncio.timeout(10):
        while serial(context) == old:
            await asyncio.sleep(0.001)
    job.cancel()


@pytest.fixture
def several(tmp_path: Path) -> list[Certificate]:
    names = (("localhost",), ("a.test",), ("*.b.test", "b.test"), ("A.test", "x.b.test"))
    return [Certificate(tmp_path / str(i), *name) for i, name in enumerate(names)]


def named(certificates: list[Certificate], *, strict: bool = False) -> tuple[ssl.SSLContext, tls.ServerNames]:
    context = certificates[0].server()
    others = [tls.Certificate.load(CertificateSettings(cert=made.cert, key=made.key), ClientCertificateSettings())
              for made in certificates[1:]]  # fmt: skip
    return context, tls.ServerNames(
        [tls.Certificate(context, certificates[0].cert, certificates[0].key), *others], strict=strict
    )


def served(context: ssl.SSLContext, name: str | None) -> set[str]:
    found: dict[str, Any] = shake(context, client(check_hostname=False), name).getpeercert() or {}
    return {value for _, value in found["subjectAltName"]}


@pytest.mark.parametrize(
    ("name", "of"),
    [("localhost", 0), ("a.test", 1), ("A.TEST", 1), ("b.test", 2), ("y.b.test", 2), ("x.b.test", 3), ("z.y.b.test", 0),
     ("other.test", 0), (None, 0)],
)  # fmt: skip
def test_the_certificate_is_that_of_the_name(several: list[Certificate], name: str | None, of: int) -> None:
    """One label for a wildcard, a name before a wildcard, the earlier before the later, else the first."""
    context, _ = named(several)
    assert served(context, name) == {known.lower() for known in several[of].names}


@pytest.mark.parametrize("name", ["other.test", "z.y.b.test", None])
def test_strict_knows_nobody_else(several: list[Certificate], name: str | None) -> None:
    context, _ = named(several, strict=True)
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized|callback"):
        served(context, name)
    assert served(context, "y.b.test")


def test_a_renewed_one_may_be_for_other_names(several: list[Certificate]) -> None:
    context, names = named(several)
    several[1].renew("c.test")
    touch(several[1].cert)
    names.look()
    assert served(context, "c.test") == {"c.test"}
    assert served(context, "a.test") == {"a.test", "x.b.test"}


def test_a_file_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ValueError, match="no certificate"):
        tls.Certificate(Certificate(tmp_path).server(), tmp_path / "empty.pem")
