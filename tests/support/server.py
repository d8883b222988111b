"""Starts the balancer as a person does, and looks at it from outside: its socket, its log lines, its memory."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from tests.support import tls, warm
from tests.support.backend import Backend
from tests.support.raw import Address, Client, Response, request
from tests.support.until import until

ROOT = Path(__file__).resolve().parents[2]
UVICORN = (sys.executable, "-m", "uvicorn", "app.main:app")


driver = "asgi"
"""How ordinary requests are carried; the end-to-end tests are run with each."""


class Reachable(Protocol):
    """A backend, whatever it speaks."""

    url: str


def pool(name: str, *backends: Reachable, **settings: object) -> dict[str, str]:
    """Settings of a pool as environment variables; without probes unless a `health__...` is given."""
    keys = {"backends": ",".join(b.url for b in backends), **settings}
    if not any(key.startswith("health") for key in settings):
        keys["health__kind"] = "none"
    return {f"LB_POOLS__{name}__{key}".upper(): str(value) for key, value in keys.items()}


class Balancer:
    """
    One running balancer: `uvicorn app.main:app --port 0` with *settings* in its environment.

    Leaving it stops it by SIGTERM and checks what holds for every run: no traceback, exit status 0.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *flags: str,
        certificate: tls.Certificate | None = None,
        command: tuple[str, ...] = UVICORN,
        stdout: int = subprocess.PIPE,
        ready: bool = True,
        secured: bool = False,
        cold: bool = False,
    ) -> None:
        if command == UVICORN and not {"--uds", "--fd", "--port"} & set(flags):
            flags = (*flags, "--port", "0")
        self.tls = tls.client() if certificate or secured else None
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("LB_", "UVICORN_"))}
        command = (*command, *flags, *(certificate.flags if certificate else ()))
        env = {**clean, "LB_DRAIN__DELAY": "0", "LB_EDGE__DRIVER": driver, **settings}
        self.process = (not cold and warm.start(command, env, stdout=stdout)) or subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
            text=True, errors="backslashreplace", bufsize=1, start_new_session=True,
        )  # fmt: skip
        self._told = False
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [_read(self.process.stderr, self.errors)]
        if self.process.stdout:
            self._readers.append(_read(self.process.stdout, self.lines))
        try:
            address = until(self._listening, "the listener", within=20)
            assert address is not None
            self.address: Address = address
            if ready:
                until(self._is_ready, "readiness", within=20)
        except BaseException:
            self.kill()
            print("".join(self.errors), file=sys.stderr)
            raise

    def _listening(self) -> Address | None:
        if self.process.poll() is not None:
            self._readers[0].join(5)
            raise AssertionError(f"it ended with {self.process.returncode}: {self.stderr}")
        for line in self.errors:
            if found := re.search(r"running on https?://[^:]+:(\d+)", line):
                return "127.0.0.1", int(found[1])
            if found := re.search(r"running on unix(?: socket |:)(\S+)", line):
                return found[1]
        return None

    def _is_ready(self) -> bool:
        try:
            return self.get("/-/ready").status == 200
        except ConnectionRefusedError:  # a supervisor says where it will listen before its workers do
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if kind:
            self.kill()
            print(self.stderr, file=sys.stderr)  # pytest shows it beside what failed
            return
        status = self.stop()
        assert "Traceback" not in self.stderr, self.stderr
        assert status == 0, self.stderr

    @property
    def port(self) -> int:
        """The port of the one listener."""
        return int(self.address[1])

    @property
    def stderr(self) -> str:
        """What it has said on standard error."""
        return "".join(self.errors)

    def client(self, **options: Any) -> Client:
        """A new connection to it."""
        return Client(self.address, tls=self.tls, **options)

    def ask(self, data: bytes) -> Response:
        """One request on a connection of its own."""
        with self.client() as client:
            return client.ask(data)

    def get(self, target: str = "/", *fields: str | bytes, **options: Any) -> Response:
        """The same, made by `raw.request`."""
        return self.ask(request(target, *fields, **options))

    def records(self) -> list[dict[str, Any]]:
        """The latency log so far."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def record(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first record of the log that is *wanted*, as soon as it is there."""
        found = until(lambda: next(filter(wanted, self.records()), None), "a log line")
        assert found is not None
        return found

    def rss(self, field: str = "VmRSS") -> int:
        """Resident memory in bytes; VmHWM is the peak since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{field}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """Let VmHWM start again from now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self._told = True

    def stop(self, *, within: float = 20.0) -> int:
        """SIGTERM unless it was told already, and its exit status; killed and failed when it takes over *within* s."""
        if self.process.poll() is None and not self._told:
            self.terminate()
        return self.wait(within=within)

    def wait(self, *, within: float = 20.0) -> int:
        """The exit status, once it ends."""
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {within:g} s: {self.stderr}") from None
        self._close()
        return status

    def kill(self) -> None:
        """SIGKILL to it and its workers, for a test that has failed already."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe and not pipe.closed:
                pipe.close()


@contextmanager
def balancing(*backends: Backend, flags: tuple[str, ...] = (), **settings: str) -> Iterator[Balancer]:
    """A balancer whose only group is everything, in front of *backends*; *settings* are variables without `LB_`."""
    variables = {f"LB_{key}".upper(): value for key, value in settings.items()}
    with Balancer({"LB_ROUTES": "/=main", **pool("main", *backends), **variables}, *flags) as balancer:
        yield balancer


def _read(pipe: Any, into: list[str]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.extend(iter(pipe.readline, "")), daemon=True)
    thread.start()
    return thread
