"""A backend that registers itself, at a control plane that does as the test says."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator

import pytest

from app import register
from app.register import Registered, registered


class Plane:
    """Says *statuses*, one after the other and the last for ever, when it is let to.

    Attributes:
        port: where it listens.

        asked: methods of the requests that have come, and of the answers that have gone, in lower case.
    """

    def __init__(self) -> None:
        self.port = 0
        self.statuses = [201]
        self.asked: list[str] = []
        self.let = asyncio.Event()
        self.let.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                method = head.split()[0].decode()
                self.asked.append(method)
                await self.let.wait()
                status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
                self.asked.append(method.lower())
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def until(self, *asked: str) -> None:
        async with asyncio.timeout(10):
            while self.asked[: len(asked)] != list(asked):
                await asyncio.sleep(0.005)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    found = Plane()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


def at(plane: Plane, **more: object) -> Registered:
    to = f"http://127.0.0.1:{plane.port}"
    return Registered(f"{to}/-", pool="main", url=to, token="t", **{"ttl": 30.0, **more})  # type: ignore[arg-type]


async def test_the_end_comes_after_what_is_on_its_way(plane: Plane) -> None:
    """Else it might be registered again by a request that is slower than the one that takes it out."""
    plane.let.clear()
    backend = at(plane)
    backend.begin()
    await plane.until("POST")
    end = asyncio.create_task(backend.end())
    await asyncio.wait({end}, timeout=0.1)
    plane.let.set()
    await end

    assert plane.asked == ["POST", "post", "DELETE", "delete"]


async def test_being_taken_out_is_tried_again(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that the balancers share may be away for a moment."""
    monkeypatch.setattr(register, "AGAIN", 0.01)
    plane.statuses = [201, 503, 503, 204]
    backend = at(plane)
    backend.begin()
    await plane.until("POST", "post")
    await backend.end()
    await backend.end()

    assert plane.asked.count("DELETE") == 3


@pytest.mark.parametrize(("status", "said"), [(401, True), (404, False)])
async def test_who_was_not_taken_out_says_so(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, said: bool
) -> None:
    """One that is not there any more need not be."""
    monkeypatch.setattr(register, "PATIENCE", 0.3)
    caplog.set_level(logging.WARNING)
    plane.statuses = [201, status]
    backend = at(plane)
    backend.begin()
    await plane.until("POST", "post")
    await backend.end()

    assert ("not taken out" in caplog.text and "401" in caplog.text) is said


async def test_a_server_that_hears_by_the_loop_still_does(plane: Plane) -> None:
    """Its answer to SIGTERM cannot be put off, and must not be taken away."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    to = f"http://127.0.0.1:{plane.port}"
    try:
        async with registered(f"{to}/-", pool="main", url=to, token="t", drain=0.01)(None), asyncio.timeout(5):
            await plane.until("POST", "post")
            signal.raise_signal(signal.SIGTERM)
            await stop.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)

    assert plane.asked == ["POST", "post", "DELETE", "delete"]


async def test_one_that_never_listens_ends_all_the_same(plane: Plane) -> None:
    backend = Registered(f"http://127.0.0.1:{plane.port}/-", pool="main", url="http://127.0.0.1:1", token="t")
    backend.begin()
    await asyncio.sleep(0.1)
    await backend.end()

    assert plane.asked == ["DELETE", "delete"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"to": "http://[bad"}, "to: "), ({"to": "lb"}, "to: "), ({"url": "ftp://h"}, "url: "),
        ({"url": "http://h:0"}, "url: "), ({"url": "http://h:99999"}, "url: "), ({"ttl": 0.0}, "ttl: "),
        ({"ttl": -1.0}, "ttl: "), ({"token": "\u00fc"}, "token: "),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_said_at_once(wrong: dict[str, object], said: str) -> None:
    """And does not ask a balancer as fast as it can, or die unseen."""
    with pytest.raises(ValueError, match=said):
        Registered(**{"to": "http://lb/-", "pool": "main", "url": "http://h:80", "token": "t", **wrong})  # type: ignore[arg-type]
