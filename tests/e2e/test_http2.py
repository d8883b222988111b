"""HTTP/2 to backends, from outside: gRPC, real servers of others, and what must be as it is with HTTP/1.1."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend, answers, reply
from tests.support.grpc_server import SERVICE, GrpcServer, message, messages
from tests.support.h2 import H2Backend, Peer, data, listen, said, serve
from tests.support.raw import Response, chunked, request
from tests.support.server import Balancer, pool
from tests.support.until import until

GRPC = ("content-type: application/grpc", "te: trailers", "transfer-encoding: chunked")


@pytest.fixture(scope="module")
def grpc_servers() -> Iterator[list[GrpcServer]]:
    with GrpcServer("a") as one, GrpcServer("b") as other:
        yield [one, other]


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    with H2Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def settings(grpc_servers: list[GrpcServer]) -> dict[str, str]:
    return {
        "LB_ROUTES": f"/{SERVICE}=grpc; /nobody=nobody; /=main",
        **pool("grpc", *grpc_servers),
        "LB_POOLS__NOBODY__BACKENDS": "h2c://127.0.0.1:1",
        "LB_POOLS__NOBODY__HEALTH__KIND": "none",
    }


def call(balancer: Balancer, method: str, *sent: bytes, fields: tuple[str, ...] = ()) -> Response:
    body = chunked(*[message(one) for one in sent])
    with balancer.client() as client:
        return client.ask(request(f"/{SERVICE}/{method}", *GRPC, *fields, method="POST") + body)


def status_of(response: Response) -> tuple[bytes, list[bytes]]:
    """The status of a call, and its messages."""
    found = dict(response.fields) | dict(response.trailers)
    return found[b"grpc-status"], messages(response.body)


@pytest.mark.parametrize(
    ("method", "sent", "status", "answers_"),
    [
        ("Unary", [b"x" * 100_000], b"0", [b"x" * 100_000]),
        ("Count", [b"1000"], b"0", [b"%d" % i for i in range(1000)]),
        ("Both", [b"a", b"b", b"c"], b"0", [b"A", b"B", b"C"]),
        ("Sum", [b"1", b"2", b"3"], b"0", [b"6"]),
        ("Fail", [b""], b"5", []),
        ("Nothing", [b""], b"12", []),
    ],
)
def test_grpc(balancer: Balancer, method: str, sent: list[bytes], status: bytes, answers_: list[bytes]) -> None:
    """Each kind of call, its status in the trailers or, where there is nothing else, in the head."""
    response = call(balancer, method, *sent)

    found, got = status_of(response)
    assert (response.status, found) == (200, status)
    assert [one[-len(want) :] for one, want in zip(got, answers_, strict=True)] == answers_


def test_each_call_is_balanced(balancer: Balancer, grpc_servers: list[GrpcServer]) -> None:
    """However many go over one connection."""
    with balancer.client() as client:
        asked = request(f"/{SERVICE}/Unary", *GRPC, method="POST") + chunked(message(b"-"))
        who = [messages(client.ask(asked).body)[0] for _ in range(10)]

    assert sorted(who) == [b"a-"] * 5 + [b"b-"] * 5
