"""Certificates by name, those of clients, and ours towards backends, over real connections."""

from __future__ import annotations

import base64
import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import trustme

from tests.support import tls
from tests.support.backend import Backend
from tests.support.raw import Client, Response, chunked, request
from tests.support.server import Balancer, pool
from tests.support.tls import Certificate
from tests.support.until import until

SERVE = (sys.executable, "-m", "app", "serve")
SPOOFED = (
    "Client-Cert: :AAAA:", "client_cert: :AAAA:", "Client-Cert-Chain: :AAAA:", "X-Client-Cert-Subject: CN=root",
    "X.Client.Cert.Subject: CN=root", "X-Client-Cert-Names: DNS:root.test", "X-Client-Cert-SHA256: 00",
)  # fmt: skip


def bearing(certificate: Certificate, **changes: object) -> ssl.SSLContext:
    """A client with a certificate."""
    context = tls.client(**changes)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def said(request: Any) -> dict[bytes, bytes]:
    """What the backend was told of the client's certificate, however it is spelt."""
    names = ((name.lower().replace(b"_", b"-").replace(b".", b"-"), value) for name, value in request.fields)
    return {name: value for name, value in names if b"client-cert" in name}


class Names(Balancer):
    """Three certificates, looked at often."""

    def __init__(self, directory: Path, backend: Backend, sni: str, *, plain: bool) -> None:
        self.first = Certificate(directory / "first")
        self.exact = Certificate(directory / "exact", "a.test")
        self.wild = Certificate(directory / "wild", "*.b.test")
        (directory / "both.pem").write_bytes(self.wild.cert.read_bytes() + self.wild.key.read_bytes())
        certificates = f"{self.exact.cert}|key={self.exact.key},{directory / 'both.pem'}"
        settings = {
            "LB_ROUTES": "/=main", **pool("main", backend), "LB_TLS__RELOAD_INTERVAL": "50ms", "LB_TLS__SNI": sni,
            "LB_TLS__CERTIFICATES": certificates,
        }  # fmt: skip
        if plain:
            super().__init__(settings, certificate=self.first, ready=False)
        else:
            files = ("--cert", str(self.first.cert), "--key", str(self.first.key))
            super().__init__(settings, "--bind", "https://127.0.0.1:0", *files, command=SERVE, ready=False)

    def served(self, name: str | None) -> set[str]:
        """The names of the certificate that a client gets."""
        with Client(self.address, tls=tls.client(check_hostname=False), name=name) as client:
            assert client.ask(request("/")).status == 200
            return {value for _, value in client.socket.getpeercert()["subjectAltName"]}


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def names(request: pytest.FixtureRequest, shared: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Names]:
    with Names(tmp_path_factory.mktemp("names"), shared, "default", plain=request.param == "uvicorn") as running:
        yield running


def test_each_name_has_its_certificate(names: Names, backend: Backend) -> None:
    assert names.served("a.test") == {"a.test"}
    assert names.served("x.b.test") == {"*.b.test"}
    for other in ("localhost", "y.x.b.test", "other.test", None):
        assert names.served(other) == {"localhost", "127.0.0.1"}


