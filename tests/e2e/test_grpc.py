"""gRPC from end to end: a real client, the app under a server that has trailers, and real backends over h2c."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.support.fronts import Fronted
from tests.support.grpc_server import SERVICE, GrpcServer
from tests.support.server import pool
from tests.support.tls import Certificate
from tests.support.until import until

SECONDS = 15
"""What calls have; none takes nearly as long."""


@pytest.fixture(scope="module")
def driver() -> str:
    """Other servers know no driver of ours."""
    return "asgi"


@pytest.fixture(scope="module", params=["hypercorn", "zttp"])
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def backends() -> Iterator[tuple[GrpcServer, GrpcServer]]:
    with GrpcServer("a") as one, GrpcServer("b") as other:
        yield one, other


def settings(*backends: GrpcServer) -> dict[str, str]:
    return {"LB_ROUTES": "/=main", **pool("main", *backends, timeouts__header="grpc-timeout")}


@pytest.fixture(scope="module")
def balancer(server: str, backends: tuple[GrpcServer, GrpcServer]) -> Iterator[Fronted]:
    with GrpcServer("c") as gone:
        more = {**pool("gone", gone), "LB_ROUTES": "/=main; /test.Gone=gone"}
    with Fronted(server, {**settings(*backends), **more}) as running:
        yield running


@pytest.fixture(scope="module")
def channel(balancer: Fronted) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{balancer.port}") as opened:
        yield opened


def unary(channel: grpc.Channel, name: str = "Unary") -> Any:
    return channel.unary_unary(f"/{SERVICE}/{name}")


def test_calls_of_one_channel_go_to_every_backend(
    channel: grpc.Channel, backends: tuple[GrpcServer, GrpcServer]
) -> None:
    """It is one connection, and each call is balanced by itself."""
    before = [len(backend.calls) for backend in backends]
    assert sorted(unary(channel)(b"x", timeout=SECONDS) for _ in range(20)) == [b"ax"] * 10 + [b"bx"] * 10
    assert [len(backend.calls) for backend in backends] == [count + 10 for count in before]


def test_metadata(channel: grpc.Channel) -> None:
    answer, call = unary(channel).with_call(b"x", timeout=SECONDS, metadata=[("x-a-bin", b"\0\xff")])
    assert answer[1:] == b"x"
    assert (call.code(), dict(call.trailing_metadata())) == (grpc.StatusCode.OK, {"x-end": "1"})


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_messages_of_any_size(channel: grpc.Channel, size: int) -> None:
    assert unary(channel)(b"x" * size, timeout=SECONDS)[1:] == b"x" * size


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_server_streams(channel: grpc.Channel, count: int) -> None:
    answers = channel.unary_stream(f"/{SERVICE}/Count")(b"%d" % count, timeout=SECONDS)
    assert list(answers) == [b"%d" % i for i in range(count)]
    assert answers.code() is grpc.StatusCode.OK


def test_the_client_streams(channel: grpc.Channel) -> None:
    numbers = (b"%d" % i for i in range(1000))
    assert channel.stream_unary(f"/{SERVICE}/Sum")(numbers, timeout=SECONDS) == b"499500"


def test_both_stream(channel: grpc.Channel) -> None:
    """In turns: each message is answered before the next is sent."""
    turn = threading.Semaphore()

    def say() -> Iterator[bytes]:
        for word in (b"a", b"b", b"c"):
            assert turn.acquire(timeout=SECONDS)
            yield word

    heard = []
    for answer in channel.stream_stream(f"/{SERVICE}/Both")(say(), timeout=SECONDS):
        heard.append(answer)
        turn.release()
    assert heard == [b"A", b"B", b"C"]


@pytest.mark.parametrize(
    ("name", "code", "details"),
    [
        ("Fail", grpc.StatusCode.NOT_FOUND, "no such thing: ä"),
        ("Nothing", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
    ],
)
def test_a_status_is_the_backends(channel: grpc.Channel, name: str, code: grpc.StatusCode, details: str) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        unary(channel, name)(b"x", timeout=SECONDS)
    assert (failed.value.code(), failed.value.details()) == (code, details)


def test_a_call_that_fails_while_its_client_streams(channel: grpc.Channel) -> None:
    """The client is told at once, and the other calls of the connection go on."""
    enough = threading.Event()
    beside = channel.stream_stream(f"/{SERVICE}/Both")(iter([b"a"] * 3), timeout=SECONDS)

    def say() -> Iterator[bytes]:
        yield b"no number"
        while not enough.is_set():
            yield b"1" * 1000

    with pytest.raises(grpc.RpcError) as failed:
        channel.stream_unary(f"/{SERVICE}/Sum")(say(), timeout=SECONDS)
    enough.set()
    assert failed.value.code() is grpc.StatusCode.UNKNOWN
    assert "invalid literal" in failed.value.details()
    assert list(beside) == [b"A"] * 3
    assert unary(channel)(b"x", timeout=SECONDS)[1:] == b"x"


def test_a_deadline_is_passed_on_and_obeyed(channel: grpc.Channel, backends: tuple[GrpcServer, GrpcServer]) -> None:
    before = sum(backend.cancelled for backend in backends)
    for backend in backends:
        backend.deadlines.clear()
    with pytest.raises(grpc.RpcError) as failed:
        unary(channel, "Late")(b"x", timeout=0.5)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (left,) = [left for backend in backends for left in backend.deadlines]
    assert left is not None
    assert 0 < left < 0.6  # grpcio writes it in coarse units
    until(lambda: sum(backend.cancelled for backend in backends) == before + 1, "the backend's call to end")


def test_a_call_that_is_cancelled(channel: grpc.Channel, backends: tuple[GrpcServer, GrpcServer]) -> None:
    before = [sum(len(backend.calls) for backend in backends), sum(backend.cancelled for backend in backends)]
    call = unary(channel, "Late").future(b"x", timeout=SECONDS)
    until(lambda: sum(len(backend.calls) for backend in backends) > before[0], "the call to arrive")
    call.cancel()
    until(lambda: sum(backend.cancelled for backend in backends) > before[1], "the backend to be told")


def test_the_log_has_each_call(balancer: Fronted, channel: grpc.Channel) -> None:
    unary(channel)(b"logged", timeout=SECONDS)
    record = balancer.record(lambda record: record["path"] == f"/{SERVICE}/Unary" and record["bytes_in"] == 11)
    assert (record["method"], record["status"], record["bytes_out"]) == ("POST", 200, 12)


def test_over_tls(backends: tuple[GrpcServer, GrpcServer], certificate: Certificate) -> None:
    """Where the client wants h2 by ALPN."""
    trusted = grpc.ssl_channel_credentials(certificate.ca.read_bytes())
    with (
        Fronted("hypercorn", settings(*backends), certificate=certificate) as balancer,
        grpc.secure_channel(f"localhost:{balancer.port}", trusted) as channel,
    ):
        assert unary(channel)(b"x", timeout=SECONDS)[1:] == b"x"


def test_backends_that_have_gone(channel: grpc.Channel) -> None:
    """The error is one of gRPC, too."""
    with pytest.raises(grpc.RpcError) as failed:
        channel.unary_unary("/test.Gone/Unary")(b"x", timeout=SECONDS)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_granian_has_no_trailers(backends: tuple[GrpcServer, GrpcServer]) -> None:
    """So that no call could end; each is told which server has."""
    before = sum(len(backend.calls) for backend in backends)
    with (
        Fronted("granian", settings(*backends)) as balancer,
        grpc.insecure_channel(f"127.0.0.1:{balancer.port}") as channel,
    ):
        with pytest.raises(grpc.RpcError) as failed:
            unary(channel)(b"x", timeout=SECONDS)
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "hypercorn" in failed.value.details()
        record = balancer.record(lambda record: record["path"] == f"/{SERVICE}/Unary")
    assert record["status"] == 501
    assert sum(len(backend.calls) for backend in backends) == before
