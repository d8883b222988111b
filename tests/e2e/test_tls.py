"""TLS as the card's own command gives it, and towards backends."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tls
from tests.support.backend import Backend, send, stall
from tests.support.raw import Client, request
from tests.support.server import Balancer, pool
from tests.support.tls import Certificate
from tests.support.until import until


@pytest.fixture(scope="module")
def balancer(shared: Backend, certificate: Certificate) -> Iterator[Balancer]:
    """`uvicorn app.main:app --ssl-keyfile key.pem --ssl-certfile cert.pem`, and nothing else."""
    settings = {"LB_ROUTES": "/=main", **pool("main", shared), "LB_TLS__RELOAD_INTERVAL": "50ms", "LB_TLS__HSTS": "1h"}
    with Balancer(settings, certificate=certificate) as running:
        yield running


def negotiated(balancer: Balancer, **changes: object) -> tuple[str, str]:
    """Version and suite; raises SSLError when the server will not."""
    with Client(balancer.address, tls=tls.client(**changes)) as client:
        return client.socket.version(), client.socket.cipher()[0]


def test_requests_over_tls(balancer: Balancer, backend: Backend) -> None:
    response = balancer.get("/", host="localhost")

    assert (response.status, response.body) == (200, b"hello")
    assert backend.requests[0].get("x-forwarded-proto") == "https"
    assert backend.requests[0].get("x-forwarded-port") == "443"


def test_new_versions_are_spoken(balancer: Balancer) -> None:
    assert negotiated(balancer)[0] == "TLSv1.3"
    assert negotiated(balancer, maximum_version=ssl.TLSVersion.TLSv1_2)[0] == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(balancer: Balancer, version: ssl.TLSVersion) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        negotiated(balancer, ciphers="ALL:@SECLEVEL=0", minimum_version=version, maximum_version=version)


@pytest.mark.parametrize(
    "cipher",
    ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"],
)
def test_forward_secret_aead_suites_are_spoken(balancer: Balancer, cipher: str) -> None:
    found = negotiated(balancer, ciphers=cipher, maximum_version=ssl.TLSVersion.TLSv1_2)

    assert ("TLSv1.2", cipher) == found


@pytest.mark.parametrize(
    "ciphers", ["kRSA", "DHE:!ECDHE", "SHA1", "ECDHE+AES:!AESGCM:!AESCCM", "aNULL:@SECLEVEL=0", "PSK"]
)
def test_other_suites_are_refused(balancer: Balancer, ciphers: str) -> None:
    """No CBC, no static RSA, no finite-field Diffie-Hellman, nothing anonymous."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        negotiated(balancer, ciphers=ciphers, maximum_version=ssl.TLSVersion.TLSv1_2)


def test_the_edge_is_there_without_a_flag(balancer: Balancer, backend: Backend) -> None:
    """`--http` was not given: what uvicorn's own parser lets through is refused all the same."""
    for bad in (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"):  # fmt: skip
        assert balancer.ask(bad).status in (400, 501)
    assert balancer.get("/", *(f"X-{n}: 1" for n in range(150))).status == 431
    assert backend.requests == []


def test_nothing_of_the_server_shines_through(balancer: Balancer, backend: Backend) -> None:
    """One Date, no Server, and no believing in X-Forwarded-For."""
    response = balancer.get("/", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: ftp")

    assert (len(response.all("date")), response.all("server")) == (1, [])
    assert backend.requests[0].get("x-forwarded-for") == "127.0.0.1"


def test_hsts(balancer: Balancer, backend: Backend) -> None:
    """On every answer, ours too."""
    for path in ("/", "/a%2Fb"):
        assert balancer.get(path).get("strict-transport-security") == "max-age=3600"


def test_plain_http_on_a_tls_port_is_no_fault(balancer: Balancer, backend: Backend) -> None:
    with Client(balancer.address) as client:
        client.send(request("/"))
        client.rest()

    assert balancer.get("/").status == 200


def test_a_large_body_over_tls(balancer: Balancer, backend: Backend) -> None:
    backend.answer(b"x" * 5_000_000)

    assert len(balancer.get("/", method="POST", body=b"y" * 5_000_000).body) == 5_000_000
    assert len(backend.bodies[0]) == 5_000_000


def serial(balancer: Balancer) -> bytes:
    with balancer.client() as client:
        return client.socket.getpeercert(binary_form=True)


def test_a_new_certificate_is_served_without_a_restart(
    balancer: Balancer, backend: Backend, certificate: Certificate
) -> None:
    """A connection that is open stays open."""
    old = serial(balancer)
    with balancer.client() as client:
        client.ask(request("/"))
        certificate.renew()
        until(lambda: serial(balancer) != old, "the new certificate")
        assert client.ask(request("/")).status == 200


def test_a_half_written_certificate_keeps_the_old_one(
    balancer: Balancer, backend: Backend, certificate: Certificate
) -> None:
    """It says so, once, and takes the whole one when that is there."""
    old, errors = serial(balancer), len(balancer.errors)
    whole = certificate.cert.read_bytes()
    certificate.cert.write_bytes(whole[: len(whole) // 2])
    until(lambda: len(balancer.errors) > errors, "a word about it")
    assert old == serial(balancer)

    certificate.renew()
    until(lambda: serial(balancer) != old, "the new certificate")
    assert "Traceback" not in balancer.stderr


def test_backends_over_tls(tmp_path: Path) -> None:
    """Verified against the authority that the pool names; refused without it, with the reason."""
    certificate = Certificate(tmp_path)
    with Backend(tls=certificate.server()) as backend:
        settings = {
            "LB_ROUTES": "/good=good; /bad=bad; /misnamed=misnamed",
            **pool("good", backend, tls__ca=certificate.ca),
            **pool("bad", backend),
            **pool("misnamed", backend, tls__ca=certificate.ca, tls__server_name="other.test"),
        }
        with Balancer(settings) as balancer:
            assert [balancer.get(path).status for path in ("/good", "/bad", "/misnamed")] == [200, 502, 502]
            for path in ("/bad", "/misnamed"):
                assert "tls_certificate_error" in (balancer.get(path).get("proxy-status") or "")
    assert len(backend.requests) == 1


def test_a_backend_that_does_not_speak_tls(start) -> None:
    plain = start(send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), stall)
    with Balancer({"LB_ROUTES": "/=main", **pool("main", backends=f"https://127.0.0.1:{plain.port}")}) as balancer:
        response = balancer.get("/")

    assert response.status == 502
    assert "tls_" in (response.get("proxy-status") or "")
