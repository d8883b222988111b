"""The other servers that the app runs under, each started as a person would, and HTTP/2 clients for them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import h2.config
import h2.connection
import h2.events

from tests.support.raw import Address
from tests.support.server import ROOT, Balancer
from tests.support.tls import Certificate

BIN = Path(sys.executable).parent

SERVERS = {
    "hypercorn": (sys.executable, "-m", "hypercorn", "app.main:app", "--bind", "127.0.0.1:0"),
    "granian": (sys.executable, "-m", "granian", "app.main:app", "--interface", "asgi", "--port", "0"),
    "zttp": (sys.executable, "-m", "uvicorn", "app.main:app", "--http", "zttp", "--http2", "--port", "0"),
}
_TLS = {
    "hypercorn": ("--certfile", "--keyfile"),
    "granian": ("--ssl-certificate", "--ssl-keyfile"),
    "zttp": ("--ssl-certfile", "--ssl-keyfile"),
}


class Fronted(Balancer):
    """The app under another server, which needs not say where it listens."""

    def __init__(
        self, server: str, settings: Mapping[str, str], *flags: str, certificate: Certificate | None = None
    ) -> None:
        if certificate is not None:
            cert, key = _TLS[server]
            flags = (*flags, cert, str(certificate.cert), key, str(certificate.pkcs8))
        super().__init__(settings, *flags, command=SERVERS[server], secured=certificate is not None)

    def _listening(self) -> Address | None:
        super()._listening()
        ports = {port for pid in _family(self.process.pid) for port in _ports(pid)}
        return ("127.0.0.1", ports.pop()) if ports else None


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return
    for child in children:
        yield from _family(int(child))


def _ports(pid: int) -> Iterator[int]:
    """Those that a process listens on."""
    inodes = set()
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(fd.readlink())):
                inodes.add(found[1])
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        columns = line.split()
        if columns[3] == "0A" and columns[9] in inodes:
            yield int(columns[1].rpartition(":")[2], 16)


GOAWAY = 7


class Answer(NamedTuple):
    """One response over HTTP/2; `ended` is "" for a proper end, else what ended it."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    hints: list[list[tuple[bytes, bytes]]]
    ended: str = ""

    def get(self, name: str) -> str | None:
        """The value of a field, or None."""
        return next((value.decode("latin-1") for key, value in self.fields if key == name.encode()), None)


class H2Client:
    """One connection, frame by frame: it sends what it is told, right or wrong."""

    def __init__(self, address: Address, *, timeout: float = 10.0, window: int = 65535) -> None:
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False
            )
        )
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if window != 65535:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.dead = ""
        self.poured = 0
        self._partial = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def begin(
        self, method: str = "GET", path: str = "/", *fields: tuple[str, str], authority: str | None = "lb.test",
        end: bool = True,
    ) -> int:  # fmt: skip
        """Send a head; its stream."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":path", path)]
        head += [(":authority", authority)] if authority is not None else []
        self.h2.send_headers(stream, [*head, *fields], end_stream=end)
        self.answers[stream] = Answer(0, [], b"", [], [], "pending")
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a piece of body."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def pour(self, stream: int, size: int) -> None:
        """Send *size* bytes and the end, as fast as it may; or a part, where it is answered meanwhile."""
        left = size
        while left and self.answers[stream].ended == "pending" and not self.dead:
            room = min(self.h2.local_flow_control_window(stream), 16384, left)
            if room:
                self.send(stream, b"x" * room)
                left -= room
                self.poured += room
            else:
                self.step()
        if not left:
            self.send(stream, b"", end=True)

    def flush(self) -> None:
        """Send what waits."""
        try:
            self.socket.sendall(self.h2.data_to_send())
        except OSError:  # what it has said before that can still be read
            self.dead = self.dead or "broken"

    def ask(
        self, method: str = "GET", path: str = "/", *fields: tuple[str, str], body: bytes = b"", **more: str | None
    ) -> Answer:
        """One exchange."""
        stream = self.begin(method, path, *fields, end=not body, **more)  # type: ignore[arg-type]
        if body:
            self.send(stream, body, end=True)
        return self.answer(stream)

    def answer(self, stream: int) -> Answer:
        """The response on *stream*, once it has ended."""
        while self.answers[stream].ended == "pending" and not self.dead:
            self.step()
        found = self.answers[stream]
        return found._replace(ended=self.dead) if found.ended == "pending" else found

    def step(self, *, credit: bool = True) -> None:
        """Take what has come, waiting for it."""
        data = self.socket.recv(65536)
        if not data:
            self.dead = "eof"
            return
        for event in self.h2.receive_data(self._lasting(data)):
            stream = getattr(event, "stream_id", 0)
            one = self.answers.get(stream or 0)
            match event:
                case h2.events.ConnectionTerminated():
                    self.dead = f"goaway {int(event.error_code or 0)}"
                case _ if one is None or stream is None:
                    pass
                case h2.events.InformationalResponseReceived():
                    one.hints.append(event.headers)
                case h2.events.ResponseReceived():
                    status = int(next(value for name, value in event.headers if name == b":status"))
                    fields = [field for field in event.headers if field[0] != b":status"]
                    self.answers[stream] = one._replace(status=status, fields=fields)
                case h2.events.DataReceived():
                    self.answers[stream] = one._replace(body=one.body + event.data)
                    if credit:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                case h2.events.TrailersReceived():
                    self.answers[stream] = one._replace(trailers=event.headers)
                case h2.events.StreamReset():
                    self.answers[stream] = one._replace(ended=f"reset {int(event.error_code)}")
                case h2.events.StreamEnded():
                    self.answers[stream] = one._replace(ended="")
        self.flush()

    def _lasting(self, data: bytes) -> bytes:
        """The whole frames up to here, but a GOAWAY for no error: what had begun goes on, and h2 would not have it."""
        data, kept = self._partial + data, b""
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            frame, data = data[:end], data[end:]
            if frame[3] != GOAWAY or int.from_bytes(frame[13:17], "big"):
                kept += frame
        self._partial = data
        return kept


def run(*command: str, within: float = 20.0, **variables: str) -> str:
    """What a program says on both outputs until it ends."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LB_", "UVICORN_"))}
    done = subprocess.run(
        command, cwd=ROOT, env={**clean, **variables}, capture_output=True, text=True, timeout=within, check=False
    )
    return done.stdout + done.stderr
