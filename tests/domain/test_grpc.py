"""Our own answers to calls of gRPC."""

from __future__ import annotations

import pytest

from app.domain import errors
from app.domain.grpc import answer, called, question, status_of, unwell


@pytest.mark.parametrize(
    ("content_type", "is_one"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_what_is_a_call(content_type: bytes, is_one: bool) -> None:
    assert called(content_type) is is_one


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NoBackend, 14), (errors.Full, 14), (errors.ConnectFailed, 14), (errors.ResponseTimeout, 14),
        (errors.TotalTimeout, 4), (errors.RateLimited, 14), (errors.Unauthorized, 16), (errors.Refused, 7),
        (errors.NoRoute, 12), (errors.BadRequest, 13), (errors.BodyTooLarge, 8), (errors.InternalError, 13),
        (errors.NotSupported, 12), (errors.MethodNotAllowed, 2),
    ],
)  # fmt: skip
def test_statuses(error: type[errors.ProxyError], status: int) -> None:
    assert status_of(error()) == status


def test_an_answer() -> None:
    """Its words in percent where they are not printable ASCII; the type of the error where there are none."""
    fields = dict(answer(errors.NoBackend("100 % für\nnichts"), b"l7lb; error=x"))

    assert fields == {
        b"content-type": b"application/grpc", b"grpc-status": b"14", b"proxy-status": b"l7lb; error=x",
        b"grpc-message": b"100 %25 f%C3%BCr%0Anichts",
    }  # fmt: skip
    assert dict(answer(errors.NoRoute(), b""))[b"grpc-message"] == b"destination_not_found"


def test_a_question_about_health() -> None:
    """By name, or of the whole server."""
    assert question("") == b"\0\0\0\0\0"
    assert question("a.B") == b"\0\0\0\0\x05\x0a\x03a.B"


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (b"0", b"\0\0\0\0\2\x08\x01", ""),
        (b"0", b"\0\0\0\0\2\x08\x02", "it is NOT_SERVING"),
        (b"0", b"\0\0\0\0\0", "it is UNKNOWN"),
        (b"0", b"\0\0\0\0\2\x08\x09", "it is in no state that is known"),
        (b"5", b"", "it knows no such service"),
        (b"12", b"", "it has no grpc.health.v1.Health"),
        (b"13", b"", "grpc-status 13"),
        (None, b"", "grpc-status none"),
    ],
)
def test_what_is_said_of_health(status: bytes | None, body: bytes, why: str) -> None:
    fields = [(b"x", b"y")] + ([(b"grpc-status", status)] if status is not None else [])

    assert unwell(fields, body) == why