def test_the_policy_is_that_of_the_first(names: Names) -> None:
    for name in ("localhost", "a.test", "x.b.test"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            Client(
                names.address,
                tls=tls.client(ciphers="ECDHE+AES:!AESGCM:!AESCCM", maximum_version=ssl.TLSVersion.TLSv1_2),
                name=name,
            )


def test_a_certificate_is_renewed_while_connections_go_on(names: Names, backend: Backend) -> None:
    """Its names may be others, too."""
    with Client(names.address, tls=tls.client(), name="a.test") as client:
        assert client.ask(request("/")).status == 200
        names.exact.renew("a.test", "new.test")
        until(lambda: names.served("new.test") == {"a.test", "new.test"}, "the new certificate")
        assert client.ask(request("/")).status == 200
        names.exact.renew("a.test")
        until(lambda: names.served("a.test") == {"a.test"}, "the old names")


@pytest.mark.skipif(shutil.which("sslscan") is None, reason="sslscan is not installed")
@pytest.mark.parametrize("name", ["localhost", "a.test"])
def test_nothing_weak_is_offered(names: Names, name: str) -> None:
    """As another program sees it."""
    command = ("sslscan", "--no-colour", "--xml=-", f"--sni-name={name}", f"127.0.0.1:{names.port}")
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    found = ElementTree.fromstring(done.stdout)
    offered = {(each.get("type"), each.get("version")) for each in found.iter("protocol") if each.get("enabled") == "1"}
    suites = {str(each.get("cipher")) for each in found.iter("cipher")}

    assert offered == {("tls", "1.2"), ("tls", "1.3")}
    assert len(suites) == 6
    assert all(suite.startswith(("TLS_", "ECDHE-ECDSA-")) for suite in suites)
    assert all("GCM" in suite or "POLY1305" in suite for suite in suites)
    assert [each.get("supported") for each in found.iter("renegotiation")] == ["0"]
    assert {each.get("vulnerable") for each in found.iter("heartbleed")} == {"0"}


def test_strict(tmp_path: Path, shared: Backend, backend: Backend) -> None:
    with Names(tmp_path, shared, "strict", plain=False) as balancer:
        assert balancer.served("localhost") == {"localhost", "127.0.0.1"}
        assert balancer.served("x.b.test") == {"*.b.test"}
        for other in ("other.test", None):
            with pytest.raises((ssl.SSLError, ConnectionError)):  # event loops send no alert
                balancer.served(other)


class Known(Balancer):
    """Clients with certificates, one of them by a route of its own; and a listener without TLS."""

    def __init__(self, directory: Path, backend: Backend, mode: str, **more: str) -> None:
        certificate = Certificate(directory)
        settings = {
            "LB_ROUTES": "/=main", **pool("main", backend), "LB_GROUPS__ALICE__PATH": "/",
            "LB_GROUPS__ALICE__HEADER": "X-Client-Cert-Subject=~CN=alice\\b.*", "LB_GROUPS__ALICE__POOL": "main",
            "LB_GROUPS__ALICE__REQUEST_HEADERS__SET": "x-group=alice",
            "LB_TLS__CLIENT__CA": str(certificate.ca), "LB_TLS__CLIENT__MODE": mode, **more,
        }  # fmt: skip
        self.ca = certificate.ca
        binds = ("https://127.0.0.1:0", "http://127.0.0.1:0", "https://127.0.0.1:0?proxy=127.0.0.0/8")
        flags = [flag for bind in binds for flag in ("--bind", bind)]
        files = ("--cert", str(certificate.cert), "--key", str(certificate.key))
        super().__init__(settings, *flags, *files, command=SERVE, ready=False)
        lines = until(
            lambda: found if len(found := [li for li in self.errors if "l7lb running" in li]) == 3 else None, "all"
        )
        assert lines is not None
        ports = [int(line.rsplit(":", 1)[1].split()[0]) for line in lines]
        self.secure, self.plain, self.proxied = (("127.0.0.1", port) for port in ports)

    def ask(self, data: bytes, context: ssl.SSLContext | None, **options: Any) -> Response:
        at = self.secure if context is not None else self.plain
        with Client(at, tls=context, **options) as client:
            return client.ask(data)


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("alice"), "alice.test", subject="alice")


