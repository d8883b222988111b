"""An authority of ACME that runs here: Debian's pebble, with a name server of ours, and a way to us that can be shut.

It looks at domains by plain HTTP on one port, which it has to know before there is a balancer; so that port is of a
relay, which is told later where to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import tls
from tests.support.nameserver import Nameserver, Reply, nameserver
from tests.support.until import until

needs_pebble = pytest.mark.skipif(shutil.which("pebble") is None, reason="pebble is not installed (Debian: pebble)")


class Pebble:
    """One authority, whose roots nobody trusts but `client`.

    Args:
        directory: for its files.

        seconds: for which its certificates are valid.

    Attributes:
        target: port of the balancer that domains are at; 0 is nowhere, None is that it is not known yet.

        asked: first lines of the requests that came by the relay.
    """

    def __init__(self, directory: Path, *domains: str, seconds: int = 3600) -> None:
        directory.mkdir(exist_ok=True)
        self.target: int | None = None
        self.asked: list[bytes] = []
        self._domains = domains
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        certificate = tls.Certificate(directory)
        self.ca = certificate.ca
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(socket.socket()) for _ in range(2)]
            for one in held:
                one.bind(("127.0.0.1", 0))
            self._port, self._management = (one.getsockname()[1] for one in held)
        (directory / "pebble.json").write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{self._port}",
                        "managementListenAddress": f"127.0.0.1:{self._management}",
                        "certificate": str(certificate.cert), "privateKey": str(certificate.key),
                        "httpPort": self.http, "tlsPort": self.http, "certificateValidityPeriod": seconds,
                    }
                }
            )
        )  # fmt: skip
        self.log = (directory / "pebble.log").open("wb")
        command = ["pebble", "-config", str(directory / "pebble.json"), "-dnsserver", f"127.0.0.1:{self._names.port}"]
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_VA_ALWAYS_VALID": "0", "PEBBLE_AUTHZREUSE": "0"},
        )  # fmt: skip
        until(self._listens, "pebble", within=20)

    @property
    def settings(self) -> dict[str, str]:
        """For a balancer of its domains, but for the storage."""
        said = {"DOMAINS": ",".join(self._domains), "CA": str(self.ca), "AGREE": "true", "EMAIL": "a@example.org"}
        said["DIRECTORY"] = f"https://localhost:{self._port}/dir"
        return {f"LB_TLS__ACME__{name}": value for name, value in said.items()}

    def client(self) -> ssl.SSLContext:
        """A client that trusts what it issues, and nothing else."""
        url = f"https://localhost:{self._management}/roots/0"
        with urllib.request.urlopen(url, context=tls.client(), timeout=10) as answer:
            return ssl.create_default_context(cadata=answer.read().decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _listens(self) -> bool:
        assert self.process.poll() is None, Path(self.log.name).read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 5):
            return True
        return False

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with nameserver() as names:
            self._names: Nameserver = names
            for domain in self._domains:
                names.addresses(domain, "127.0.0.1")
                names.zone[domain, "AAAA"] = Reply()
            relay = await asyncio.start_server(self._relay, "127.0.0.1", 0)
            self.http: int = relay.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            relay.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request to where the balancer is, and what it answers."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.partition(b"\r\n")[0])
            while self.target is None:
                await asyncio.sleep(0.005)
            if self.target:
                there: Any = await asyncio.open_connection("127.0.0.1", self.target)
                there[1].write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                writer.write(await there[0].read())
                there[1].close()
        writer.close()
