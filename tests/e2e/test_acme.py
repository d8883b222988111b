"""Certificates by ACME, issued by pebble, over real connections: the first, the next, none, and who orders it."""

from __future__ import annotations

import re
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import server
from tests.support.backend import Backend
from tests.support.pebble import Pebble, needs_pebble
from tests.support.raw import Client, request
from tests.support.server import Balancer, pool
from tests.support.supervised import several
from tests.support.until import until

SERVE = (sys.executable, "-m", "app", "serve")

pytestmark = needs_pebble


@pytest.fixture(scope="module", params=["direct"], autouse=True)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """One is enough: what comes by the listener that redirects is on the general path in any case."""
    before, server.driver = server.driver, request.param
    yield server.driver
    server.driver = before


class Issued(Balancer):
    """`l7lb serve` for the domains of an authority: TLS, and plain HTTP that is redirected."""

    def __init__(self, pebble: Pebble, storage: Path, backend: Backend, *, found: bool = True) -> None:
        pebble.target = None if found else 0
        settings = {
            "LB_ROUTES": "/=main", **pool("main", backend), "LB_TLS__RELOAD_INTERVAL": "50ms", **pebble.settings,
            "LB_TLS__ACME__STORAGE": str(storage), "LB_ADMIN__TOKEN": "t",
        }  # fmt: skip
        binds = ("--bind", "https://127.0.0.1:0", "--bind", "http://127.0.0.1:0?redirect=https")
        super().__init__(settings, *binds, command=SERVE, ready=False)
        line = until(lambda: re.search(r"running on http://127.0.0.1:(\d+) \(redirect\)", self.stderr), "plain HTTP")
        assert line
        self.plain = int(line[1])
        if found:
            pebble.target = self.plain

    def connect(self, context: ssl.SSLContext, name: str = "a.test") -> Client:
        return Client(self.address, tls=context, name=name)

    def trusted(self, context: ssl.SSLContext, name: str = "a.test") -> bytes | None:
        """The certificate that a client gets which trusts the authority; None when that is another's."""
        try:
            with self.connect(context, name) as client:
                assert client.ask(request("/")).status == 200
                found: bytes = client.socket.getpeercert(binary_form=True)
                return found
        except ssl.SSLCertVerificationError:
            return None

    def metric(self, line: str) -> bool:
        with self.connect(anybody()) as client:
            return line.encode() in client.ask(request("/-/metrics", "Authorization: Bearer t")).body


def anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def modes(storage: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in storage.rglob("*") if path.is_file()}


def test_issued_and_kept(tmp_path: Path, shared: Backend, backend: Backend) -> None:
    """A placeholder first; then a certificate, while connections go on; one that is there is not ordered anew."""
    storage = tmp_path / "storage"
    with Pebble(tmp_path / "pebble", "a.test", "b.test") as pebble:
        trust = pebble.client()
        with Issued(pebble, storage, shared) as balancer, balancer.connect(anybody()) as before:
            assert before.ask(request("/")).status == 200
            first = until(lambda: balancer.trusted(trust), "the first certificate", within=60)
            assert until(lambda: balancer.trusted(trust, "b.test"), "that of the other domain", within=60) != first
            assert before.ask(request("/")).status == 200
            assert balancer.metric('l7lb_acme_orders_total{domain="a.test",outcome="issued"} 1')
            with Client(("127.0.0.1", balancer.plain)) as client:
                assert client.ask(request("/.well-known/acme-challenge/unknown")).status == 200  # for the backend
                assert client.ask(request("/other", host="a.test")).status == 308
        assert modes(storage) == {0o600}
        assert list((storage / "challenges").iterdir()) == []

        asked = len(pebble.asked)
        with Issued(pebble, storage, shared) as balancer:
            assert balancer.trusted(trust) == first
            assert balancer.metric('l7lb_acme_orders_total{domain="a.test",outcome="issued"} 0')
        assert len(pebble.asked) == asked


def test_renewed_while_connections_go_on(tmp_path: Path, shared: Backend, backend: Backend) -> None:
    """In the last third of its few seconds."""
    with Pebble(tmp_path / "pebble", "a.test", seconds=9) as pebble:
        trust = pebble.client()
        with Issued(pebble, tmp_path / "storage", shared) as balancer, balancer.connect(anybody()) as before:
            assert before.ask(request("/")).status == 200
            first = until(lambda: balancer.trusted(trust), "the first", within=60)
            until(lambda: balancer.trusted(trust) not in (first, None), "the next", within=60)
            assert before.ask(request("/")).status == 200


def test_an_authority_that_does_not_find_us(tmp_path: Path, shared: Backend, backend: Backend) -> None:
    """We wait, longer each time, over a restart too; and serve what there is."""
    with Pebble(tmp_path / "pebble", "a.test") as pebble:
        with Issued(pebble, tmp_path / "storage", shared, found=False) as balancer:
            until(lambda: "no certificate for a.test, what is served stays; again in 60 s" in balancer.stderr, "a word",
                  within=60)  # fmt: skip
            assert "Traceback" not in balancer.stderr
            assert balancer.metric('l7lb_acme_orders_total{domain="a.test",outcome="failed"} 1')
            with balancer.connect(anybody()) as client:
                assert client.ask(request("/")).status == 200
        asked = len(pebble.asked)
        with Issued(pebble, tmp_path / "storage", shared) as balancer:
            assert balancer.metric('l7lb_acme_orders_total{domain="a.test",outcome="failed"} 0')
        assert len(pebble.asked) == asked


def test_of_two_workers_one_orders(tmp_path: Path, shared: Backend, backend: Backend) -> None:
    """And each of them answers the authority, whoever has ordered."""
    storage = tmp_path / "storage"
    with Pebble(tmp_path / "pebble", "a.test") as pebble:
        settings = {
            "LB_ROUTES": "/=main", **pool("main", shared), "LB_TLS__RELOAD_INTERVAL": "50ms", **pebble.settings,
            "LB_TLS__ACME__STORAGE": str(storage), "LB_ADMIN__TOKEN": "t",
        }  # fmt: skip
        with Balancer(settings, *several(2), ready=False) as balancer:  # the supervisor, before there is a worker
            pebble.target = balancer.port
            issued = 'l7lb_acme_orders_total{domain="a.test",outcome="issued"} 1'

            def told() -> bool:
                try:
                    text = balancer.get("/-/metrics", "Authorization: Bearer t").body.decode()
                except ConnectionRefusedError:
                    return False
                return issued in text and "l7lb_workers 2" in text

            until(told, "an order", within=60)
            until(lambda: "certificate for a.test issued" in balancer.stderr, "a word")
        assert balancer.stderr.count("certificate for a.test issued") == 1
