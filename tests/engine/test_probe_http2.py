"""Probes of backends that speak HTTP/2, and of gRPC's own health."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe.frame import ContinuationFrame, HeadersFrame

from app.domain.backend import Backend
from app.engine.probe import Probe
from settings.pools import BackendSettings, BackendTlsSettings
from settings.resilience import HealthSettings
from tests.support.backend import Backend as Server
from tests.support.backend import close, read_head, reply, send
from tests.support.grpc_server import GrpcServer
from tests.support.h2 import H2Backend, Peer, data, goaway, listen, ping, reset, settings
from tests.support.tls import Certificate


async def ask(url: str, *, alpn: str = "http/1.1", ca: Any = None, **said: Any) -> str:
    """Probe once; within a time that no slow machine runs into."""
    health = HealthSettings(**said).model_copy(update={"timeout": 10.0})
    tls = BackendTlsSettings.model_validate({"alpn": alpn, "ca": ca})
    return await Probe(Backend("p", BackendSettings(url=url), health), health, tls).ask()


async def test_it_asks_as_it_does_over_http_1() -> None:
    with H2Backend() as backend:
        assert await ask(backend.url, path="/health", body="health", headers={"X-A": "b"}) == ""

        asked = backend.peers[0].requests[0]
        assert asked.ended
        assert asked.fields[:4] == [
            (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/health"),
            (b":authority", backend.url[6:].encode()),
        ]  # fmt: skip
        assert asked.all("x-a") == [b"b"]
        assert not asked.all("connection")


@pytest.mark.parametrize("alpn", ["h2", "h2,http/1.1"])
async def test_over_tls(certificate: Certificate, alpn: str) -> None:
    """HTTP/2 where the backend may speak nothing else."""
    context = certificate.server()
    context.set_alpn_protocols(["h2"] if alpn == "h2" else ["http/1.1"])
    steps = (read_head, send(reply(b"x"))) if "," in alpn else ()
    with Server(*steps, tls=context) if steps else H2Backend(tls=context) as backend:
        assert await ask(backend.url, path="/health", alpn=alpn, ca=str(certificate.ca)) == ""


@pytest.fixture
def certificate(tmp_path: Any) -> Certificate:
    return Certificate(tmp_path)


def answering(*frames: Any) -> Any:
    async def play(peer: Peer) -> None:
        n = (await peer.request()).stream
        await peer.send(*[frame(peer, n) if callable(frame) else frame for frame in frames])
        await listen(peer)

    return play


def head_in_two(peer: Peer, stream: int) -> bytes:
    head = peer.head(stream, 200, (b"x-a", b"b" * 100))
    assert isinstance(head, HeadersFrame)
    rest = ContinuationFrame(stream, head.data[5:], flags=["END_HEADERS"])
    first = HeadersFrame(stream, head.data[:5], flags=["PADDED", "PRIORITY", "END_STREAM"], pad_length=3)
    return first.serialize() + rest.serialize()


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([lambda p, n: p.head(n, 204, end=True)], ""),
        ([lambda p, n: p.head(n, 103), ping(), settings(), lambda p, n: p.head(n, 200)], ""),
        ([head_in_two], ""),
        ([lambda p, n: p.head(n, 503, end=True)], "status 503"),
        ([lambda _, n: reset(n, 7)], "reset the stream: REFUSED_STREAM"),
        ([goaway(0)], "ends the connection"),
        ([lambda p, n: p.headers(n, (b"x", b"y"), end=True)], "without a status"),
        ([lambda _, n: HeadersFrame(n, b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"])], "not HTTP/2"),
        ([b"HTTP/1.1 200 OK\r\n\r\n"], "not HTTP/2"),
    ],
)
async def test_answers(frames: Any, why: str) -> None:
    """What is one, and what is none."""
    with H2Backend(answering(*frames)) as backend:
        found = await ask(backend.url, path="/health")

    assert (found == "") is (why == "")
    assert why in found


async def test_a_body_that_does_not_end() -> None:
    """As much of it is looked at as fits into the window that we do not enlarge."""
    frames = [lambda p, n: p.head(n), *[lambda _, n: data(n, b"x" * 13_107, end=False)] * 5]
    with H2Backend(answering(*frames)) as backend:
        assert "body" in await ask(backend.url, path="/health", body="never")


async def test_a_head_that_does_not_end() -> None:
    frames = [lambda _, n: HeadersFrame(n, b"\x88"), *[lambda _, n: ContinuationFrame(n, b"\x88" * 16_384)] * 5]
    with H2Backend(answering(*frames)) as backend:
        assert "over 65536 bytes" in await ask(backend.url, path="/health")


async def test_a_backend_of_http_1() -> None:
    with Server(read_head, send(reply(b"x")), close) as backend:
        found = await ask(backend.url.replace("http:", "h2c:"), path="/health")

    assert found.startswith("the response is not HTTP/2")


@pytest.mark.parametrize(
    ("service", "why"),
    [
        (None, ""),
        ("good.Service", ""),
        ("bad.Service", "it is NOT_SERVING"),
        ("new.Service", "it is UNKNOWN"),
        ("no.Service", "it knows no such service"),
    ],
)
async def test_health_of_grpc(service: str | None, why: str) -> None:
    """As a real server says it, of itself and of its services."""
    states = {"": 1, "good.Service": 1, "bad.Service": 2, "new.Service": 0}
    with GrpcServer(health=states) as server:
        assert await ask(server.url, kind="grpc", service=service) == why


async def test_a_server_without_health_of_grpc() -> None:
    with GrpcServer() as server:
        assert await ask(server.url, kind="grpc") == "it has no grpc.health.v1.Health"
    with H2Backend() as backend:
        assert await ask(backend.url, kind="grpc") == "grpc-status none"
