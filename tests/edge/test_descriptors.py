"""How many clients there are descriptors for, and what becomes of those that come when there is none."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.edge.descriptors import Shortage, room, watch

NONE_LEFT = "there is no file descriptor left: connections are closed as they come"


@pytest.fixture(autouse=True)
def limits() -> Iterator[tuple[int, int]]:
    """They are as before in the end; they are the soft and the hard one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class TestRoom:
    @pytest.mark.parametrize(
        ("soft", "hard", "clients"), [(1024, 4096, 2016), (4096, 4096, 2016), (100, 66, 1), (64, 64, 1), (20, 20, 1)]
    )
    def test_half_of_what_there_is(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, clients: int) -> None:
        """Of the hard limit, but for a few; and one in any case."""
        said: list[Any] = []
        monkeypatch.setattr(resource, "getrlimit", lambda which: {resource.RLIMIT_NOFILE: (soft, hard)}[which])
        monkeypatch.setattr(resource, "setrlimit", lambda *given: said.append(given))
        assert room() == clients
        assert said == [] if soft == hard else [(resource.RLIMIT_NOFILE, (hard, hard))]

    def test_the_soft_limit_is_raised(self, limits: tuple[int, int]) -> None:
        hard = limits[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        expected = 0 if hard == resource.RLIM_INFINITY else (hard - 64) // 2
        assert room() == expected
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)

    @pytest.mark.parametrize("error", [OSError, ValueError])
    def test_where_it_may_not_be(self, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr(resource, "getrlimit", lambda _: (264, resource.RLIM_INFINITY))
        monkeypatch.setattr(resource, "setrlimit", refuse)
        assert room() == 100

    def test_without_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
        assert room() == 0


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, by us and by asyncio."""
    caplog.set_level(logging.ERROR)
    return caplog


class Exhausted:
    """No descriptor is free meanwhile."""

    def __enter__(self) -> Exhausted:
        self.used = [os.open(os.devnull, os.O_RDONLY)]
        self.before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.used[0] + 1, self.before[1]))
        with suppress(OSError):
            while True:
                self.used.append(os.open(os.devnull, os.O_RDONLY))
        return self

    def free(self) -> None:
        """One of them."""
        os.close(self.used.pop())

    def __exit__(self, *_: object) -> None:
        while self.used:
            self.free()
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)


async def read(sock: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        return await asyncio.get_running_loop().sock_recv(sock, 100)


def client() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    writer.close()
    await writer.wait_closed()


async def test_who_comes_without_one_is_closed(said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that wait, at once; it is said once; and whoever comes later is served."""
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.001)  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    watch(loop)
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients = [client() for _ in range(20)]
    with Exhausted() as exhausted:
        for half in (clients[:10], clients[10:]):
            for one in half:
                await loop.sock_connect(one, address)
            assert [await read(one) for one in half] == [b""] * 10
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)  # the one that is kept for that is kept again
        exhausted.free()
    assert said.messages == [NONE_LEFT]
    with client() as late:
        await loop.sock_connect(late, address)
        assert await read(late) == b"hello"
    for one in clients:
        one.close()
    server.close()
    await server.wait_closed()


class Listening:
    """A listener as asyncio shows it, and what is said of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def fails(self, number: int) -> dict[str, Any]:
        return {"message": "accept", "exception": OSError(number, os.strerror(number)), "socket": self.socket}

    async def waiting(self) -> socket.socket:
        sock = client()
        await self.loop.sock_connect(sock, self.socket.getsockname())
        return sock


@pytest.fixture
async def listening() -> Any:
    listening = Listening()
    with listening.socket:
        yield listening


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_of_the_process_or_of_the_system(
    listening: Listening, said: pytest.LogCaptureFixture, number: int
) -> None:
    shortage = Shortage(listening.loop)
    one, two = await listening.waiting(), await listening.waiting()
    before = descriptors_in_use()
    shortage(listening.loop, listening.fails(number))
    with one, two:
        assert [await read(one), await read(two)] == [b"", b""]
    assert said.messages == [NONE_LEFT]
    assert listening.socket.fileno() > 0, "it is still the loop's"
    assert descriptors_in_use() == before - 2


def descriptors_in_use() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_when_another_was_quicker(
    listening: Listening, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    """The kept one cannot be had again: it is asked for the next time."""
    shortage = Shortage(listening.loop)
    open_, opened = os.open, []

    def refuse(*_: object) -> int:
        opened.append(1)
        raise OSError(errno.EMFILE, "none")

    monkeypatch.setattr(os, "open", refuse)
    with await listening.waiting() as one:
        shortage(listening.loop, listening.fails(errno.EMFILE))
        assert await read(one) == b""
    assert opened == [1]
    with await listening.waiting() as two:
        shortage(listening.loop, listening.fails(errno.EMFILE))
        assert opened == [1, 1]
        monkeypatch.setattr(os, "open", open_)
        shortage(listening.loop, listening.fails(errno.EMFILE))
        assert await read(two) == b""
    assert said.messages == [NONE_LEFT]


@pytest.mark.parametrize(
    "context",
    [
        {"message": "another error", "exception": OSError(errno.ECONNRESET, "x")},
        {"message": "no listener", "exception": OSError(errno.EMFILE, "x")},
        {"message": "no error"},
        {"message": "Exception in callback f()", "exception": ValueError("x")},
        {"message": "Exception in callback BaseSelectorEventLoop._start_serving()", "exception": KeyError("x")},
    ],
)
async def test_what_else_the_loop_says_is_said(context: dict[str, Any], said: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    watch(loop)
    loop.call_exception_handler(context)
    assert said.messages[0].startswith(context["message"])


async def test_another_error_of_a_listener_closes_nobody(listening: Listening, said: pytest.LogCaptureFixture) -> None:
    shortage = Shortage(listening.loop)
    with await listening.waiting():
        shortage(listening.loop, listening.fails(errno.ENOMEM))
        listening.socket.accept()[0].close()
    assert said.messages[0].startswith("accept")


async def test_a_listener_that_was_closed_meanwhile_is_nothing_to_say(said: pytest.LogCaptureFixture) -> None:
    """Its timer tries to go on with it."""
    loop = asyncio.get_running_loop()
    watch(loop)
    message = "Exception in callback BaseSelectorEventLoop._start_serving()"
    loop.call_exception_handler({"message": message, "exception": ValueError("Invalid file descriptor: -1")})
    assert said.messages == []


async def test_who_listens_already_goes_on() -> None:
    loop = asyncio.get_running_loop()

    def theirs(*_: object) -> None: ...

    loop.set_exception_handler(theirs)
    watch(loop)
    assert loop.get_exception_handler() is theirs
    loop.set_exception_handler(None)
    watch(loop)
    assert isinstance(loop.get_exception_handler(), Shortage)


async def test_another_loop_is_left_alone() -> None:
    """uvloop does it by itself."""

    class Another(asyncio.AbstractEventLoop):
        def get_exception_handler(self) -> None:
            return None

    watch(Another())  # it has no handler to set: that would be an error
