"""Where a scenario is played: its backend, its proxies, all alive at once and visited in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.backends import Ready
from scripts.bench.figures import Rounds, Sample
from scripts.bench.processes import start, stop, wait_for_port
from scripts.bench.site import ROOT, Build, Interpreter, Missing, Peer, Site

PER_INTERPRETER = "l7lb"  # rows whose name begins so are there once for each interpreter


class Unplayable(Exception):
    """The scenario has nothing to compare with, or nothing to measure."""


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    rounds: int = 9
    requests: int = 3000
    """In a slice."""
    connections: int = 64
    quick: bool = False
    """Everything small: does the bench work? The figures are worth nothing."""
    pythons: tuple[tuple[str, Interpreter], ...] = ()
    """What to put behind the name of a row, and the interpreter."""
    peers: tuple[str, ...] = ()
    """Which; all when empty. The first is what the others are compared to."""


class Stage:
    """One scenario's processes, all of which have ended when its `with` block does."""

    def __init__(
        self, asked: Asked, directory: Path, cores: tuple[int, int], make_backend: Callable[[Path], Ready]
    ) -> None:
        self.asked, self.directory = asked, directory
        self.proxy_core, self.load_core = cores
        self.make_backend = make_backend
        self.ports: tuple[int, ...] = ()
        self.missing: dict[str, str] = {}

    @contextlib.contextmanager
    def backend(self) -> Iterator[None]:
        """Raises Missing, RuntimeError."""
        command, self.ports = self.make_backend(self.directory)
        process = start(command, self.load_core, self.directory / "backend.out")
        try:
            wait_for_port(process, self.ports[0])
            yield
        finally:
            stop(process)

    def set_up(self, rows: dict[str, Build], tls: bool) -> list[Peer]:
        """The rows that this machine has; says which it has not, and how to get them."""
        directory = self.directory / ("tls" if tls else "plain")
        directory.mkdir(exist_ok=True)
        if tls:
            subprocess.run([ROOT / "scripts/dev-cert", directory], check=True)
        found = []
        for name, build in rows.items():
            pythons = self.asked.pythons if name.startswith(PER_INTERPRETER) else self.asked.pythons[:1]
            for label, python in pythons:
                row = name + label if name.startswith(PER_INTERPRETER) else name
                try:
                    peer = build(Site(directory, self.ports, tls, python))
                except Missing as how:
                    self.leave_out(row, f"is missing: {how}")
                    continue
                found.append(dataclasses.replace(peer, name=row))
        return found

    def leave_out(self, row: str, why: str) -> None:
        """Says it once."""
        if row not in self.missing:
            print(f"{row} {why}")
        self.missing[row] = why

    @contextlib.contextmanager
    def alive(self, peer: Peer) -> Iterator[int]:
        """Its process id. Raises RuntimeError when it does not come to listen."""
        printed = self.directory / f"{peer.name.replace(' ', '-')}.out"
        process = start(peer.command, self.proxy_core, printed, peer.env or None)
        try:
            try:
                wait_for_port(process, peer.port)
            except RuntimeError:
                print(printed.with_suffix(".err").read_text()[-2000:])
                raise
            yield process.pid
        finally:
            stop(process)

    def start_all(
        self, peers: list[Peer], check: Callable[[Peer], None], ending: contextlib.ExitStack
    ) -> dict[str, tuple[Peer, int]]:
        """Those that answer as they should, by name, with their process ids; the others are named.

        Raises Unplayable when the first is not among them, or is alone.
        """
        ready = {}
        for peer in peers:
            try:
                pid = ending.enter_context(self.alive(peer))
                await_right(peer, check)
            except (RuntimeError, OSError) as why:
                self.leave_out(peer.name, f"is left out: it {why}")
                continue
            ready[peer.name] = (peer, pid)
        if not peers or peers[0].name not in ready:
            raise Unplayable("nothing to compare with")
        return ready

    def rounds(self, ready: dict[str, tuple[Peer, int]], visit: Callable[[Peer, int], Sample]) -> Rounds:
        """Every peer once a round, the order turned round each time; the first round warms up and is not counted."""
        rounds: Rounds = {name: [] for name in ready}
        for number in range(self.asked.rounds + 1):
            print(f"round {number} of {self.asked.rounds}" if number else "warming up", end=". ", flush=True)
            for name, (peer, pid) in ready.items() if number % 2 else reversed(ready.items()):
                one = visit(peer, pid)
                if number:
                    rounds[name].append(one)
        print("\n")
        return rounds


def await_right(peer: Peer, check: Callable[[Peer], None], seconds: float = 5.0) -> None:
    """Raises what *check* does when it still does so after a while: who listens need not have found its backend yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return check(peer)
        except (RuntimeError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
