"""TLS versions and suites, and a certificate that changes on disk."""

from __future__ import annotations

import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from app.edge import tls
from app.edge.certificates import Loaded, ServerNames, certificate
from app.renewal import Renewal
from settings.tls import ClientCertificateSettings
from tests.support.tls import Certificate, client, handshake


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    return Certificate(tmp_path)


def touch(file: Path) -> None:
    """Make it look changed, however coarse the clock of the file system is."""
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_clients_are_served(files: Certificate, version: ssl.TLSVersion) -> None:
    server = files.server()
    tls.policy(server)
    theirs = client(minimum_version=version, maximum_version=version)
    theirs.set_alpn_protocols(["h2", "http/1.1"])
    end, _ = handshake(server, theirs)
    assert end.version() == version.name.replace("_", ".")
    assert end.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("suites", ["ECDHE+AES+SHA256:!AESGCM:!CHACHA20", "AES256-GCM-SHA384"])
def test_others_are_not(files: Certificate, suites: str) -> None:
    """CBC, and RSA key exchange."""
    server = files.server()
    tls.policy(server)
    with pytest.raises(ssl.SSLError):
        handshake(server, client(maximum_version=ssl.TLSVersion.TLSv1_2, ciphers=suites))


def bare() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def loaded(files: Certificate) -> Renewal[Loaded]:
    return certificate(bare, files.cert, files.key)


def serving(*certificates: Certificate, guard: tls.Guard | None = None, strict: bool = False) -> ServerNames:
    guard = guard or tls.Guard(ClientCertificateSettings())

    def make() -> ssl.SSLContext:
        context = bare()
        guard.stand(context)
        return context

    return ServerNames([certificate(make, each.cert, each.key) for each in certificates], guard, strict=strict)


def look(names: ServerNames) -> None:
    """Twice: what one look finds and the next one does not is still being written."""
    names.look()
    names.look()


def serial(names: ServerNames) -> bytes:
    found = handshake(names.front, client())[0].getpeercert(binary_form=True)
    assert found
    return found


def test_a_renewed_certificate_is_loaded(files: Certificate) -> None:
    """By the second look that finds it: the first may have come upon a part of it."""
    names = serving(files)
    (known,) = names.renewals
    old = serial(names)
    names.look()
    files.renew()
    touch(files.cert)
    names.look()
    assert serial(names) == old
    names.look()
    assert serial(names) != old
    look(names)
    assert (known.loaded, known.refused) == (1, 0)
    assert known.name == str(files.cert)


