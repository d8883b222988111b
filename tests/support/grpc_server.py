"""A real gRPC server, of messages that are bytes, and what its clients send and get without a library."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any, Self

import grpc

SERVICE = "test.Echo"


class GrpcServer:
    """Serves `/test.Echo/...` on a port of the kernel's choice, and its health where that is given, by service.

    Attributes:
        calls: names of the methods that were called.

        deadlines: seconds that each call said it has; None where it did not.

        cancelled: how many calls were cancelled by their client.
    """

    def __init__(self, name: str = "", *, health: Mapping[str, int] | None = None) -> None:
        self.name = name.encode()
        self.calls: list[str] = []
        self.deadlines: list[float | None] = []
        self.cancelled = 0
        self._server = grpc.server(ThreadPoolExecutor(16))
        methods = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Both": grpc.stream_stream_rpc_method_handler(self._both),
            "Sum": grpc.stream_unary_rpc_method_handler(self._sum),
            "Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "Late": grpc.unary_unary_rpc_method_handler(self._late),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        if health is not None:
            self._health = health
            check = {"Check": grpc.unary_unary_rpc_method_handler(self._check)}
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("grpc.health.v1.Health", check),)
            )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"h2c://127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.stop(None).wait()

    def _note(self, name: str, context: Any) -> None:
        self.calls.append(name)
        self.deadlines.append(context.time_remaining())

    def _unary(self, request: bytes, context: Any) -> bytes:
        self._note("Unary", context)
        context.set_trailing_metadata((("x-end", "1"),))
        return self.name + request

    def _count(self, request: bytes, context: Any) -> Any:
        self._note("Count", context)
        for i in range(int(request)):
            yield b"%d" % i

    def _both(self, requests: Any, context: Any) -> Any:
        self._note("Both", context)
        for request in requests:
            yield request.upper()

    def _sum(self, requests: Any, context: Any) -> bytes:
        self._note("Sum", context)
        return b"%d" % sum(int(request) for request in requests)

    def _fail(self, request: bytes, context: Any) -> bytes:
        self._note("Fail", context)
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä")
        return b""

    def _check(self, request: bytes, context: Any) -> bytes:
        state = self._health.get(request[2:].decode())
        if state is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "")
        return b"\x08%c" % state if state else b""

    def _late(self, request: bytes, context: Any) -> bytes:
        self._note("Late", context)

        def ended() -> None:
            self.cancelled += 1

        context.add_callback(ended)
        while context.is_active():
            sleep(0.01)
        return b""


def message(data: bytes) -> bytes:
    """One message as it is sent: not compressed, its length, itself."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def messages(body: bytes) -> list[bytes]:
    """The messages of a body."""
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return found