@pytest.fixture(scope="module")
def known(shared: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with Known(tmp_path_factory.mktemp("known"), shared, "required") as running:
        yield running


@pytest.fixture(scope="module")
def welcome(shared: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    with Known(tmp_path_factory.mktemp("welcome"), shared, "optional") as running:
        yield running


def test_who_has_no_certificate_does_not_come_in(known: Known, backend: Backend) -> None:
    with Client(known.secure, tls=tls.client()) as client:
        client.send(request("/"))
        assert client.rest() == b""
    assert backend.requests == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_backends_are_told_who_it_is(
    known: Known, backend: Backend, alice: Certificate, version: ssl.TLSVersion
) -> None:
    """And rules know it: the route is that of alice. What she writes about herself is not believed."""
    context = bearing(alice, minimum_version=version, maximum_version=version)
    assert known.ask(request("/", *SPOOFED, "Connection: Client-Cert, X-Client-Cert-Subject"), context).status == 200

    told = said(backend.requests[0])
    der = ssl.PEM_cert_to_DER_cert(alice.cert.read_text().split("-----END")[0] + "-----END CERTIFICATE-----\n")
    assert set(told) == {b"client-cert", b"x-client-cert-subject", b"x-client-cert-names", b"x-client-cert-sha256"}
    assert told[b"client-cert"] == b":" + base64.b64encode(der) + b":"
    assert told[b"x-client-cert-subject"].startswith(b"CN=alice")
    assert told[b"x-client-cert-names"] == b"DNS:alice.test"
    assert backend.requests[0].get("x-group") == "alice"
    assert len([name for name, _ in backend.requests[0].fields if b"ient" in name.lower()]) == 4


def test_a_resumed_session_is_the_same_client(known: Known, backend: Backend, alice: Certificate) -> None:
    context = bearing(alice)
    with Client(known.secure, tls=context) as client:
        client.ask(request("/"))
        session = client.socket.session
    with context.wrap_socket(
        socket.create_connection(known.secure), server_hostname="localhost", session=session
    ) as again:
        again.sendall(request("/again", "Connection: close"))
        while again.recv(65536):
            pass
        assert again.session_reused
    assert said(backend.requests[1]) == said(backend.requests[0]) != {}


def test_behind_a_proxy_header(known: Known, backend: Backend, alice: Certificate) -> None:
    with Client(known.proxied, tls=bearing(alice), before=[b"PROXY TCP4 192.0.2.7 192.0.2.1 999 443\r\n"]) as client:
        assert client.ask(request("/")).status == 200
    assert said(backend.requests[0])[b"x-client-cert-subject"].startswith(b"CN=alice")
    assert backend.requests[0].get("x-forwarded-for") == "192.0.2.7"


@pytest.mark.parametrize("secure", [True, False])
def test_without_a_certificate_nobody_is_anybody(welcome: Known, backend: Backend, secure: bool) -> None:
    """With a body and trailers, too."""
    context = tls.client() if secure else None
    trailing = chunked(b"x", trailers=b"X-Client-Cert-Subject: CN=root\r\nClient-Cert: :AAAA:\r\n")
    assert welcome.ask(request("/", *SPOOFED), context).status == 200
    assert (
        welcome.ask(request("/", *SPOOFED, "Transfer-Encoding: chunked", method="POST") + trailing, context).status
        == 200
    )
    assert [said(each) for each in backend.requests] == [{}, {}]
    assert all(each.get("x-group") is None for each in backend.requests)


def test_with_one_somebody_is(welcome: Known, backend: Backend, alice: Certificate) -> None:
    assert welcome.ask(request("/"), bearing(alice)).status == 200
    assert backend.requests[0].get("x-group") == "alice"


@pytest.mark.parametrize("which", ["known", "welcome"])
def test_a_wrong_certificate_never_comes_in(
    request: pytest.FixtureRequest, backend: Backend, tmp_path: Path, which: str
) -> None:
    issued = trustme.CA().issue_cert("alice.test", common_name="alice")
    context = tls.client()
    issued.configure_cert(context)
    balancer: Known = request.getfixturevalue(which)
    with Client(balancer.secure, tls=context) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.rest() == b""
    assert backend.requests == []


def comes_in(balancer: Known, context: ssl.SSLContext) -> bool:
    with Client(balancer.secure, tls=context) as client:
        client.send(request("/", "Connection: close"))
        return client.rest().startswith(b"HTTP/1.1 200 ")


def test_authorities_of_clients_change_while_connections_go_on(
    tmp_path: Path, shared: Backend, backend: Backend, alice: Certificate
) -> None:
    """A file that is cut off, or has expired, changes nothing but the log and a counter."""
    with Known(tmp_path, shared, "required", LB_TLS__RELOAD_INTERVAL="20ms", LB_ADMIN__TOKEN="t") as balancer:
        theirs = trustme.CA()
        old = theirs.issue_cert("old", not_after=datetime(2020, 1, 1, tzinfo=UTC)).cert_chain_pems[0].bytes()
        stranger = tls.client()
        theirs.issue_cert("bob.test", common_name="bob").configure_cert(stranger)
        known = bearing(alice)
        with Client(balancer.secure, tls=known) as client:
            assert client.ask(request("/")).status == 200
            session = client.socket.session
            replaced = tmp_path / "new.pem"
            for at, text in enumerate((theirs.cert_pem.bytes()[:-30], old)):
                replaced.write_bytes(text)
                replaced.rename(balancer.ca)
                until(lambda: balancer.stderr.count("cannot be used, what was loaded before stays") == at + 1, "a word")  # noqa: B023
                assert comes_in(balancer, known)
                assert not comes_in(balancer, stranger)
            replaced.write_bytes(theirs.cert_pem.bytes())
            replaced.rename(balancer.ca)
            until(lambda: comes_in(balancer, stranger), "the new authority")
            assert not comes_in(balancer, known)
            assert client.ask(request("/")).status == 200  # the connection from before
        with known.wrap_socket(
            socket.create_connection(balancer.secure), server_hostname="localhost", session=session
        ) as again:  # who is not known any more does not come in by a session from before, either
            again.sendall(request("/again"))
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert again.recv(1) == b""
        metrics = balancer.ask(request("/-/metrics", "Authorization: Bearer t"), None).body.decode()
        assert f'l7lb_tls_reloads_total{{file="{balancer.ca}",outcome="loaded"}} 1' in metrics
        assert f'l7lb_tls_reloads_total{{file="{balancer.ca}",outcome="refused"}} 2' in metrics
        assert f'l7lb_tls_expiry_timestamp_seconds{{file="{balancer.ca}"}}' in metrics


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_backends_are_told_the_chain_where_that_is_wanted(
    tmp_path: Path, shared: Backend, backend: Backend, version: ssl.TLSVersion
) -> None:
    """What stands between the client and the authority. In TLS 1.2 a session may be resumed, which has none."""
    with Known(tmp_path, shared, "optional", LB_TLS__CLIENT__CHAIN="true") as balancer:
        between = tls.authority().create_child_ca()
        context = tls.client(minimum_version=version, maximum_version=version)
        between.issue_cert("bob.test", common_name="bob").configure_cert(context)
        with Client(balancer.secure, tls=context) as client:
            assert client.ask(request("/", *SPOOFED)).status == 200
            session = client.socket.session
        with context.wrap_socket(
            socket.create_connection(balancer.secure), server_hostname="localhost", session=session
        ) as again:
            again.sendall(request("/again", *SPOOFED, "Connection: close"))
            while again.recv(65536):
                pass
            resumed = again.session_reused
        assert balancer.ask(request("/", *SPOOFED), tls.client()).status == 200

    first, second, without = (said(each) for each in backend.requests)
    der = ssl.PEM_cert_to_DER_cert(between.cert_pem.bytes().decode())
    assert first[b"client-cert-chain"] == b":" + base64.b64encode(der) + b":"
    assert second.get(b"client-cert-chain") == (None if resumed else first[b"client-cert-chain"])
    assert not (resumed and version is ssl.TLSVersion.TLSv1_3)  # in 1.2 it depends on how the first connection ended
    assert second[b"client-cert"] == first[b"client-cert"]
    assert without == {}


def test_backends_that_ask_for_a_certificate(tmp_path: Path) -> None:
    """Who has been told to show one is served."""
    certificate, ours = Certificate(tmp_path / "theirs"), Certificate(tmp_path / "ours", "l7lb.test")
    context = certificate.server()
    context.load_verify_locations(certificate.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with Backend(tls=context) as backend:
        settings = {
            "LB_ROUTES": "/with=with; /without=without",
            **pool("with", backend, tls__ca=certificate.ca, tls__cert=ours.cert, tls__key=ours.key),
            **pool("without", backend, tls__ca=certificate.ca),
        }
        with Balancer(settings) as balancer:
            assert [balancer.get(path).status for path in ("/with", "/with", "/without")] == [200, 200, 502]
        assert len(backend.requests) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("TLS__CERTIFICATES", "/nowhere.pem"),
        ("TLS__CERTIFICATES", "a.pem|password=b"),
        ("TLS__CLIENT__CA", "/nowhere.pem"),
        ("TLS__ACME__CA", "/nowhere.pem"),
        ("POOLS__A__TLS__CERT", "/nowhere.pem"),
        ("POOLS__A__TLS__KEY", "/nowhere.pem"),
    ],
)
def test_files_that_cannot_be_used_are_named(key: str, value: str) -> None:
    settings = {"LB_POOLS__A__BACKENDS": "http://h:1", f"LB_{key}": value}
    with pytest.raises(AssertionError) as failed:
        Balancer(settings, "--bind", "http://127.0.0.1:0", command=SERVE)
    assert f"LB_{key}".removesuffix("__KEY") in str(failed.value)
    assert "Traceback" not in str(failed.value)