@pytest.mark.parametrize("damage", ["half", "empty", "gone", "other key", "cut chain", "expired"])
def test_what_cannot_be_used_keeps_the_old_one(
    files: Certificate, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once for each change, and tried again until it can be used."""
    caplog.set_level(logging.ERROR, "l7lb.tls")
    names = serving(files)
    (known,) = names.renewals
    old, key = serial(names), files.key.read_bytes()
    files.renew(until=datetime(2020, 1, 1, tzinfo=UTC) if damage == "expired" else None)
    whole, new_key = files.cert.read_bytes(), files.key.read_bytes()
    if damage == "gone":
        files.cert.unlink()
    elif damage == "other key":
        files.key.write_bytes(key)
    elif damage != "expired":
        files.cert.write_bytes(
            {"half": whole[: len(whole) // 2], "empty": b"", "cut chain": whole + whole[:99]}[damage]
        )
    if damage != "gone":
        touch(files.cert)
    for _ in range(4):
        names.look()
    assert len(caplog.messages) == 1
    assert (known.loaded, known.refused) == (0, 1)
    assert serial(names) == old

    if damage == "expired":
        files.renew()
    else:
        files.cert.write_bytes(whole)
        files.key.write_bytes(new_key)
    touch(files.cert)
    look(names)
    assert serial(names) != old
    assert (known.loaded, known.refused) == (1, 1)


def test_what_has_expired_is_good_enough_to_begin_with(files: Certificate, caplog: pytest.LogCaptureFixture) -> None:
    files.renew(until=datetime(2020, 1, 1, tzinfo=UTC))
    serving(files)
    assert "has expired" in caplog.text


async def test_the_job_looks_again_and_again(files: Certificate) -> None:
    import asyncio

    names = serving(files)
    old = serial(names)
    job = asyncio.create_task(names.watch(0.001))
    files.renew()
    touch(files.cert)
    async with asyncio.timeout(10):
        while serial(names) == old:
            await asyncio.sleep(0.001)
    job.cancel()


def presented(names: ServerNames, theirs: ssl.SSLContext) -> bool:
    """Whether a client with a certificate comes in."""
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2  # so that the client hears of it in the handshake
    try:
        handshake(names.front, theirs)
    except ssl.SSLError:
        return False
    return True


def of(authority: trustme.CA) -> ssl.SSLContext:
    context = client()
    authority.issue_cert("alice.test", common_name="alice").configure_cert(context)
    return context


def test_authorities_come_and_go(files: Certificate, tmp_path: Path) -> None:
    """Whichever name the client asks for; a broken file changes nothing, and a broken certificate only its own."""
    one, two = trustme.CA(), trustme.CA()
    known = tmp_path / "clients.pem"
    one.cert_pem.write_to_path(known)
    guard = tls.Guard(ClientCertificateSettings(ca=known))
    other = Certificate(tmp_path / "other", "other.test")
    names = serving(files, other, guard=guard)
    assert (presented(names, of(one)), presented(names, of(two))) == (True, False)

    known.write_bytes(two.cert_pem.bytes()[:-30])
    touch(known)
    look(names)
    assert (presented(names, of(one)), presented(names, of(two))) == (True, False)
    files.renew()
    touch(files.cert)
    look(names)
    assert (presented(names, of(one)), presented(names, of(two))) == (True, False)

    two.cert_pem.write_to_path(known)
    touch(known)
    look(names)
    assert (presented(names, of(one)), presented(names, of(two))) == (False, True)
    for name, comes in (("other.test", True), (None, True)):
        theirs = of(two)
        theirs.check_hostname = False
        assert bool(handshake(names.front, theirs, name)) is comes


def test_a_new_set_of_authorities_waits_for_a_certificate_that_is_broken(files: Certificate, tmp_path: Path) -> None:
    one, two = trustme.CA(), trustme.CA()
    known = tmp_path / "clients.pem"
    one.cert_pem.write_to_path(known)
    names = serving(files, guard=tls.Guard(ClientCertificateSettings(ca=known)))
    whole = files.cert.read_bytes()
    files.cert.write_bytes(b"")
    two.cert_pem.write_to_path(known)
    touch(known)
    look(names)
    assert presented(names, of(one))
    files.cert.write_bytes(whole)
    touch(files.cert)
    look(names)
    assert (presented(names, of(one)), presented(names, of(two))) == (False, True)


@pytest.fixture
def several(tmp_path: Path) -> list[Certificate]:
    names = (("localhost",), ("a.test",), ("*.b.test", "b.test"), ("A.test", "x.b.test"))
    return [Certificate(tmp_path / str(i), *name) for i, name in enumerate(names)]


def served(context: ssl.SSLContext, name: str | None) -> set[str]:
    found: dict[str, Any] = handshake(context, client(check_hostname=False), name)[0].getpeercert() or {}
    return {value for _, value in found["subjectAltName"]}


@pytest.mark.parametrize(
    ("name", "of"),
    [("localhost", 0), ("a.test", 1), ("A.TEST", 1), ("b.test", 2), ("y.b.test", 2), ("x.b.test", 3), ("z.y.b.test", 0),
     ("other.test", 0), (None, 0)],
)  # fmt: skip
def test_the_certificate_is_that_of_the_name(several: list[Certificate], name: str | None, of: int) -> None:
    """One label for a wildcard, a name before a wildcard, the earlier before the later, else the first."""
    names = serving(*several)
    assert served(names.front, name) == {known.lower() for known in several[of].names}


@pytest.mark.parametrize("name", ["other.test", "z.y.b.test", None])
def test_strict_knows_nobody_else(several: list[Certificate], name: str | None) -> None:
    context = serving(*several, strict=True).front
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized|callback"):
        served(context, name)
    assert served(context, "y.b.test")


def test_a_renewed_one_may_be_for_other_names(several: list[Certificate]) -> None:
    names = serving(*several)
    several[1].renew("c.test")
    touch(several[1].cert)
    look(names)
    assert served(names.front, "c.test") == {"c.test"}
    assert served(names.front, "a.test") == {"a.test", "x.b.test"}


def test_a_file_without_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ValueError, match="no certificate"):
        certificate(bare, tmp_path / "empty.pem")
