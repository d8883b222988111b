"""SIGTERM: what is told to whom, and when uvicorn's own exit begins."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from app.edge import drain as draining
from app.edge.drain import Drain, running_server
from app.edge.link import Link


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not called")


class TestDrain:
    @pytest.fixture
    async def server(self) -> AsyncIterator[uvicorn.Server]:
        """A uvicorn server that answers to the signals of this process, as it does while it serves."""
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        with server.capture_signals():
            yield server
            server._captured_signals.clear()

    async def test_it_finds_its_server(self, server: uvicorn.Server) -> None:
        assert running_server() is server

    async def test_none_when_something_else_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody, or a method of another's."""
        assert running_server() is None
        monkeypatch.setattr(signal, "getsignal", lambda _: self.until)
        assert running_server() is None
        monkeypatch.setattr(signal, "getsignal", lambda _: asyncio.Event().set)
        assert running_server() is None

    async def test_sigterm_drains_and_then_exits(
        self, server: uvicorn.Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", "l7lb")
        link = Link()
        drain = Drain(server, link, delay=0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await self.until(lambda: link.draining)
        assert not server.should_exit
        await self.until(lambda: server.should_exit)
        assert server._captured_signals == []  # so the exit status will be 0
        assert caplog.messages == ["draining: still accepting for 0.05 s"]
        drain.release()

    @pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
    async def test_a_second_signal_does_not_wait(self, server: uvicorn.Server, second: int) -> None:
        link = Link()
        drain = Drain(server, link, delay=3600.0)
        task = asyncio.create_task(asyncio.sleep(3600))
        server.server_state.tasks.add(task)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        await self.until(lambda: link.draining)
        os.kill(os.getpid(), second)
        await self.until(lambda: server.should_exit)
        assert server.config.timeout_graceful_shutdown == 0
        await asyncio.wait({task})
        assert task.cancelled()
        drain.release()

    async def test_a_worker_is_signalled_twice_by_nature(
        self, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the service manager, which signals all, and by the supervisor."""
        monkeypatch.setattr(draining.multiprocessing, "parent_process", lambda: "supervisor")
        link = Link()
        drain = Drain(server, link, delay=3600.0)
        drain.signalled()
        drain.signalled()
        assert not server.should_exit
        monkeypatch.setattr(draining, "ECHO", -1.0)
        drain.signalled()
        assert server.should_exit
        drain.release()

    async def test_release_gives_the_signals_back(self, server: uvicorn.Server) -> None:
        """And nothing of it is left that would end the server later."""
        drain = Drain(server, Link(), delay=0.01)
        drain.signalled()
        drain.release()
        await asyncio.sleep(0.05)
        assert not server.should_exit
        assert signal.getsignal(signal.SIGTERM) == server.handle_exit
        assert signal.getsignal(signal.SIGINT) == server.handle_exit

    @staticmethod
    async def until(condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)
